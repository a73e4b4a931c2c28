"""ImageNet's folders: where they are, what is said of bad ones, and their batches."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arsg_optax.demos.errors import DataError
from arsg_optax.demos.imagenet import (
    FolderSplit,
    ImageFolders,
    evaluation_batches,
    load_imagenet,
    training_batches,
)
from tests.demos.photographs import CLASSES, write_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> ImageFolders:
    """Of a directory that no test changes."""
    root = tmp_path_factory.mktemp("data")
    write_folder(root)
    return load_imagenet(root)


def test_folder_is_found(folders: ImageFolders):
    for split, count in ((folders.train, 7), (folders.validation, 3)):
        assert split.classes == CLASSES
        assert list(split.labels) == [0] * count + [1] * count + [2] * count
        for file, label in zip(split.files, split.labels, strict=True):
            assert Path(file).parent.name == CLASSES[label]


def test_every_layout_of_a_folder(tmp_path: Path, monkeypatch):
    folder = write_folder(tmp_path)
    (folder / "val").rename(folder / "validation")
    files = sorted((folder / "train" / CLASSES[0]).iterdir())
    files[0].rename(files[0].with_suffix(".JPEG"))
    Image.new("L", (9, 8)).save(files[1].with_suffix(".png"))
    (files[0].parent / "notes.txt").write_text("no image")
    (files[0].parent / "._0.jpg").write_text("what a file system leaves")
    (folder / "train" / ".hidden").mkdir()
    monkeypatch.setenv("ARSG_DATA_DIR", str(tmp_path))
    loaded = load_imagenet()
    assert (len(loaded.train.files), len(loaded.validation.files)) == (22, 9)
    assert loaded.train.classes == CLASSES


def test_a_part_is_spread_over_the_classes(folders: ImageFolders):
    part = folders.train.spread(6)
    assert list(part.labels) == [0, 0, 1, 1, 2, 2]
    assert set(part.files) <= set(folders.train.files) and len(set(part.files)) == 6
    assert folders.train.spread(100) == folders.train


def be_no_image(file: Path) -> None:
    file.write_text("no image")


def be_cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


@pytest.mark.parametrize("spoil", [be_no_image, be_cut_off, Path.unlink])
def test_unreadable_image_is_named(spoil: Callable[[Path], None], tmp_path: Path):
    write_folder(tmp_path)
    train, validation = load_imagenet(tmp_path)
    for split in (train, validation):
        spoil(Path(split.files[7]))
    numbers = {"batch_size": 3, "size": 16}
    for split, batches in (
        (train, training_batches(train, seed=0, epoch=0, **numbers)),
        (validation, evaluation_batches(validation, **numbers)),
    ):
        pattern = f"the image {re.escape(split.files[7])} cannot be read .* replace"
        with pytest.raises(DataError, match=pattern):
            list(batches)


def lose_validation(folder: Path) -> None:
    (folder / "val").rename(folder / "other")


def lose_all_classes(folder: Path) -> None:
    lose_validation(folder)
    (folder / "val").mkdir()


def gain_a_class(folder: Path) -> None:
    (folder / "val" / "another").mkdir()
    Image.new("L", (9, 8)).save(folder / "val" / "another" / "0.png")


def have_an_empty_class(folder: Path) -> None:
    for file in (folder / "train" / CLASSES[1]).iterdir():
        file.unlink()


@pytest.mark.parametrize(
    "spoil, found",
    [
        (lose_validation, "there is no folder {}/val"),
        (lose_all_classes, "no class folders in {}/val"),
        (gain_a_class, "only {}/val has the class 'another'"),
        (have_an_empty_class, "no images in {}/train/canoe"),
    ],
)
def test_bad_folder_is_named(spoil: Callable[[Path], None], found: str, tmp_path: Path):
    folder = write_folder(tmp_path)
    spoil(folder)
    with pytest.raises(DataError, match=re.escape(found.format(folder))) as caught:
        load_imagenet(tmp_path)
    for part in ("'imagenet-1k'", "`train/<class>`", "--data-dir", "ARSG_DATA_DIR"):
        assert part in str(caught.value)


def test_without_a_directory(monkeypatch):
    monkeypatch.delenv("ARSG_DATA_DIR", raising=False)
    with pytest.raises(DataError, match="no directory of data sets is given"):
        load_imagenet()


def test_an_image_is_read_before_training(tmp_path: Path):
    be_no_image(write_folder(tmp_path) / "val" / CLASSES[0] / "00000.jpg")
    with pytest.raises(DataError, match=r"val/beetle/00000\.jpg cannot be read"):
        load_imagenet(tmp_path)


@pytest.fixture
def numbered(monkeypatch) -> Callable[[int], tuple[FolderSplit, list[int]]]:
    """Makes a split whose label is the image's place, and the list of those read."""

    def make(count: int) -> tuple[FolderSplit, list[int]]:
        read: list[int] = []

        def image(split: FolderSplit, index: int) -> Image.Image:
            read.append(index)
            return Image.new("RGB", (20, 10), (index, 0, 0))

        monkeypatch.setattr(FolderSplit, "image", image)
        return FolderSplit([""] * count, list(range(count)), []), read

    return make


def labels_of(batches: Any) -> list[int]:
    return [int(label) for batch in batches for label in batch[1]]


def assert_same(first: Any, second: Any) -> None:
    first, second = list(first), list(second)
    assert len(first) == len(second) > 0
    for ours, theirs in zip(first, second, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_epoch_is_an_order_of_the_images(numbered):
    split, _ = numbered(50)

    def order(seed: int, epoch: int) -> list[int]:
        numbers = {"batch_size": 8, "size": 4, "seed": seed, "epoch": epoch}
        return labels_of(training_batches(split, **numbers))

    first = order(0, 0)
    assert len(first) == len(set(first)) == 48
    assert first == order(0, 0)
    others = [order(0, 1), order(1, 0), order(1, 1)]
    assert all(first != other for other in others)
    assert others[0] != others[1]
    # What an epoch leaves out changes, too.
    assert set(first) != set(others[0])


@pytest.mark.parametrize("threads", [1, 5])
def test_epoch_can_be_entered_anywhere(threads: int, folders: ImageFolders):
    """And the number of threads changes nothing."""
    numbers = {"batch_size": 4, "size": 16, "seed": 0, "epoch": 1}
    whole = list(training_batches(folders.train, **numbers, threads=2))
    for start in (0, 1, 4):
        late = training_batches(folders.train, **numbers, start=start, threads=threads)
        assert_same(late, whole[start:])
    assert not list(training_batches(folders.train, **numbers, start=5))


def test_only_a_few_batches_are_read_ahead(numbered):
    split, read = numbered(80)
    before = threading.active_count()
    batches: Any = training_batches(split, batch_size=8, size=4, seed=0, epoch=0)
    next(batches)
    batches.close()
    assert 8 <= len(read) <= 24
    assert threading.active_count() == before
    read.clear()
    late = training_batches(split, batch_size=8, size=4, seed=0, epoch=0, start=9)
    assert len(labels_of(late)) == len(read) == 8


def test_evaluation_sees_all_images_once(folders: ImageFolders):
    batches = list(evaluation_batches(folders.validation, batch_size=4, size=16))
    assert [images.shape for images, _, _ in batches] == [(4, 16, 16, 3)] * 3
    weights = np.concatenate([weights for _, _, weights in batches])
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, [1] * 9 + [0] * 3)
    assert labels_of(batches) == [0, 0, 0, 1, 1, 1, 2, 2, 2] + [0, 0, 0]
    assert_same(evaluation_batches(folders.validation, batch_size=4, size=16), batches)


def test_evaluation_of_a_part_spreads_it(numbered):
    split, _ = numbered(50)
    batches = list(evaluation_batches(split, batch_size=3, size=4, limit=5))
    assert labels_of(batches)[:5] == [0, 12, 24, 36, 49]
    assert [list(weights) for *_, weights in batches] == [[1, 1, 1], [1, 1, 0]]
    # More than there are are all, and a batch may be larger than the split.
    split, _ = numbered(2)
    ((_, labels, weights),) = evaluation_batches(split, batch_size=5, size=4, limit=9)
    assert list(labels) == [0, 1, 0, 1, 0] and list(weights) == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"batch_size": 0}, "batch_size must be .* 21 images, got 0"),
        ({"batch_size": 22}, "batch_size must be .* 21 images, got 22"),
        ({"start": -1}, "start must be from 0 to 5 batches, got -1"),
        ({"start": 6}, "start must be from 0 to 5 batches, got 6"),
    ],
)
def test_training_arguments_are_checked_at_once(changed, message, folders):
    numbers = {"batch_size": 4, "seed": 0, "epoch": 0, **changed}
    with pytest.raises(ValueError, match=message):
        training_batches(folders.train, **numbers)


@pytest.mark.parametrize("changed", [{"batch_size": 0}, {"limit": 0}])
def test_evaluation_arguments_are_checked_at_once(changed, folders):
    with pytest.raises(ValueError, match="must be at least"):
        evaluation_batches(folders.train, **{"batch_size": 4, **changed})
