"""Small image folders, and images that tell which one they are."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from arsg_optax.demos.generated import write_generated_folder

CLASSES = ["generated_000", "generated_001", "generated_002"]


def write_folder(root: Path) -> Path:
    """21 training and 9 validation images of 60 x 48 pixels."""
    folder = root / "imagenet-1k"
    write_generated_folder(
        folder, classes=3, images_per_class=7, validation_per_class=3, size=48
    )
    return folder


class Numbered:
    """Images of one colour, each in a class of its own; notes which are read."""

    def __init__(self, number: int):
        self.number = number
        self.classes = [str(index) for index in range(number)]
        self.read: list[int] = []

    def count(self) -> int:
        return self.number

    def example(self, index: int) -> tuple[Image.Image, int]:
        self.read.append(index)
        return Image.new("RGB", (20, 10), (index, 0, 0)), index


def labels_of(batches: Any) -> list[int]:
    return [int(label) for batch in batches for label in batch[1]]


def assert_same(first: Any, second: Any) -> None:
    first, second = list(first), list(second)
    assert len(first) == len(second) > 0
    for ours, theirs in zip(first, second, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
