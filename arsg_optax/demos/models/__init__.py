"""Networks of the demonstration tasks, one a file."""

from arsg_optax.demos.models.logistic_regression import LogisticRegression
from arsg_optax.demos.models.mlp import MLP

__all__ = ["MLP", "LogisticRegression"]
