"""The AdaRem paper's experiments: small networks on ImageNet, an LSTM on Penn Treebank.

Step sizes and momenta are the paper's where it prints them: 0.4 on ImageNet, and
its common choices for the rest.
"""

from functools import partial
from typing import Any

from arsg_optax.demos.imagenet import load_imagenet
from arsg_optax.demos.models import (
    LSTMLanguageModel,
    MobileNetV2,
    ResNet18,
    ShuffleNetV2,
)
from arsg_optax.demos.tasks.kinds import Text
from arsg_optax.demos.tasks.settings import Cosine, Drops, Settings
from arsg_optax.demos.tasks.streams import StreamedImages
from arsg_optax.demos.tasks.task import Task
from arsg_optax.demos.text import load_ptb

_IMAGENET = {
    "adarem": Settings(0.4),
    "adarem_s": Settings(0.4),
    "sgd": Settings(0.4, {"momentum": 0.9}),
    "adam": Settings(0.004),
    "adamw": Settings(0.004),
}


def _imagenet(name: str, summary: str, network: Any) -> Task:
    return Task(
        f"imagenet-{name}",
        f"ImageNet, {summary}, 224x224",
        load_imagenet,
        network,
        StreamedImages(),
        batch_size=1024,
        epochs=100,
        presets={"fast": _IMAGENET},
        schedule=Cosine(),
    )


ADAREM_IMAGENET = (
    _imagenet("resnet18", "ResNet-18", ResNet18),
    _imagenet("mobilenetv2-1.0", "MobileNetV2", partial(MobileNetV2, 1.0)),
    _imagenet("mobilenetv2-0.5", "MobileNetV2, half width", partial(MobileNetV2, 0.5)),
    _imagenet("shufflenetv2-1.0", "ShuffleNetV2", partial(ShuffleNetV2, 1.0)),
    _imagenet(
        "shufflenetv2-0.5", "ShuffleNetV2, half width", partial(ShuffleNetV2, 0.5)
    ),
)
PTB_LSTM = Task(
    "ptb-lstm",
    "Penn Treebank, language model of two LSTM layers of 200",
    load_ptb,
    LSTMLanguageModel,
    Text(),
    batch_size=20,
    epochs=100,
    presets={
        "fast": {
            "adarem": Settings(5.0),
            "sgd": Settings(0.5, {"momentum": 0.9}),
            "adam": Settings(0.002),
        }
    },
    schedule=Drops((50,), 0.1),
    clip=0.25,
)
