"""Texts as arrays of word numbers, with their vocabularies."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arsg_optax.demos.errors import DataError
from arsg_optax.demos.hub import DATA_DIR_VARIABLE, Source, data_root, load_arrays
from arsg_optax.demos.parquet import read_split

END_OF_LINE = "<eos>"

WIKITEXT2 = Source("wikitext-2", "Salesforce/wikitext", "wikitext-2-v1/")
_SPLITS = ("train", "validation", "test")
# File and tokens with <eos> of each split.
_PTB_FILES = {
    "train": ("ptb.train.txt", 929_589),
    "validation": ("ptb.valid.txt", 73_760),
    "test": ("ptb.test.txt", 82_430),
}
_PTB_WORDS = 10_000


class TextSet(NamedTuple):
    """A text in three parts.

    Attributes:
        train: int32 `[n]`, each word's place in the vocabulary; lines end with the
            word ``<eos>``.
        validation: likewise.
        test: likewise.
        vocabulary: the words, in the order in which the three parts bring them up.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    vocabulary: tuple[str, ...]


def load_wikitext2(data_dir: Path | None = None) -> TextSet:
    """WikiText-2: 2,088,628, 217,646 and 245,569 tokens of 33,278 words.

    A line is split at white space and followed by ``<eos>``; so is an empty line, which
    is ``<eos>`` alone.

    Args:
        data_dir: see :func:`arsg_optax.demos.hub.load_images`. The files of the
            directory `wikitext-2` are `train*.parquet`, `validation*.parquet` and
            `test*.parquet`, with a column `text`.

    Raises:
        DataError: if the text is neither in a directory nor on the Hub, or a file is
            damaged.
    """
    arrays = load_arrays(WIKITEXT2, data_dir, _decode_wikitext2)
    parts = (arrays[split] for split in _SPLITS)
    return TextSet(*parts, vocabulary=tuple(arrays["vocabulary"].tolist()))


def load_ptb(data_dir: Path | None = None) -> TextSet:
    """Penn Treebank: 929,589, 73,760 and 82,430 tokens of 10,000 words.

    It is not on the Hub in this form: the usual files `ptb.train.txt`, `ptb.valid.txt`
    and `ptb.test.txt` are read from the directory `ptb`.

    Args:
        data_dir: directory of data sets, else the environment variable
            ``ARSG_DATA_DIR`` names it.

    Raises:
        DataError: if a file is missing, damaged or not whole.
    """
    root = data_root(data_dir)
    if root is None:
        raise _missing_ptb("no directory of data sets is given")
    lines = {
        split: _read_lines(root / "ptb" / file)
        for split, (file, _) in _PTB_FILES.items()
    }
    text = encode(lines)
    for split, (file, expected) in _PTB_FILES.items():
        found = getattr(text, split).size
        if found != expected:
            raise _missing_ptb(
                f"{root / 'ptb' / file} has {found:,} tokens instead of "
                f"{expected:,}, so it is another text or not whole"
            )
    if len(text.vocabulary) != _PTB_WORDS:
        raise _missing_ptb(
            f"the files in {root / 'ptb'} have {len(text.vocabulary):,} words "
            f"instead of {_PTB_WORDS:,}, so they are another text"
        )
    return text


def encode(lines: Mapping[str, Iterable[str]]) -> TextSet:
    """Numbers the words of the splits `train`, `validation` and `test`.

    Args:
        lines: of each split; an ``<eos>`` is put after each.
    """
    numbers: dict[str, int] = {}
    parts = []
    for split in _SPLITS:
        part = [
            numbers.setdefault(word, len(numbers))
            for line in lines[split]
            for word in (*line.split(), END_OF_LINE)
        ]
        parts.append(np.array(part, np.int32))
    return TextSet(*parts, vocabulary=tuple(numbers))


def batchify(tokens: np.ndarray, batch_size: int) -> np.ndarray:
    """Cuts a text into rows `[batch size, length]` of contiguous words.

    Args:
        tokens: `[n]`; the last n modulo `batch_size` are dropped.
        batch_size: number of rows.

    Raises:
        ValueError: if `batch_size` is not in [1, n].
    """
    if not 1 <= batch_size <= len(tokens):
        raise ValueError(
            f"batch_size must be from 1 to the text's {len(tokens)} tokens, "
            f"got {batch_size}"
        )
    length = len(tokens) // batch_size
    return tokens[: batch_size * length].reshape(batch_size, length)


def save_vocabulary(path: Path, words: Sequence[str]) -> None:
    """Writes one word per line, UTF-8; a file of that name is replaced as a whole.

    No word of :func:`encode` has white space, so that splitting gives them back.
    """
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text("".join(f"{word}\n" for word in words), "utf-8", newline="\n")
    os.replace(temporary, path)


def _decode_wikitext2(directory: Path) -> dict[str, np.ndarray]:
    tables = {split: read_split(directory, split, ["text"]) for split in _SPLITS}
    text = encode({split: table["text"].to_pylist() for split, table in tables.items()})
    return {**text._asdict(), "vocabulary": np.array(text.vocabulary)}


def _read_lines(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8") as lines:
            return list(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise _missing_ptb(f"{type(error).__name__}: {error}, {file}") from error


def _missing_ptb(reason: str) -> DataError:
    files = ", ".join(file for file, _ in _PTB_FILES.values())
    return DataError(
        f"the data set 'ptb' could not be loaded ({reason}). Penn Treebank cannot be "
        f"downloaded from here: put the files {files} of the usual 10,000-word version "
        "into a directory 'ptb' and name its parent with --data-dir or the environment "
        f"variable {DATA_DIR_VARIABLE}"
    )
