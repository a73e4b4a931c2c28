"""Networks of the demonstration tasks, one a file."""

from arsg_optax.demos.models.logistic_regression import LogisticRegression
from arsg_optax.demos.models.mlp import MLP
from arsg_optax.demos.models.mnist_cnn import MnistCNN
from arsg_optax.demos.models.normalized_mlp import NormalizedMLP

__all__ = ["MLP", "LogisticRegression", "MnistCNN", "NormalizedMLP"]
