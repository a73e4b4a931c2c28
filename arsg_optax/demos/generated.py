"""Generated image folders, to try the streaming on; results on them mean nothing."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_generated_folder(
    directory: Path,
    *,
    classes: int = 4,
    images_per_class: int = 8,
    validation_per_class: int = 4,
    size: int = 256,
    seed: int = 0,
) -> None:
    """Writes `train/<class>/*.jpg` and `val/<class>/*.jpg` of coloured waves.

    Every class has a wave of its own direction and colour, under noise.

    Args:
        directory: where to.
        classes: number of classes, named `generated_000` and so on.
        images_per_class: for training.
        validation_per_class: for validation.
        size: of an image's shorter side; the longer is a quarter longer.
        seed: of the noise.
    """
    random = np.random.default_rng(seed)
    counts = {"train": images_per_class, "val": validation_per_class}
    for split, count in counts.items():
        for number in range(classes):
            folder = directory / split / f"generated_{number:03}"
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = _wave(number, classes, size, random)
                Image.fromarray(pixels).save(folder / f"{index:05}.jpg", quality=90)


def _wave(
    number: int, classes: int, size: int, random: np.random.Generator
) -> np.ndarray:
    rows, columns = np.mgrid[:size, : size + size // 4] / size
    angle = np.pi * number / classes
    phase = 2 * np.pi * random.random()
    way = np.cos(angle) * rows + np.sin(angle) * columns
    colour = 0.5 + 0.5 * np.cos(2 * np.pi * (number / classes + np.arange(3) / 3))
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * way + phase)
    pixels = 200 * wave[..., None] * colour + 55 * random.random((*way.shape, 1))
    return pixels.astype(np.uint8)
