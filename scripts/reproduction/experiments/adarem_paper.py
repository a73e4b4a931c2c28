"""The AdaRem paper's experiments: its tables on ImageNet and on Penn Treebank."""

from collections.abc import Iterator

from arsg_optax.demos.tasks import find_task
from scripts.reproduction.experiments.entrants import (
    ASSUMED,
    PUBLISHED,
    Entrant,
    Experiment,
    Size,
)

_NETWORKS = {
    "ResNet-18": "imagenet-resnet18",
    "MobileNetV2-1.0": "imagenet-mobilenetv2-1.0",
    "MobileNetV2-0.5": "imagenet-mobilenetv2-0.5",
    "ShuffleNetV2-1.0": "imagenet-shufflenetv2-1.0",
    "ShuffleNetV2-0.5": "imagenet-shufflenetv2-0.5",
}
_LABELS = {
    "sgd": "SGDM",
    "adam": "Adam",
    "adamw": "AdamW",
    "adarem": "AdaRem",
    "adarem_s": "AdaRem-S",
}


_FULL = "all epochs; no grids and no decay, which the paper does not print"


def _entrants(task: str, kind: str, prefix: str = "") -> Iterator[Entrant]:
    known = find_task(task).settings
    for name, label in _LABELS.items():
        if name in known:
            yield Entrant(prefix + label, name, {kind: known[name]}, task=task)


ADAREM_PAPER = (
    Experiment(
        "adarem-imagenet",
        "imagenet-resnet18",
        "AdaRem paper, tables on ImageNet",
        tuple(
            entrant
            for network, task in _NETWORKS.items()
            for entrant in _entrants(task, PUBLISHED, f"{network} ")
        ),
        {"full": Size(_FULL, 1, 1)},
        "AdaRem, loss",
        "AdaRem, top-1",
    ),
    Experiment(
        "adarem-ptb",
        "ptb-lstm",
        "AdaRem paper, Penn Treebank",
        tuple(_entrants("ptb-lstm", ASSUMED)),
        {"full": Size(_FULL, 1, 1)},
        "AdaRem, loss",
        "AdaRem, perplexity",
    ),
)
