"""The data sets, their splits, and what is said when they are missing."""

import os
from pathlib import Path

import numpy as np
import pytest

from arsg_optax.demos import hub
from arsg_optax.demos.data import (
    Dataset,
    hold_out,
    load_digits,
    load_mnist,
    require_disjoint,
)
from arsg_optax.demos.errors import DataError


def test_digits_are_the_real_ones():
    data = load_digits()
    assert data.train.images.shape == (1437, 8, 8)
    assert data.test.images.shape == (360, 8, 8)
    assert data.train.images.dtype == np.float32
    assert data.train.labels.dtype == np.int32
    assert (data.train.images.min(), data.train.images.max()) == (0, 1)
    require_disjoint(data.train, data.test)
    counts = np.bincount(data.test.labels, minlength=10)
    assert counts.min() >= 34 and counts.max() <= 38


def test_held_out_images_are_of_the_training_set(dataset: Dataset):
    part = hold_out(dataset, 0.25, seed=0)
    assert (len(part.train.rows), len(part.test.rows)) == (150, 50)
    rows = np.concatenate([part.train.rows, part.test.rows])
    np.testing.assert_array_equal(np.sort(rows), dataset.train.rows)
    first = part.test.rows[0]
    np.testing.assert_array_equal(part.test.images[0], dataset.train.images[first])
    assert part.test.labels[0] == dataset.train.labels[first]


def test_overlapping_splits_are_refused(dataset: Dataset):
    with pytest.raises(ValueError, match="share 200 images"):
        require_disjoint(dataset.train, dataset.train)
    with pytest.raises(ValueError, match="share"):
        hold_out(dataset._replace(test=dataset.train), 0.5, seed=0)
    with pytest.raises(ValueError, match=r"both sides, got 0\.0 of 200"):
        hold_out(dataset, 0.0, seed=0)


def test_named_directory_without_the_data_is_an_error(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    for part in ("mnist", "ylecun/mnist", "--data-dir", "ARSG_DATA_DIR", str(tmp_path)):
        assert part in message


def test_unreachable_hub_is_the_same_error(tmp_path: Path, monkeypatch):
    import datasets

    def fail(name: str):
        raise ConnectionError(f"no route to {name}")

    monkeypatch.setenv("ARSG_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=r"no route to ylecun/mnist.*--data-dir"):
        load_mnist()


def test_arrays_are_decoded_once(tmp_path: Path, monkeypatch):
    calls = []
    arrays = {
        "train_images": np.full((3, 28, 28), 255, np.uint8),
        "train_labels": np.arange(3),
        "test_images": np.zeros((2, 28, 28), np.uint8),
        "test_labels": np.arange(2),
    }

    def decode(*source):
        calls.append(source)
        return arrays

    monkeypatch.delenv("ARSG_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_decode", decode)
    first, second = load_mnist(), load_mnist()
    assert len(calls) == 1
    np.testing.assert_array_equal(first.train.images, second.train.images)
    assert first.train.images.max() == 1.0
    assert list(first.test.rows) == [3, 4]
    # A damaged file is decoded again, not trusted.
    (cached,) = (tmp_path / "arsg_optax").iterdir()
    cached.write_bytes(b"half a file")
    load_mnist()
    assert len(calls) == 2


def test_unwritable_cache_only_costs_time(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    arrays = {f"{s}_{k}": np.zeros(1) for s in ("train", "test") for k in ("i", "l")}
    monkeypatch.setattr(hub, "_decode", lambda *source: arrays)
    monkeypatch.delenv("ARSG_DATA_DIR", raising=False)
    assert hub.load_images("mnist", "ylecun/mnist") is arrays


def _mnist_here() -> bool:
    root = os.environ.get(hub.DATA_DIR_VARIABLE)
    return bool(root) and any((Path(root) / "mnist").glob("*.parquet"))


@pytest.mark.skipif(
    not _mnist_here(), reason="needs mnist/*.parquet in the directory ARSG_DATA_DIR"
)
# The library leaves its parquet reader open, and forks for nothing here.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_mnist_is_complete():
    data = load_mnist()
    assert data.train.images.shape == (60_000, 28, 28)
    assert data.test.images.shape == (10_000, 28, 28)
    assert data.train.images.dtype == np.float32
    assert (data.train.images.min(), data.train.images.max()) == (0, 1)
    # The original order starts with these.
    assert list(data.train.labels[:5]) == [5, 0, 4, 1, 9]
    assert list(data.test.labels[:5]) == [7, 2, 1, 0, 4]
    require_disjoint(data.train, data.test)
