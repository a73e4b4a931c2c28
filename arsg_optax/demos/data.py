"""Data sets as arrays: images in [0, 1], labels, and the rows they came from."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from arsg_optax.demos.hub import load_images

# The digits come without a train/test split; this one never depends on a run's seed,
# so that runs with different seeds are tested on the same images.
_DIGITS_TEST_FRACTION = 0.2
_DIGITS_SPLIT_SEED = 0


class Split(NamedTuple):
    """Labelled images.

    Attributes:
        images: float32 `[n, height, width]`, pixel values in [0, 1].
        labels: int32 `[n]`, the classes.
        rows: int64 `[n]`, which image of the source each one is. The rows of two
            splits of one source are disjoint.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


class Dataset(NamedTuple):
    """A training and a test split of one source."""

    train: Split
    test: Split


def load_digits(data_dir: Path | None = None) -> Dataset:
    """Scikit-learn's handwritten digits: 1,797 real 8x8 images, part of the library.

    Four fifths are for training, stratified by class. Writers are not kept apart,
    so the test set is easier than one of unknown writers would be.

    Args:
        data_dir: not used, as nothing has to be downloaded.
    """
    del data_dir
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    images, labels = map(np.asarray, load(return_X_y=True))
    images = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    rows = np.arange(len(images), dtype=np.int64)
    train, test = train_test_split(
        rows,
        test_size=_DIGITS_TEST_FRACTION,
        random_state=_DIGITS_SPLIT_SEED,
        stratify=labels,
    )
    return Dataset(*(_take(images, labels, np.sort(part)) for part in (train, test)))


def load_mnist(data_dir: Path | None = None) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of 28x28 pixels.

    Args:
        data_dir: see :func:`arsg_optax.demos.hub.load_images`.

    Raises:
        DataError: if the images are neither in a directory nor on the Hub.
    """
    arrays = load_images("mnist", "ylecun/mnist", data_dir)
    parts, first_row = [], 0
    for name in ("train", "test"):
        images = arrays[f"{name}_images"].astype(np.float32) / np.float32(255)
        labels = arrays[f"{name}_labels"].astype(np.int32)
        rows = np.arange(first_row, first_row + len(images), dtype=np.int64)
        parts.append(Split(images, labels, rows))
        first_row += len(images)
    return Dataset(*parts)


def hold_out(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Splits the *training* set in two, for choosing hyper-parameters.

    Args:
        dataset: its test split is used only to check that no row of it is taken.
        fraction: share of the training set that is held out, in (0, 1).
        seed: of the random choice.

    Returns:
        A data set whose `test` is the held-out part.
    """
    train = dataset.train
    order = np.random.default_rng(seed).permutation(len(train.rows))
    count = round(fraction * len(order))
    if not 0 < count < len(order):
        raise ValueError(
            f"fraction must leave images on both sides, got {fraction} of {len(order)}"
        )
    held, fit = (
        Split(*(array[np.sort(part)] for array in train))
        for part in (order[:count], order[count:])
    )
    require_disjoint(held, fit)
    require_disjoint(held, dataset.test)
    require_disjoint(fit, dataset.test)
    return Dataset(train=fit, test=held)


def require_disjoint(first: Split, second: Split) -> None:
    """Raises `ValueError` if two splits of one source share a row."""
    shared = np.intersect1d(first.rows, second.rows)
    if shared.size:
        raise ValueError(f"the splits share {shared.size} images, e.g. row {shared[0]}")


def _take(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Split:
    return Split(images[rows], labels[rows].astype(np.int32), rows)
