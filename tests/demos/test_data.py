"""The data sets, their splits, and what is said when they are missing."""

import io
import os
import pickle
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arsg_optax.demos import data, hub
from arsg_optax.demos.data import (
    Dataset,
    hold_out,
    load_cifar10,
    load_digits,
    load_mnist,
    require_disjoint,
)
from arsg_optax.demos.errors import DataError
from tests.demos.parquets import truncate, write_image_set, write_images

SPLITS = ("train", "test")
IMAGES = np.full((1, 2, 3), 255, np.uint8)


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


def test_unreachable_hub_is_the_same_error(own_cache: Path, monkeypatch):
    def fail(repository: str, **options):
        raise ConnectionError(f"no route to {repository}")

    monkeypatch.setenv("ARSG_DATA_DIR", str(own_cache))
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(DataError, match=r"no route to ylecun/mnist.*--data-dir"):
        load_mnist()


def test_the_hub_s_files_are_read(own_cache: Path, tmp_path: Path, monkeypatch):
    """They lie in a folder of the downloaded snapshot, and are asked for once."""
    pixels = write_image_set(tmp_path / "snapshot" / "mnist", (28, 28), "image")
    asked = []

    def download(repository: str, **options):
        asked.append((repository, options))
        return str(tmp_path / "snapshot")

    monkeypatch.delenv("ARSG_DATA_DIR", raising=False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    first, second = load_mnist(), load_mnist()
    parts = {"repo_type": "dataset", "allow_patterns": "*.parquet"}
    assert asked == [("ylecun/mnist", parts)]
    expected = pixels["train"].astype(np.float32) / np.float32(255)
    for loaded in (first, second):
        np.testing.assert_array_equal(loaded.train.images, expected)
        assert list(loaded.test.labels) == [0, 1, 2, 3]
        assert list(loaded.test.rows) == [6, 7, 8, 9]


@pytest.fixture
def decoded(own_cache: Path, monkeypatch) -> list[Path]:
    """Directories that were decoded, each to the same small arrays."""
    found = []

    def decode(directory: Path, *options):
        found.append(directory)
        return {
            **{f"{split}_images": IMAGES for split in SPLITS},
            **{f"{split}_labels": np.zeros(1, np.int64) for split in SPLITS},
        }

    monkeypatch.delenv("ARSG_DATA_DIR", raising=False)
    monkeypatch.setattr(hub, "_download", lambda source: Path(source.hub_name))
    monkeypatch.setattr(hub, "_decode", decode)
    return found


def test_any_damage_of_the_cache_is_noticed(decoded: list[Path], own_cache: Path):
    load_mnist()
    (file,) = (own_cache / "arsg_optax").iterdir()
    whole = file.read_bytes()
    bits = np.random.default_rng(0).permutation(8 * len(whole))[:200]
    for count, bit in enumerate(bits, start=1):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bytes(damaged) if count > 2 else whole[: count * 20])
        loaded = load_mnist()
        np.testing.assert_array_equal(loaded.test.images * 255, IMAGES)
        assert len(decoded) == 1 + count
        assert file.read_bytes()[:32] == whole[:32]
    load_mnist()
    assert len(decoded) == 201


class Payload:
    """Would leave a file where it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("packed", [True, False])
def test_a_pickle_in_the_cache_is_not_run(
    packed: bool, decoded: list[Path], own_cache: Path
):
    load_mnist()
    (file,) = (own_cache / "arsg_optax").iterdir()
    mark = own_cache / "mark"
    content = io.BytesIO(pickle.dumps(Payload(mark)))
    if packed:
        content = io.BytesIO()
        np.savez(content, train_images=np.array([Payload(mark)], object))
    file.write_bytes(hub._digest(content.getvalue()) + content.getvalue())
    np.testing.assert_array_equal(load_mnist().test.images * 255, IMAGES)
    assert len(decoded) == 2 and not mark.exists()


def test_unwritable_cache_only_costs_time(decoded: list[Path], own_cache: Path):
    own_cache.mkdir(exist_ok=True)
    (own_cache / "arsg_optax").write_text("no directory")
    for _ in range(2):
        assert load_mnist().train.images.shape == IMAGES.shape
    assert len(decoded) == 2


@pytest.mark.usefixtures("own_cache")
def test_cifar_stays_small_and_says_how_it_is_standardized(tmp_path: Path):
    pixels = write_image_set(tmp_path / "cifar10", (32, 32, 3), "img")
    for _ in ("decoded", "from the cache"):
        loaded = load_cifar10(tmp_path)
        for split in ("train", "test"):
            images = getattr(loaded, split).images
            assert images.dtype == np.uint8
            np.testing.assert_array_equal(images, pixels[split])
        assert list(loaded.train.labels) == list(range(6))
        assert list(loaded.test.rows) == [6, 7, 8, 9]
        shift, factor = loaded.scaling
        inputs = (pixels["train"] / 255 - shift / 255) * (factor * 255)
        np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-12)


def test_scaling_needs_no_large_copy(monkeypatch):
    images = np.random.default_rng(1).integers(256, size=(9_999, 32, 32, 3))
    images = images.astype(np.uint8)
    arrays = {
        **{f"{split}_images": images for split in ("train", "test")},
        **{f"{split}_labels": np.zeros(9_999) for split in ("train", "test")},
    }
    monkeypatch.setattr(data, "load_images", lambda *source, **columns: arrays)
    tracemalloc.start()
    try:
        scaling = load_cifar10().scaling
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(scaling, (images.mean(), 1 / images.std()), rtol=1e-12)
    assert peak < images.nbytes


@pytest.mark.usefixtures("own_cache")
def test_mnist_is_between_0_and_1(tmp_path: Path):
    pixels = write_image_set(tmp_path / "mnist", (28, 28), "image")
    loaded = load_mnist(tmp_path)
    assert loaded.test.images.dtype == np.float32
    expected = pixels["test"].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(loaded.test.images, expected)
    assert loaded.scaling == (0, 1)


def be_a_pointer(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def damage_inside(file: Path) -> None:
    """Keeps the footer, so that only reading the pages can tell."""
    content = bytearray(file.read_bytes())
    content[4:60] = bytes(56)
    file.write_bytes(bytes(content))


def name_column_otherwise(file: Path) -> None:
    write_images(file, [np.zeros((28, 28), np.uint8)], [0], "img")


def have_no_rows(file: Path) -> None:
    write_images(file, [], [])


def be_gone(file: Path) -> None:
    file.unlink()


def be_the_first_of_two(file: Path) -> None:
    file.rename(file.with_name("test-00000-of-00002.parquet"))


def differ_from_training(file: Path) -> None:
    write_images(file, [np.zeros((32, 32, 3), np.uint8)], [0])


def have_no_labels(file: Path) -> None:
    write_images(file, [np.zeros((28, 28), np.uint8)], [-1])


def have_other_labels(file: Path) -> None:
    write_images(file, [np.zeros((28, 28), np.uint8)] * 2, [3, 10])


def hold_no_images(file: Path) -> None:
    write_images(file, [b"no image"], [0])


@pytest.mark.parametrize(
    "spoil, found",
    [
        (truncate, "{file} is damaged"),
        (be_a_pointer, "{file} is damaged: it is only Git LFS's pointer"),
        (damage_inside, "{file} is damaged"),
        (name_column_otherwise, "{file} has no column 'image', only img, label"),
        (have_no_rows, "{file} has no rows"),
        (be_gone, "no file test*.parquet in {file.parent}"),
        (be_the_first_of_two, "no file test-00001-of-00002.parquet in {file.parent}"),
        (
            differ_from_training,
            "images of {file.parent} differ in size: (28, 28), (32, 32, 3)",
        ),
        (have_no_labels, "labels of split 'test' of {file.parent} are from -1 to -1"),
        (have_other_labels, "from 3 to 10 instead of from 0 to 9"),
        (
            hold_no_images,
            "image 0 of split 'test' of {file.parent} cannot be decoded: Unidentified",
        ),
    ],
)
@pytest.mark.usefixtures("own_cache")
def test_bad_data_are_named(spoil: Callable[[Path], None], found: str, tmp_path: Path):
    write_image_set(tmp_path / "mnist", (28, 28), "image")
    file = tmp_path / "mnist" / "test-00000-of-00001.parquet"
    spoil(file)
    with pytest.raises(DataError, match=re.escape(found.format(file=file))) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    for part in ("'mnist'", "'ylecun/mnist'", "--data-dir", "ARSG_DATA_DIR"):
        assert part in message
    assert "\n" not in message


@pytest.mark.usefixtures("own_cache")
def test_mended_data_are_read_again(tmp_path: Path):
    write_image_set(tmp_path / "mnist", (28, 28), "image")
    file = tmp_path / "mnist" / "test-00000-of-00001.parquet"
    whole = file.read_bytes()
    have_other_labels(file)
    with pytest.raises(DataError, match="labels"):
        load_mnist(tmp_path)
    file.write_bytes(whole)
    assert list(load_mnist(tmp_path).test.labels) == [0, 1, 2, 3]


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test without the files of a set."""
    root = os.environ.get(hub.DATA_DIR_VARIABLE)
    there = bool(root) and any((Path(root) / name).glob("*.parquet"))
    reason = f"needs {name}/*.parquet in the directory {hub.DATA_DIR_VARIABLE}"
    return pytest.mark.skipif(not there, reason=reason)


@needs("mnist")
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


@pytest.mark.slow
@needs("cifar10")
def test_cifar10_is_complete():
    loaded = load_cifar10()
    assert loaded.train.images.shape == (50_000, 32, 32, 3)
    assert loaded.test.images.shape == (10_000, 32, 32, 3)
    for split, count in ((loaded.train, 5_000), (loaded.test, 1_000)):
        assert split.images.dtype == np.uint8
        assert list(np.bincount(split.labels)) == [count] * 10
    # Those of the original images; JPEG re-encodings keep the mean, and about half a
    # percent of the deviation is lost with their finest detail.
    shift, factor = loaded.scaling
    assert shift / 255 == pytest.approx(0.4734, rel=1e-3)
    assert 1 / (255 * factor) == pytest.approx(0.2516, rel=1e-2)
