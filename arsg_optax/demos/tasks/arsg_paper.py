"""The ARSG paper's networks: MNIST CNN, WikiText-2 LSTM, ResNet-20, ResNet-50.

Settings are its Table A1. SGD there moves by a *mean* of gradients, `optax.sgd` by a
sum, so its step size is multiplied by one minus the momentum.
"""

from collections.abc import Mapping
from functools import partial

from arsg_optax.demos.augmentation import augment_cifar
from arsg_optax.demos.byte_text import load_wikitext2_characters
from arsg_optax.demos.data import load_cifar10, load_mnist
from arsg_optax.demos.imagenet import load_imagenet
from arsg_optax.demos.models import LSTMLanguageModel, MnistCNN, ResNet50, ResNetCifar
from arsg_optax.demos.tasks.kinds import Images, Text
from arsg_optax.demos.tasks.settings import AtEpoch, Drops, Settings
from arsg_optax.demos.tasks.streams import StreamedImages
from arsg_optax.demos.tasks.task import Task
from arsg_optax.demos.tasks.transformers import PROTOCOL, usual_settings
from arsg_optax.demos.text import load_wikitext2

# Batches of 256 in an epoch over CIFAR-10; the protocol counts its steps.
_CIFAR_STEPS = 195


def _sgd(mean_step: float, momentum: float) -> Settings:
    return Settings(mean_step * (1 - momentum), {"momentum": momentum})


def _adaptive(learning_rate: float, b1: float, b2: float) -> Settings:
    return Settings(learning_rate, {"b1": b1, "b2": b2})


def _ranger(learning_rate: float, b1: float, b2: float, slow: float) -> Settings:
    options = {"b1": b1, "b2": b2, "sync_period": 5, "slow_step_size": slow}
    return Settings(learning_rate, options)


def _rsg(learning_rate: float) -> Settings:
    return Settings(learning_rate, {"b1": 0.999, "observation": 0.1})


def _arsg(learning_rate: float, eps: float = 1e-8) -> Settings:
    options = {"b1": 0.999, "b2": 0.99, "observation": 0.1, "eps": eps}
    return Settings(learning_rate, options)


def _arsgb(learning_rate: float, boost: int, eps: float = 1e-8) -> Settings:
    options = {"b1": 0.999, "b2": 0.99, "observation": 0.05, "eps": eps}
    return Settings(learning_rate, {**options, "boost_at": AtEpoch(boost)})


_MNIST_CNN: Mapping[str, Settings] = {
    "arsg": _arsg(0.01),
    "arsgb": _arsgb(0.05, boost=6),
    "rsg": _rsg(5.0),
    "sgd": _sgd(1.0, 0.9),
    "adam": _adaptive(0.0005, 0.9, 0.999),
    "nadam": _adaptive(0.0005, 0.9, 0.999),
    "amsgrad": _adaptive(0.005, 0.9, 0.99),
    "ranger": _ranger(0.005, 0.9, 0.999, 0.2),
}
_WIKITEXT2: Mapping[str, Settings] = {
    "arsg": _arsg(0.02),
    "arsgb": _arsgb(0.05, boost=11),
    "rsg": _rsg(100.0),
    "sgd": _sgd(50.0, 0.9),
    "adam": _adaptive(0.002, 0.0, 0.999),
    "nadam": _adaptive(0.002, 0.9, 0.99),
    "amsgrad": _adaptive(0.005, 0.0, 0.99),
    "ranger": _ranger(0.002, 0.0, 0.999, 0.8),
}
_RESNET20_FAST: Mapping[str, Settings] = {
    "arsg": _arsg(0.002),
    "arsgb": _arsgb(0.005, boost=21),
    "rsg": _rsg(0.2),
    "sgd": _sgd(0.1, 0.9),
    "adam": _adaptive(0.0005, 0.9, 0.99),
    "nadam": _adaptive(0.0005, 0.99, 0.999),
    "amsgrad": _adaptive(0.0005, 0.9, 0.99),
    "ranger": _ranger(0.005, 0.99, 0.999, 0.2),
}
_RESNET20_FINE: Mapping[str, Settings] = {
    "arsg": _arsg(0.05, eps=1e-3),
    "arsgb": _arsgb(0.05, boost=51, eps=1e-3),
    "rsg": _rsg(1.0),
    "sgd": _sgd(0.5, 0.9),
    "adam": _adaptive(0.001, 0.9, 0.99),
    "nadam": _adaptive(0.001, 0.9, 0.999),
    "amsgrad": _adaptive(0.001, 0.9, 0.999),
    "ranger": _ranger(0.005, 0.9, 0.999, 0.2),
}

# WikiText-2 as bytes, so that a step takes two cores a fortieth of a second: with the
# 33,278 words of the paper's network it takes them one.
_CHARACTERS = {
    **PROTOCOL,
    "load": load_wikitext2_characters,
    "make_model": partial(LSTMLanguageModel, features=128),
    "kind": Text(length=64, evaluated=2**16),
    "batch_size": 16,
    "epochs": 2,
    "l2": 0.0,
    "bits": True,
}


MNIST_CNN = Task(
    "mnist-cnn",
    "MNIST (28x28), two 5x5 convolutions and two dense layers, batch norm",
    load_mnist,
    MnistCNN,
    Images(evaluated=10_000),
    batch_size=256,
    epochs=10,
    presets={"fast": _MNIST_CNN, "today": usual_settings(1e-3, 1e-2)},
    variants={"today": {**PROTOCOL, "batch_size": 32, "epochs": 1}},
)
WIKITEXT2_LSTM = Task(
    "wikitext2-lstm",
    "WikiText-2, language model of two LSTM layers of 200",
    load_wikitext2,
    LSTMLanguageModel,
    Text(),
    batch_size=128,
    epochs=40,
    presets={"fast": _WIKITEXT2, "today": usual_settings(5e-3, 2e-2)},
    variants={"today": _CHARACTERS},
    schedule=Drops((20, 30), 0.25),
    clip=0.25,
    l2=1e-5,
)
CIFAR10_RESNET20 = Task(
    "cifar10-resnet20",
    "CIFAR-10, ResNet-20, random 28x28 crops and flips",
    load_cifar10,
    partial(ResNetCifar, 20),
    Images(augment_cifar, evaluated=10_000),
    batch_size=256,
    epochs=80,
    presets={"fast": _RESNET20_FAST, "fine": _RESNET20_FINE},
    schedule=Drops((12_000 / _CIFAR_STEPS,), 0.1),
    l2=1e-3,
)
IMAGENET_RESNET50 = Task(
    "imagenet-resnet50",
    "ImageNet, ResNet-50, 224x224",
    load_imagenet,
    ResNet50,
    StreamedImages(),
    batch_size=256,
    epochs=90,
    presets={"fine": {"arsg": _arsg(0.02, eps=1e-3)}},
    schedule=Drops((30, 60), 0.1),
    l2=1e-4,
)
