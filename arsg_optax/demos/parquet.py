"""Columns of a directory of parquet files; errors name the file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow import Table

_POINTER = b"version https://git-lfs.github.com/spec/"


def read_split(directory: Path, split: str, columns: Sequence[str]) -> "Table":
    """Reads columns of the files `<split>*.parquet`, in the order of their names.

    Args:
        directory: of the files, or a folder above them.
        split: what their names begin with.
        columns: that every file must have.

    Returns:
        A table of these columns, with at least one row.

    Raises:
        ValueError: if the split has no file or not all, or a file is damaged, has no
            rows or lacks a column; it names the file.
    """
    import pyarrow

    files = sorted(directory.rglob(f"{split}*.parquet"))
    if not files:
        raise ValueError(f"no file {split}*.parquet in {directory}")
    return pyarrow.concat_tables([_read_file(file, columns) for file in files])


def _read_file(file: Path, columns: Sequence[str]) -> "Table":
    import pyarrow
    import pyarrow.parquet as parquet

    _require_siblings(file)
    try:
        with file.open("rb") as opened:
            if opened.read(len(_POINTER)) == _POINTER:
                raise ValueError(
                    f"{file} is damaged: it is only Git LFS's pointer to the file; "
                    "`git lfs pull` gets the file itself"
                )
        found = parquet.read_schema(file).names
        for column in sorted(set(columns) - set(found)):
            listed = ", ".join(found)
            raise ValueError(f"{file} has no column {column!r}, only {listed}")
        # Not as a data set, which takes its file system's plugins and threads along.
        with parquet.ParquetFile(file) as opened:
            table = opened.read(columns=list(columns))
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not table.num_rows:
        raise ValueError(f"{file} has no rows")
    return table


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
