"""ImageNet, or any folder of one folder per class, read while a network trains."""

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from arsg_optax.demos.errors import DataError
from arsg_optax.demos.hub import (
    DATA_DIR_VARIABLE,
    IMAGE_FORMATS,
    data_root,
    described,
)
from arsg_optax.demos.image_examples import evaluation_example, training_example

NAME = "imagenet-1k"
_ENDINGS = (".jpeg", ".jpg", ".png")
# What is drawn for an epoch's order, and for each image.
_ORDER, _IMAGE = 0, 1
# Batches that are read before they are asked for.
_AHEAD = 2

Batch = tuple[np.ndarray, np.ndarray]
WeightedBatch = tuple[np.ndarray, np.ndarray, np.ndarray]


class FolderSplit(NamedTuple):
    """Images in one folder per class.

    Attributes:
        files: of the images.
        labels: the class of each.
        classes: names, sorted.
    """

    files: Sequence[str]
    labels: Sequence[int]
    classes: Sequence[str]

    def image(self, index: int) -> Image.Image:
        """An image in RGB.

        Raises:
            DataError: if the file is no image; it names the file.
        """
        path = self.files[index]
        try:
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                return image.convert("RGB")
        # Each decoder of Pillow has exceptions of its own for bytes it cannot read.
        except Exception as error:
            raise DataError(
                f"the image {path} cannot be read ({described(error)}); replace the "
                "file or remove it"
            ) from error

    def spread(self, count: int) -> "FolderSplit":
        """So many of the images, evenly spread, as they are sorted by class."""
        rows = [i * len(self.files) // count for i in range(count)]
        if count >= len(self.files):
            return self
        return self._replace(
            files=[self.files[row] for row in rows],
            labels=[self.labels[row] for row in rows],
        )


class ImageFolders(NamedTuple):
    """A training and a validation split with the same classes."""

    train: FolderSplit
    validation: FolderSplit


def load_imagenet(data_dir: Path | None = None) -> ImageFolders:
    """Finds ImageNet's images and reads one of each split.

    The directory `imagenet-1k` among the data sets holds `train/<class>/*.JPEG` and
    `val/<class>/*.JPEG` (or `validation/`; `.jpg` and `.png` do as well).

    Args:
        data_dir: directory of data sets, else the environment variable
            ``ARSG_DATA_DIR`` names it.

    Raises:
        DataError: if a split is missing or empty, if the splits' classes differ, or if
            the first image cannot be read.
    """
    root = data_root(data_dir)
    if root is None:
        raise _missing("no directory of data sets is given")
    directory = root / NAME
    validation = directory / "val"
    if not validation.is_dir() and (directory / "validation").is_dir():
        validation = directory / "validation"
    folders = ImageFolders(_folder(directory / "train"), _folder(validation))
    train, others = (set(split.classes) for split in folders)
    for name in sorted(train ^ others):
        only = directory / "train" if name in train else validation
        raise _missing(f"only {only} has the class {name!r}")
    for split in folders:
        split.image(0)
    return folders


def _missing(reason: str) -> DataError:
    return DataError(
        f"the data set {NAME!r} could not be loaded ({reason}). ImageNet is not "
        "downloaded from here: put folders `train/<class>` and `val/<class>` of JPEG "
        f"or PNG files into a directory {NAME!r} and name its parent with --data-dir "
        f"or the environment variable {DATA_DIR_VARIABLE}"
    )


def _folder(directory: Path) -> FolderSplit:
    if not directory.is_dir():
        raise _missing(f"there is no folder {directory}")
    with os.scandir(directory) as entries:
        classes = sorted(
            entry.name
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".")
        )
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        folder = directory / name
        found = sorted(
            os.path.join(folder, file)
            for file in os.listdir(folder)
            if file.lower().endswith(_ENDINGS) and not file.startswith(".")
        )
        if not found:
            raise _missing(f"no images in {folder}")
        files += found
        labels += [label] * len(found)
    if not files:
        raise _missing(f"no class folders in {directory}")
    return FolderSplit(files, labels, classes)


def training_batches(
    split: FolderSplit,
    *,
    batch_size: int,
    size: int = 224,
    seed: int,
    epoch: int,
    start: int = 0,
    rows: np.ndarray | None = None,
    threads: int | None = None,
) -> Generator[Batch, None, None]:
    """An epoch's batches in random order, from batch `start` on.

    They depend on seed and epoch alone, not on the number of threads.

    Args:
        split: of the images.
        batch_size: images per batch; the incomplete last one is dropped.
        size: height and width of the random parts after resizing.
        seed: of order, parts and flips, at least 0.
        epoch: likewise.
        start: batches to leave out; they are not read.
        rows: of each batch, which alone are read, None for all.
        threads: that read and decode, None or 0 for one per core.

    Returns:
        An iterator over images float32 `[batch, size, size, 3]` and labels int32
        `[batch]`. It raises `DataError` if an image cannot be read, naming the file.

    Raises:
        ValueError: if `batch_size` is not in [1, images] or `start` not in
            [0, batches].
    """
    count = len(split.files)
    if not 1 <= batch_size <= count:
        raise ValueError(
            f"batch_size must be from 1 to the split's {count} images, got {batch_size}"
        )
    batches = count // batch_size
    if not 0 <= start <= batches:
        raise ValueError(f"start must be from 0 to {batches} batches, got {start}")
    order = np.random.default_rng((_ORDER, seed, epoch)).permutation(count)
    drawn = order[: batches * batch_size].reshape(batches, batch_size)

    def example(row: int) -> np.ndarray:
        random = np.random.default_rng((_IMAGE, seed, epoch, row))
        return training_example(split.image(row), size, random)

    return _read(example, split.labels, _of(drawn[start:], rows), threads)


def evaluation_batches(
    split: FolderSplit,
    *,
    batch_size: int,
    size: int = 224,
    limit: int | None = None,
    rows: np.ndarray | None = None,
    threads: int | None = None,
) -> Generator[WeightedBatch, None, None]:
    """All images, or `limit` of them spread over the split, in one order.

    Args:
        split: of the images.
        batch_size: images per batch; the last is filled up with repetitions.
        size: height and width of the middle part.
        limit: number of images, None for all.
        rows: as for :func:`training_batches`.
        threads: as for :func:`training_batches`.

    Returns:
        An iterator over images, labels, and weights float32 `[batch]`, 0 for what
        fills up. It raises `DataError` if an image cannot be read, naming the file.

    Raises:
        ValueError: if `batch_size` or `limit` is below 1.
    """
    count = min(len(split.files), len(split.files) if limit is None else limit)
    if batch_size < 1 or count < 1:
        raise ValueError(
            f"batch_size and limit must be at least 1, got {batch_size} and {limit}"
        )
    # Spread, because folders are sorted by class.
    spread = np.linspace(0, len(split.files) - 1, count).astype(np.int64)
    missing = -count % batch_size
    filled = np.concatenate([spread, np.resize(spread, missing)])
    filled = _of(filled.reshape(-1, batch_size), rows)
    weights = np.concatenate([np.ones(count), np.zeros(missing)]).astype(np.float32)

    def example(row: int) -> np.ndarray:
        return evaluation_example(split.image(row), size)

    found = _read(example, split.labels, filled, threads)
    parts = _of(weights.reshape(-1, batch_size), rows)
    return ((*batch, part) for batch, part in zip(found, parts, strict=True))


def _of(batches: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return batches if rows is None else batches[:, rows]


def _read(
    example: Callable[[int], np.ndarray],
    labels: Sequence[int],
    rows: np.ndarray,
    threads: int | None,
) -> Generator[Batch, None, None]:
    """The batches `rows` `[batches, batch]`, read ahead of their use.

    Pillow decodes and resizes without Python's lock, so threads do for processes.
    """
    pool = ThreadPoolExecutor(threads or os.cpu_count())
    waiting: deque[tuple[list[int], list[Future[np.ndarray]]]] = deque()
    ahead = iter(rows.tolist())
    try:
        for _ in rows:
            while len(waiting) <= _AHEAD and (batch := next(ahead, None)) is not None:
                waiting.append((batch, [pool.submit(example, row) for row in batch]))
            batch, images = waiting.popleft()
            found = np.stack([image.result() for image in images])
            yield found, np.array([labels[row] for row in batch], np.int32)
    finally:
        pool.shutdown(cancel_futures=True)
