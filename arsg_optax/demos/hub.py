"""Data sets through Hugging Face `datasets`, decoded once and kept as arrays."""

import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from arsg_optax.demos.errors import DataError

DATA_DIR_VARIABLE = "ARSG_DATA_DIR"

Decode = Callable[[str, str, Path | None], Mapping[str, np.ndarray]]
_SPLITS = ("train", "test")
_POINTER = b"version https://git-lfs.github.com/spec/"


def load_images(
    name: str,
    hub_name: str,
    data_dir: Path | None = None,
    *,
    image: str = "image",
    classes: int = 10,
) -> Mapping[str, np.ndarray]:
    """Loads an image classification set.

    The directory `<data directory>/<name>` is read if it exists, where the data
    directory is `data_dir` or else the environment variable ``ARSG_DATA_DIR``; if
    neither is there, the set is downloaded from the Hugging Face Hub. Decoding the
    compressed images takes seconds, so the arrays are kept in :func:`cache_dir`.

    Args:
        name: directory name of the set.
        hub_name: its name on the Hub.
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
    decode = partial(_decode, image=image, classes=classes)
    return load_arrays(name, hub_name, data_dir, decode)


def load_arrays(
    name: str, hub_name: str, data_dir: Path | None, decode: Decode
) -> Mapping[str, np.ndarray]:
    """Finds a set as :func:`load_images` does, and decodes it unless it was before.

    Args:
        name: directory name of the set.
        hub_name: its name on the Hub.
        data_dir: directory of data sets, or None.
        decode: `decode(name, hub_name, directory)` gives the arrays to keep, none of
            objects; the directory is None if the set comes from the Hub.

    Raises:
        DataError: if there is no such set, or `decode` raises anything.
    """
    directory = _local_directory(name, hub_name, data_dir)
    cached = cache_dir() / f"{name}-{_fingerprint(directory, hub_name)}.npz"
    arrays = _read_cache(cached)
    if arrays is not None:
        return arrays
    try:
        arrays = decode(name, hub_name, directory)
    except DataError:
        raise
    # The library raises a different exception for each way in which a network, a
    # proxy or a file can fail; to the caller they all mean that there is no data.
    except Exception as error:
        raise missing_data(name, hub_name, described(error)) from error
    _write_cache(cached, arrays)
    return arrays


def check_parquet(
    directory: Path,
    splits: Sequence[str],
    columns: Sequence[str],
    *,
    pages: bool = True,
) -> None:
    """Looks through a directory's parquet files, as no later error names the file.

    Args:
        directory: of the files `<split>*.parquet`.
        splits: their names.
        columns: that every file must have.
        pages: whether to read the files whole. The end alone, which tells columns and
            rows, takes no time and shows a file that is cut off.

    Raises:
        ValueError: if a split has no file or not all, or a file is damaged, has no rows
            or lacks a column; it names the file.
    """
    for split in splits:
        files = sorted(directory.glob(f"{split}*.parquet"))
        if not files:
            raise ValueError(f"no file {split}*.parquet in {directory}")
        for file in files:
            _require_siblings(file)
            found, rows = _read_parquet(file, pages)
            for column in sorted(set(columns) - set(found)):
                listed = ", ".join(found)
                raise ValueError(f"{file} has no column {column!r}, only {listed}")
            if rows == 0:
                raise ValueError(f"{file} has no rows")


def _require_siblings(file: Path) -> None:
    """Checks by a name like train-00000-of-00002.parquet that all parts are there."""
    parts = re.fullmatch(r"(.*-)\d+(-of-)(\d+)(.*\.parquet)", file.name)
    if parts is None:
        return
    start, middle, count, end = parts.groups()
    for number in range(int(count)):
        sibling = f"{start}{number:0{len(count)}}{middle}{count}{end}"
        if not (file.parent / sibling).exists():
            raise ValueError(f"no file {sibling} in {file.parent}, though {file.name}")


def _read_parquet(file: Path, pages: bool) -> tuple[list[str], int]:
    """Names of the columns, and the number of rows."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with file.open("rb") as opened:
            if opened.read(len(_POINTER)) == _POINTER:
                raise ValueError(
                    f"{file} is damaged: it is only Git LFS's pointer to the file; "
                    "`git lfs pull` gets the file itself"
                )
        if pages:
            table = parquet.read_table(file)
            return table.column_names, table.num_rows
        metadata = parquet.read_metadata(file)
        return metadata.schema.to_arrow_schema().names, metadata.num_rows
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def cache_dir() -> Path:
    """Directory of decoded sets: `arsg_optax` in the user's cache directory."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "arsg_optax"


def _local_directory(name: str, hub_name: str, data_dir: Path | None) -> Path | None:
    if data_dir is not None:
        directory = data_dir / name
        if not any(directory.glob("*.parquet")):
            raise missing_data(name, hub_name, f"no *.parquet files in {directory}")
        return directory
    root = os.environ.get(DATA_DIR_VARIABLE)
    if not root:
        return None
    directory = Path(root) / name
    return directory if any(directory.glob("*.parquet")) else None


def data_directory(name: str, data_dir: Path | None) -> Path | None:
    """The directory of a set by :func:`load_images`' rule, None if there is none."""
    root = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    directory = Path(root) / name if root else None
    return directory if directory is not None and directory.is_dir() else None


def _fingerprint(directory: Path | None, hub_name: str) -> str:
    """Names the source's content, so that a changed directory is decoded again."""
    if directory is None:
        source = [hub_name]
    else:
        source = [str(directory.resolve())]
        for file in sorted(directory.glob("*.parquet")):
            status = file.stat()
            source.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(source).encode()).hexdigest()[:16]


def _decode(
    name: str,
    hub_name: str,
    directory: Path | None,
    *,
    image: str = "image",
    classes: int = 10,
) -> dict[str, np.ndarray]:
    import datasets

    del name
    if directory is not None:
        check_parquet(directory, _SPLITS, [image, "label"])
    source = hub_name if directory is None else str(directory)
    loaded = datasets.load_dataset(source)
    arrays = {}
    for split in _SPLITS:
        columns = loaded[split].with_format("numpy")
        try:
            images = columns[image][:]
        except Exception as error:
            found = f"an image of split {split!r} of {source} cannot be decoded"
            raise ValueError(f"{found}: {described(error)}") from error
        arrays[f"{split}_images"] = images
        arrays[f"{split}_labels"] = np.asarray(columns["label"][:], np.int64)
    _check_images([arrays[f"{split}_images"] for split in _SPLITS], source)
    for split in _SPLITS:
        arrays[f"{split}_images"] = np.asarray(arrays[f"{split}_images"], np.uint8)
        _check_labels(arrays[f"{split}_labels"], classes, f"{split!r} of {source}")
    return arrays


def _check_images(splits: Sequence[Sequence[np.ndarray]], source: str) -> None:
    sizes = {np.shape(one) for images in splits for one in images}
    if len(sizes) > 1:
        listed = ", ".join(map(str, sorted(sizes)[:3]))
        raise ValueError(f"images of {source} differ in size: {listed}")


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


def missing_data(
    name: str, hub_name: str, reason: str, files: str = "the Hub's parquet files"
) -> DataError:
    """The error that names the reason and both ways to get the data."""
    return DataError(
        f"the data set {name!r} could not be loaded ({reason}). Either connect to the "
        f"network, so that it is downloaded from the Hugging Face Hub as {hub_name!r}, "
        f"or put {files} into a directory {name!r} and name its parent with --data-dir "
        f"or the environment variable {DATA_DIR_VARIABLE}"
    )


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write_cache(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a sibling and renames it, so that no reader meets half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    except OSError:
        # A read-only home costs the seconds of decoding each time, nothing else.
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
