"""Networks of the demonstration tasks, one a file."""

from arsg_optax.demos.models.logistic_regression import LogisticRegression
from arsg_optax.demos.models.lstm_language_model import LSTMLanguageModel
from arsg_optax.demos.models.mlp import MLP
from arsg_optax.demos.models.mnist_cnn import MnistCNN
from arsg_optax.demos.models.mobilenet_v2 import MobileNetV2
from arsg_optax.demos.models.normalized_mlp import NormalizedMLP
from arsg_optax.demos.models.resnet import ResNet18, ResNet50
from arsg_optax.demos.models.resnet_cifar import ResNetCifar
from arsg_optax.demos.models.shufflenet_v2 import ShuffleNetV2
from arsg_optax.demos.models.transformer import Transformer
from arsg_optax.demos.models.vit import ViT

__all__ = [
    "MLP",
    "LSTMLanguageModel",
    "LogisticRegression",
    "MnistCNN",
    "MobileNetV2",
    "NormalizedMLP",
    "ResNet18",
    "ResNet50",
    "ResNetCifar",
    "ShuffleNetV2",
    "Transformer",
    "ViT",
]
