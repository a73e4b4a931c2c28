"""ImageNet from a folder or the Hub, streamed with worker processes."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from arsg_optax.demos.errors import DataError
from arsg_optax.demos.hub import (
    check_parquet,
    data_directory,
    described,
    missing_data,
)
from arsg_optax.demos.image_examples import EvaluationExamples, TrainingExamples
from arsg_optax.demos.streaming import Batch, read_batches

NAME, HUB_NAME = "imagenet-1k", "ILSVRC/imagenet-1k"
_FILES = (
    "folders `train/<class>` and `val/<class>` of JPEG or PNG files, or the Hub's "
    "parquet files,"
)
_ENDINGS = (".jpeg", ".jpg", ".png")
_ORDER = 0  # Tells the order of an epoch from what is drawn for each image.

WeightedBatch = tuple[np.ndarray, np.ndarray, np.ndarray]


class FolderSplit(NamedTuple):
    """Images in one folder a class; picklable, so that workers can have it.

    Attributes:
        files: of the images.
        labels: the class of each.
        classes: names, sorted.
    """

    files: Sequence[str]
    labels: Sequence[int]
    classes: Sequence[str]

    def count(self) -> int:
        """Number of images."""
        return len(self.files)

    def example(self, index: int) -> tuple[Image.Image, int]:
        """An image in RGB, and its class.

        Raises:
            DataError: if the file is no image; it names the file.
        """
        path = self.files[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB"), self.labels[index]
        # Each decoder of Pillow has exceptions of its own for bytes it cannot read.
        except Exception as error:
            raise DataError(
                f"the image {path} cannot be read ({described(error)}); replace the "
                "file or remove it"
            ) from error


class HubSplit(NamedTuple):
    """Images of a Hugging Face data set.

    Attributes:
        rows: the set, with columns `image` and `label`.
        classes: names.
    """

    rows: Any
    classes: Sequence[str]

    def count(self) -> int:
        """Number of images."""
        return len(self.rows)

    def example(self, index: int) -> tuple[Image.Image, int]:
        """An image in RGB, and its class.

        Raises:
            DataError: if the row holds no image.
        """
        try:
            row = self.rows[int(index)]
            return row["image"].convert("RGB"), int(row["label"])
        except Exception as error:
            raise DataError(
                f"image {index} of split {str(self.rows.split)!r} of {NAME!r} cannot "
                f"be read ({described(error)}); get the parquet files anew"
            ) from error


ImageSplit = FolderSplit | HubSplit


class ImageStreams(NamedTuple):
    """A training and a validation split with the same classes."""

    train: ImageSplit
    validation: ImageSplit


def load_imagenet(data_dir: Path | None = None) -> ImageStreams:
    """Finds ImageNet's images and reads one of each split.

    In the data directory `imagenet-1k` holds either `train/<class>/*.JPEG` with
    `val/<class>/*.JPEG` (or `validation/`; `.jpg` and `.png` do as well), or the Hub's
    parquet files, which the `datasets` library copies into its cache.

    Args:
        data_dir: see :func:`arsg_optax.demos.hub.load_images`.

    Raises:
        DataError: if it is neither in the directory nor on the Hub, if a split is
            missing or empty, if the splits' classes differ, or if the first image
            cannot be read.
    """
    directory = data_directory(NAME, data_dir)
    if directory is None and data_dir is not None:
        raise _missing(f"there is no folder {data_dir / NAME}")
    if directory is None or any(directory.glob("*.parquet")):
        streams = _hub(directory)
    else:
        streams = _folders(directory)
    for split in streams:
        split.example(0)
    return streams


def _missing(reason: str) -> DataError:
    return missing_data(NAME, HUB_NAME, reason, _FILES)


def _folders(directory: Path) -> ImageStreams:
    validation = directory / "val"
    if not validation.is_dir() and (directory / "validation").is_dir():
        validation = directory / "validation"
    streams = ImageStreams(_folder(directory / "train"), _folder(validation))
    train, others = (set(split.classes) for split in streams)
    for name in sorted(train ^ others):
        only = directory / "train" if name in train else validation
        raise _missing(f"only {only} has the class {name!r}")
    return streams


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


def _hub(directory: Path | None) -> ImageStreams:
    import datasets

    source = HUB_NAME if directory is None else str(directory)
    try:
        if directory is not None:
            splits, columns = ("train", "validation"), ("image", "label")
            check_parquet(directory, splits, columns, pages=False)
        loaded = datasets.load_dataset(source)
        label = loaded["train"].features["label"]
        if not isinstance(label, datasets.ClassLabel):
            raise ValueError(f"column 'label' of {source} does not name its classes")
        return ImageStreams(
            HubSplit(loaded["train"], label.names),
            HubSplit(loaded["validation"], label.names),
        )
    # One message for all the ways in which a network, a proxy or a file can fail.
    except Exception as error:
        raise _missing(described(error)) from error


def training_batches(
    split: ImageSplit,
    *,
    batch_size: int,
    size: int = 224,
    seed: int,
    epoch: int,
    start: int = 0,
    workers: int = 0,
) -> Iterator[Batch]:
    """An epoch's batches in random order, from batch `start` on.

    They depend on seed and epoch alone, not on the number of workers. With workers
    the calling script needs a ``if __name__ == "__main__"`` guard.

    Args:
        split: of the images.
        batch_size: images a batch; the incomplete last one is dropped.
        size: height and width of the random parts after resizing.
        seed: of order, parts and flips, at least 0.
        epoch: likewise.
        start: batches to leave out; they are not read.
        workers: see :func:`arsg_optax.demos.streaming.read_batches`.

    Returns:
        An iterator over images float32 `[batch, size, size, 3]` and labels int32
        `[batch]`. It raises `DataError` if an image cannot be read, naming the file.

    Raises:
        ValueError: if `batch_size` is not in [1, images], `start` not in [0, batches],
            or `workers` below 0.
    """
    count = split.count()
    if not 1 <= batch_size <= count:
        raise ValueError(
            f"batch_size must be from 1 to the split's {count} images, got {batch_size}"
        )
    batches = count // batch_size
    if not 0 <= start <= batches:
        raise ValueError(f"start must be from 0 to {batches} batches, got {start}")
    order = np.random.default_rng((_ORDER, seed, epoch)).permutation(count)
    rows = order[start * batch_size : batches * batch_size]
    return read_batches(
        TrainingExamples(split, size, seed, epoch), rows, batch_size, workers
    )


def evaluation_batches(
    split: ImageSplit,
    *,
    batch_size: int,
    size: int = 224,
    limit: int | None = None,
    workers: int = 0,
) -> Iterator[WeightedBatch]:
    """All images, or `limit` of them spread over the split, in one order.

    Args:
        split: of the images.
        batch_size: images a batch; the last is filled up with repetitions.
        size: height and width of the middle part.
        limit: number of images, None for all.
        workers: as for :func:`training_batches`.

    Returns:
        An iterator over images, labels, and weights float32 `[batch]`, 0 for what
        fills up. It raises `DataError` if an image cannot be read, naming the file.

    Raises:
        ValueError: if `batch_size` or `limit` is below 1, or `workers` below 0.
    """
    count = split.count() if limit is None else min(limit, split.count())
    if batch_size < 1 or count < 1:
        raise ValueError(
            f"batch_size and limit must be at least 1, got {batch_size} and {limit}"
        )
    # Spread, because folders are sorted by class.
    rows = np.linspace(0, split.count() - 1, count).astype(np.int64)
    missing = -count % batch_size
    filled = np.concatenate([rows, np.resize(rows, missing)])
    weights = np.concatenate([np.ones(count), np.zeros(missing)]).astype(np.float32)
    make = EvaluationExamples(split, size)
    found = read_batches(make, filled, batch_size, workers)
    parts = weights.reshape(-1, batch_size)
    return ((*batch, part) for batch, part in zip(found, parts, strict=True))
