"""Image sets through Hugging Face `datasets`, decoded once and kept as arrays."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from arsg_optax.demos.errors import DataError

DATA_DIR_VARIABLE = "ARSG_DATA_DIR"
_SPLITS = ("train", "test")


def load_images(
    name: str, hub_name: str, data_dir: Path | None = None
) -> Mapping[str, np.ndarray]:
    """Loads an image classification set with columns `image` and `label`.

    The directory `<data directory>/<name>` is read if it exists, where the data
    directory is `data_dir` or else the environment variable ``ARSG_DATA_DIR``; if
    neither is there, the set is downloaded from the Hugging Face Hub. Decoding the
    compressed images takes seconds, so the arrays are kept in :func:`cache_dir`.

    Args:
        name: directory name of the set.
        hub_name: its name on the Hub.
        data_dir: directory of data sets. If it is given, the set must be in it.

    Returns:
        `train_images`, `test_images` (uint8 `[n, height, width]`), `train_labels`,
        `test_labels` (int64 `[n]`).

    Raises:
        DataError: if the set is neither in the directory nor on the Hub.
    """
    directory = _local_directory(name, hub_name, data_dir)
    cached = cache_dir() / f"{name}-{_fingerprint(directory, hub_name)}.npz"
    arrays = _read_cache(cached)
    if arrays is None:
        arrays = _decode(name, hub_name, directory)
        _write_cache(cached, arrays)
    return arrays


def cache_dir() -> Path:
    """Directory of decoded images: `arsg_optax` in the user's cache directory."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "arsg_optax"


def _local_directory(name: str, hub_name: str, data_dir: Path | None) -> Path | None:
    if data_dir is not None:
        directory = data_dir / name
        if not any(directory.glob("*.parquet")):
            raise _missing(name, hub_name, f"no *.parquet files in {directory}")
        return directory
    root = os.environ.get(DATA_DIR_VARIABLE)
    if not root:
        return None
    directory = Path(root) / name
    return directory if any(directory.glob("*.parquet")) else None


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


def _decode(name: str, hub_name: str, directory: Path | None) -> dict[str, np.ndarray]:
    import datasets

    source = hub_name if directory is None else str(directory)
    try:
        loaded = datasets.load_dataset(source)
        arrays = {}
        for split in _SPLITS:
            columns = loaded[split].with_format("numpy")
            arrays[f"{split}_images"] = np.asarray(columns["image"][:], np.uint8)
            arrays[f"{split}_labels"] = np.asarray(columns["label"][:], np.int64)
    # The library raises a different exception for each way in which a network, a
    # proxy or a file can fail; to the caller they all mean that there is no data.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise _missing(name, hub_name, reason) from error
    return arrays


def _missing(name: str, hub_name: str, reason: str) -> DataError:
    return DataError(
        f"the data set {name!r} could not be loaded ({reason}). Either connect to the "
        f"network, so that it is downloaded from the Hugging Face Hub as {hub_name!r}, "
        f"or put the Hub's parquet files into a directory {name!r} and name its parent "
        f"with --data-dir or the environment variable {DATA_DIR_VARIABLE}"
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
