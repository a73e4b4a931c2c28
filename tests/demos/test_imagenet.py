"""Where ImageNet's images are found, and what is said of bad folders and files."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arsg_optax.demos.errors import DataError
from arsg_optax.demos.imagenet import (
    FolderSplit,
    ImageStreams,
    evaluation_batches,
    load_imagenet,
    training_batches,
)
from tests.demos.photographs import CLASSES, assert_same, write_folder

# The library leaves its parquet reader open, and forks for nothing here.
quiet_datasets = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning"
)


@pytest.fixture(scope="module")
def streams(tmp_path_factory) -> ImageStreams:
    """Of a folder that no test changes."""
    root = tmp_path_factory.mktemp("data")
    write_folder(root)
    return load_imagenet(root)


def test_folder_is_found(streams: ImageStreams):
    for split, count in ((streams.train, 7), (streams.validation, 3)):
        assert split.classes == CLASSES
        assert split.count() == 3 * count
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
    assert (loaded.train.count(), loaded.validation.count()) == (22, 9)
    assert loaded.train.classes == CLASSES


def be_no_image(file: Path) -> None:
    file.write_text("no image")


def be_empty(file: Path) -> None:
    file.write_bytes(b"")


def be_cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def be_gone(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("spoil", [be_no_image, be_empty, be_cut_off, be_gone])
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


def lose_training(folder: Path) -> None:
    (folder / "train").rename(folder / "other")


def lose_all_classes(folder: Path) -> None:
    lose_validation(folder)
    (folder / "val").mkdir()


def lose_a_class(folder: Path) -> None:
    (folder / "val" / CLASSES[1]).rename(folder / "other")


def gain_a_class(folder: Path) -> None:
    (folder / "val" / CLASSES[1]).rename(folder / "val" / "another")
    (folder / "train" / CLASSES[1]).rename(folder / "other")


def have_an_empty_class(folder: Path) -> None:
    for file in (folder / "train" / CLASSES[1]).iterdir():
        file.unlink()


def have_a_bad_first_image(folder: Path) -> None:
    be_no_image(folder / "val" / CLASSES[0] / "00000.jpg")


@pytest.mark.parametrize(
    "spoil, found",
    [
        (lose_validation, "there is no folder {}/val"),
        (lose_training, "there is no folder {}/train"),
        (lose_all_classes, "no class folders in {}/val"),
        (lose_a_class, "only {}/train has the class 'generated_001'"),
        (gain_a_class, "only {}/val has the class 'another'"),
        (have_an_empty_class, "no images in {}/train/generated_001"),
    ],
)
def test_bad_folder_is_named(spoil: Callable[[Path], None], found: str, tmp_path: Path):
    folder = write_folder(tmp_path)
    spoil(folder)
    with pytest.raises(DataError, match=re.escape(found.format(folder))) as caught:
        load_imagenet(tmp_path)
    assert_names_both_ways(caught.value)


def test_an_image_is_read_before_training(tmp_path: Path):
    have_a_bad_first_image(write_folder(tmp_path))
    with pytest.raises(DataError, match=r"val/generated_000/00000\.jpg cannot be read"):
        load_imagenet(tmp_path)


def assert_names_both_ways(error: DataError) -> None:
    for part in (
        "'imagenet-1k'",
        "'ILSVRC/imagenet-1k'",
        "`train/<class>`",
        "--data-dir",
        "ARSG_DATA_DIR",
    ):
        assert part in str(error)


def test_named_directory_without_the_images_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"no folder .*imagenet-1k") as caught:
        load_imagenet(tmp_path)
    assert_names_both_ways(caught.value)


def test_unreachable_hub_is_an_error(tmp_path: Path, monkeypatch):
    import datasets

    def fail(name: str):
        raise ConnectionError(f"no route to {name}")

    monkeypatch.setenv("ARSG_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match="no route to ILSVRC/imagenet-1k") as caught:
        load_imagenet()
    assert_names_both_ways(caught.value)


@pytest.fixture
def parquet(tmp_path: Path, monkeypatch, streams: ImageStreams) -> Path:
    """The same images as the Hub lays them out."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "imagenet-1k"
    folder.mkdir()
    for name, split in streams._asdict().items():
        write_parquet(folder / f"{name}-00000-of-00001.parquet", split)
    return folder


def write_parquet(file: Path, split: FolderSplit, named: bool = True) -> None:
    from datasets import ClassLabel, Dataset, Features, Image, Value

    label = ClassLabel(names=list(split.classes)) if named else Value("int64")
    rows = {"image": list(split.files), "label": list(split.labels)}
    features = Features({"image": Image(), "label": label})
    Dataset.from_dict(rows, features=features).to_parquet(file)


@quiet_datasets
def test_parquet_files_give_the_same_images(parquet: Path, streams: ImageStreams):
    loaded = load_imagenet(parquet.parent)
    assert list(loaded.train.classes) == CLASSES
    numbers = {"batch_size": 4, "size": 16, "seed": 0, "epoch": 0}
    assert_same(
        training_batches(loaded.train, **numbers),
        training_batches(streams.train, **numbers),
    )
    assert_same(
        evaluation_batches(loaded.validation, batch_size=4, size=16),
        evaluation_batches(streams.validation, batch_size=4, size=16),
    )


@quiet_datasets
def test_bad_parquet_files_are_named(parquet: Path, streams: ImageStreams):
    file = parquet / "validation-00000-of-00001.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=f"{re.escape(str(file))} is damaged") as caught:
        load_imagenet(parquet.parent)
    assert_names_both_ways(caught.value)
    file.unlink()
    with pytest.raises(DataError, match=r"no file validation\*\.parquet in"):
        load_imagenet(parquet.parent)
    file.write_bytes(whole)
    train = parquet / "train-00000-of-00001.parquet"
    train.rename(parquet / "train-00000-of-00002.parquet")
    with pytest.raises(DataError, match=r"no file train-00001-of-00002\.parquet"):
        load_imagenet(parquet.parent)
    (parquet / "train-00000-of-00002.parquet").unlink()
    for name, split in streams._asdict().items():
        write_parquet(parquet / f"{name}-00000-of-00001.parquet", split, named=False)
    with pytest.raises(DataError, match="does not name its classes"):
        load_imagenet(parquet.parent)


@quiet_datasets
def test_unreadable_row_is_named(tmp_path: Path, monkeypatch, streams: ImageStreams):
    import datasets

    rows = {"image": [{"bytes": b"no image", "path": None}], "label": [0]}
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}
    )
    bad = datasets.Dataset.from_dict(rows, features=features, split="train")
    monkeypatch.setenv("ARSG_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name: {"train": bad, "validation": bad}
    )
    with pytest.raises(DataError, match="image 0 of split 'train' of 'imagenet-1k'"):
        load_imagenet()


def test_generated_classes_look_different(tmp_path: Path, streams: ImageStreams):
    with Image.open(streams.train.files[0]) as image:
        assert (image.format, image.size) == ("JPEG", (60, 48))
    pixels = np.stack([streams.train.example(row)[0] for row in range(21)])
    colours = pixels.mean((1, 2)).reshape(3, 7, 3)
    apart = np.abs(colours.mean(1)[:, None] - colours.mean(1)).max(-1)
    assert apart[~np.eye(3, dtype=bool)].min() > 10 * colours.std(1).max()
    # The same seed gives the same files, and no file is there twice.
    contents = [Path(file).read_bytes() for file in streams.train.files]
    assert len(set(contents)) == 21
    again = write_folder(tmp_path) / "train" / CLASSES[2] / "00006.jpg"
    assert again.read_bytes() == contents[-1]
