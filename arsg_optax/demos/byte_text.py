"""Texts as bytes: nothing to download for one of them, and nothing to tokenise."""

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax.demos.errors import DataError
from arsg_optax.demos.hub import load_arrays
from arsg_optax.demos.parquet import read_split
from arsg_optax.demos.text import WIKITEXT2, TextSet

VOCABULARY = 256

# Tests; what pip installs; generated tables and help, many of which are alike. What the
# interpreter's build writes begins with one of the prefixes.
_LEFT_OUT = (
    *("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"),
    *("encodings", "pydoc_data"),
)
_BUILD_PREFIXES = ("_sysconfigdata", "config-")
# Of 256 values of a byte of the hash of a file's name: a fourteenth of the files.
_VALIDATION_BELOW = 18


class ByteSet(NamedTuple):
    """A text as bytes in two parts.

    Attributes:
        train: uint8 `[n]`.
        validation: uint8 `[m]`.
        source: in a few words, where the text comes from.
    """

    train: np.ndarray
    validation: np.ndarray
    source: str

    def hold_out(self, fraction: float) -> "ByteSet":
        """The end of the training part in place of the validation part.

        Args:
            fraction: share of the training part, in (0, 1).
        """
        kept = self.train.size - round(fraction * self.train.size)
        return self._replace(train=self.train[:kept], validation=self.train[kept:])

    def facts(self) -> dict[str, str]:
        """The source and sixteen hexadecimal digits of the content, for a record."""
        digest = hashlib.sha256(self.train.tobytes() + self.validation.tobytes())
        return {"text": self.source, "text_sha256": digest.hexdigest()[:16]}


def load_python_bytes(data_dir: Path | None = None) -> ByteSet:
    """The source of the running Python's standard library, about 10 MB.

    Tests and generated files are left out, as is what pip installs. The files come in
    the order of their names; whether one is for validation, as a fourteenth of them
    are, depends on its name alone.

    Args:
        data_dir: not used, as nothing has to be downloaded.

    Raises:
        DataError: if this Python has no source of its library.
    """
    del data_dir
    root = Path(sysconfig.get_path("stdlib"))
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for name in sorted(_library(root)):
        digest = hashlib.sha256(name.encode()).digest()
        parts[digest[0] < _VALIDATION_BELOW].append((root / name).read_bytes())
    if not all(parts):
        raise DataError(
            f"the standard library in {root} has no source files: use an installation "
            "of Python that brings them, or the task wikitext2-transformer"
        )
    train, validation = map(_joined, parts)
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return ByteSet(train, validation, f"library of {name}")


def load_wikitext2_bytes(data_dir: Path | None = None) -> ByteSet:
    """WikiText-2 as it is written, in UTF-8: 10.8 and 1.1 MB.

    Args:
        data_dir: see :func:`arsg_optax.demos.text.load_wikitext2`, whose files these
            are; the test split is not read.

    Raises:
        DataError: if the text is neither in a directory nor on the Hub, or a file is
            damaged.
    """
    source = WIKITEXT2._replace(form="-bytes")
    arrays = load_arrays(source, data_dir, _decode_wikitext2)
    return ByteSet(arrays["train"], arrays["validation"], "WikiText-2")


def load_wikitext2_characters(data_dir: Path | None = None) -> TextSet:
    """The same bytes as a text whose words they are, in their order, from 0 to 255.

    Args:
        data_dir: see :func:`load_wikitext2_bytes`; it has no part for a test.
    """
    data = load_wikitext2_bytes(data_dir)
    train, validation = (part.astype(np.int32) for part in data[:2])
    names = tuple(f"{byte:02x}" for byte in range(VOCABULARY))
    return TextSet(train, validation, np.zeros(0, np.int32), names)


def sample_windows(
    key: jax.Array, text: jax.Array, batch_size: int, length: int
) -> tuple[jax.Array, jax.Array]:
    """Windows at uniform places of a text on the device; traceable.

    Args:
        key: of the draw.
        text: uint8 `[n]`, n > `length`.
        batch_size: number of windows.
        length: bytes of each.

    Returns:
        The bytes and the bytes after each, int32 `[batch size, length]`.
    """
    starts = jax.random.randint(key, (batch_size,), 0, text.size - length)

    def window(start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(text, (start,), (length + 1,))

    windows = jax.vmap(window)(starts).astype(jnp.int32)
    return windows[:, :-1], windows[:, 1:]


def _library(root: Path) -> Iterator[str]:
    """Names of the source files, with a slash between folders on every system."""
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if _is_of_library(name)]
        for file in filter(_is_of_library, files):
            if file.endswith(".py"):
                yield (Path(folder) / file).relative_to(root).as_posix()


def _is_of_library(name: str) -> bool:
    return name not in _LEFT_OUT and not name.startswith(_BUILD_PREFIXES)


def _joined(texts: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(texts), np.uint8)


def _decode_wikitext2(directory: Path) -> dict[str, np.ndarray]:
    found = {}
    for split in ("train", "validation"):
        lines = read_split(directory, split, ["text"])["text"].to_pylist()
        found[split] = _joined([line.encode() for line in lines])
    return found
