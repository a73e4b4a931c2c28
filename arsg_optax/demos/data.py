"""Data sets as arrays: images in [0, 1], labels, and the rows they came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arsg_optax.demos.hub import Source, load_images

# The digits come without a train/test split; this one never depends on a run's seed,
# so that runs with different seeds are tested on the same images.
_DIGITS_TEST_FRACTION = 0.2
_DIGITS_SPLIT_SEED = 0

_MNIST = Source("mnist", "ylecun/mnist")
_CIFAR10 = Source("cifar10", "uoft-cs/cifar10")


class Split(NamedTuple):
    """Labelled images.

    Attributes:
        images: `[n, height, width]` or `[n, height, width, 3]`: float32 in [0, 1], or
            uint8.
        labels: int32 `[n]`, the classes.
        rows: int64 `[n]`, which image of the source each one is. The rows of two
            splits of one source are disjoint.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


class Scaling(NamedTuple):
    """A network's input is `(stored - shift) * factor`.

    Attributes:
        shift: in stored units.
        factor: one over stored units.
    """

    shift: float = 0.0
    factor: float = 1.0


class Dataset(NamedTuple):
    """A training and a test split of one source.

    Attributes:
        train: to train on.
        test: to report on.
        scaling: from stored images, which may be uint8 to save memory, to inputs.
    """

    train: Split
    test: Split
    scaling: Scaling = Scaling()


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
    train, test = (_take(images, labels, np.sort(part)) for part in (train, test))
    return Dataset(train, test)


def load_mnist(data_dir: Path | None = None) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of 28x28 pixels.

    Args:
        data_dir: see :func:`arsg_optax.demos.hub.load_images`.

    Raises:
        DataError: if the images are neither in a directory nor on the Hub.
    """
    # One division, without a float copy in between.
    train, test = (
        split._replace(
            images=np.divide(split.images, np.float32(255), dtype=np.float32)
        )
        for split in _splits(load_images(_MNIST, data_dir))
    )
    return Dataset(train, test)


def load_cifar10(data_dir: Path | None = None) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images, uint8 `[n, 32, 32, 3]`.

    The scaling removes the mean and standard deviation of all training pixels, one
    number each.

    Args:
        data_dir: see :func:`arsg_optax.demos.hub.load_images`.

    Raises:
        DataError: if the images are neither in a directory nor on the Hub.
    """
    arrays = load_images(_CIFAR10, data_dir, image="img")
    train, test = _splits(arrays)
    return Dataset(train, test, _standardizing(train.images))


def _standardizing(images: np.ndarray) -> Scaling:
    """Removes the mean and standard deviation of all values of uint8 images."""
    counts = np.zeros(256, np.int64)
    # In parts, because counting makes an int64 copy, eight times as large.
    for part in np.array_split(images, max(1, len(images) // 1_000)):
        counts += np.bincount(part.reshape(-1), minlength=256)
    shares, values = counts / images.size, np.arange(256)
    mean = float(shares @ values)
    return Scaling(mean, float(1 / np.sqrt(shares @ (values - mean) ** 2)))


def _splits(arrays: Mapping[str, np.ndarray]) -> list[Split]:
    """Training and test split, the rows counted through both."""
    parts, first_row = [], 0
    for name in ("train", "test"):
        images = arrays[f"{name}_images"]
        labels = arrays[f"{name}_labels"].astype(np.int32)
        rows = np.arange(first_row, first_row + len(images), dtype=np.int64)
        parts.append(Split(images, labels, rows))
        first_row += len(images)
    return parts


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
    return dataset._replace(train=fit, test=held)


def require_disjoint(first: Split, second: Split) -> None:
    """Raises `ValueError` if two splits of one source share a row."""
    shared = np.intersect1d(first.rows, second.rows)
    if shared.size:
        raise ValueError(f"the splits share {shared.size} images, e.g. row {shared[0]}")


def _take(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Split:
    return Split(images[rows], labels[rows].astype(np.int32), rows)
