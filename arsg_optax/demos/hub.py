"""Data sets of the Hugging Face Hub, decoded once and kept as arrays."""

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arsg_optax.demos.errors import DataError
from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.parquet import read_split

DATA_DIR_VARIABLE = "ARSG_DATA_DIR"

Decode = Callable[[Path], Mapping[str, np.ndarray]]


class Source(NamedTuple):
    """Where a data set is.

    Attributes:
        name: its directory among the data sets, with the parquet files in it.
        hub_name: its repository on the Hub.
        folder: with a slash at its end, the set's folder there, of several sets.
        form: of the decoded arrays, where a set is decoded in more ways than one.
    """

    name: str
    hub_name: str
    folder: str = ""
    form: str = ""


def load_images(
    source: Source,
    data_dir: Path | None = None,
    *,
    image: str = "image",
    classes: int = 10,
) -> Mapping[str, np.ndarray]:
    """Loads an image classification set with the splits `train` and `test`.

    The directory `<data directory>/<name>` is read if it exists, where the data
    directory is `data_dir` or else the environment variable ``ARSG_DATA_DIR``; if
    neither is there, the set is downloaded from the Hugging Face Hub. Decoding the
    compressed images takes seconds, so the arrays are kept in :func:`cache_dir`.

    Args:
        source: where the set is.
        data_dir: directory of data sets. If it is given, the set must be in it.
        image: name of the column of images; that of classes is `label`.
        classes: their number.

    Returns:
        `train_images`, `test_images` (uint8 `[n, height, width]`, or with a last axis
        of 3 colours), `train_labels`, `test_labels` (int64 `[n]`).

    Raises:
        DataError: if the set is neither in the directory nor on the Hub, or if a file
            of it is damaged, lacks a split or a column, or holds images of different
            sizes or labels that are not in [0, classes).
    """

    def decode(directory: Path) -> dict[str, np.ndarray]:
        return _decode(directory, image, classes)

    return load_arrays(source, data_dir, decode)


def load_arrays(
    source: Source, data_dir: Path | None, decode: Decode
) -> Mapping[str, np.ndarray]:
    """Finds a set as :func:`load_images` does, and decodes it unless it was before.

    Args:
        source: where the set is.
        data_dir: directory of data sets, or None.
        decode: `decode(directory)` gives the arrays to keep, none of objects; the
            parquet files lie in the directory or in folders of it.

    Raises:
        DataError: if there is no such set, or `decode` raises anything.
    """
    directory = _local_directory(source, data_dir)
    name = f"{source.name}{source.form}-{_fingerprint(directory, source)}.cache"
    cached = cache_dir() / name
    arrays = _read_cache(cached)
    if arrays is not None:
        return arrays
    # A network, a proxy, a file or an image can fail in many ways, each with a
    # different exception; to the caller they all mean that there is no data.
    try:
        arrays = decode(directory or _download(source))
    except Exception as error:
        raise missing_data(source, described(error)) from error
    _write_cache(cached, arrays)
    return arrays


def cache_dir() -> Path:
    """Directory of decoded sets: `arsg_optax` in the user's cache directory."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "arsg_optax"


def data_root(data_dir: Path | None) -> Path | None:
    """The directory of data sets: the one given, or else ``ARSG_DATA_DIR``'s."""
    root = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    return Path(root) if root else None


def _local_directory(source: Source, data_dir: Path | None) -> Path | None:
    root = data_root(data_dir)
    if root is None:
        return None
    directory = root / source.name
    if any(directory.glob("*.parquet")):
        return directory
    if data_dir is not None:
        raise missing_data(source, f"no *.parquet files in {directory}")
    return None


def _download(source: Source) -> Path:
    """The parquet files in the Hub's own cache, which it fills and keeps up to date."""
    from huggingface_hub import snapshot_download

    pattern = f"{source.folder}*.parquet"
    found: Any = snapshot_download(
        source.hub_name, repo_type="dataset", allow_patterns=pattern
    )
    return Path(found) / source.folder


def _fingerprint(directory: Path | None, source: Source) -> str:
    """Names the source's content, so that a changed directory is decoded again."""
    if directory is None:
        parts = [source.hub_name, source.folder]
    else:
        parts = [str(directory.resolve())]
        for file in sorted(directory.glob("*.parquet")):
            status = file.stat()
            parts.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _decode(directory: Path, image: str, classes: int) -> dict[str, np.ndarray]:
    arrays, sizes = {}, set()
    for split in ("train", "test"):
        table = read_split(directory, split, [image, "label"])
        images = _pixels(table[image].to_pylist(), f"split {split!r} of {directory}")
        sizes.update(one.shape for one in images)
        if len(sizes) > 1:
            listed = ", ".join(map(str, sorted(sizes)))
            raise ValueError(f"images of {directory} differ in size: {listed}")
        labels = np.array(table["label"].to_pylist(), np.int64)
        _check_labels(labels, classes, f"{split!r} of {directory}")
        arrays[f"{split}_images"] = np.stack(images)
        arrays[f"{split}_labels"] = labels
    return arrays


def _pixels(cells: list[Any], where: str) -> list[np.ndarray]:
    """The images of a column as the Hub has them: the bytes of a file each."""
    from PIL import Image

    images = []
    for row, cell in enumerate(cells):
        try:
            with Image.open(io.BytesIO(cell["bytes"])) as image:
                images.append(np.asarray(image, np.uint8))
        except Exception as error:
            raise ValueError(
                f"image {row} of {where} cannot be decoded: {described(error)}"
            ) from error
    return images


def _check_labels(labels: np.ndarray, classes: int, where: str) -> None:
    low, high = labels.min(), labels.max()
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels of split {where} are from {low} to {high} instead of from 0 to "
            f"{classes - 1}"
        )


def described(error: Exception) -> str:
    """One line: what happened, and unless the words are ours the kind of error."""
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{kind}{error}".splitlines()[0]


def missing_data(source: Source, reason: str) -> DataError:
    """The error that names the reason and both ways to get the data."""
    return DataError(
        f"the data set {source.name!r} could not be loaded ({reason}). Either connect "
        "to the network, so that it is downloaded from the Hugging Face Hub as "
        f"{source.hub_name!r}, or put the Hub's parquet files into a directory "
        f"{source.name!r} and name its parent with --data-dir or the environment "
        f"variable {DATA_DIR_VARIABLE}"
    )


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).digest()


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays, or None if there is no file or one that is damaged."""
    try:
        content = memoryview(path.read_bytes())
    except OSError:
        return None
    if _digest(content[32:]) != content[:32]:
        return None
    # A checksum that fits is no promise: only plain arrays are read, never objects.
    try:
        with np.load(io.BytesIO(content[32:]), allow_pickle=False) as stored:
            return dict(stored)
    except (ValueError, OSError, zipfile.BadZipFile):
        return None


def _write_cache(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    content = packed.getvalue()
    # A read-only home costs the seconds of decoding each time, nothing else.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _digest(content) + content)
