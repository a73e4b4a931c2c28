"""Parquet files as the Hub has them, and ways to spoil one."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from PIL import Image

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_images(
    file: Path,
    images: Iterable[np.ndarray | bytes],
    labels: Iterable[int],
    column: str = "image",
) -> None:
    """A column of compressed images, given as pixels or as a file's bytes."""
    cells = [{"bytes": _compressed(image), "path": None} for image in images]
    columns = {column: pa.array(cells, _IMAGE), "label": pa.array(labels, pa.int64())}
    parquet.write_table(pa.table(columns), file)


def write_lines(file: Path, lines: list[str], column: str = "text") -> None:
    """A column of text."""
    parquet.write_table(pa.table({column: pa.array(lines, pa.string())}), file)


def write_image_set(folder: Path, shape: tuple[int, ...], column: str) -> dict:
    """Six training and four test images, the labels their places; gives the pixels."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    pixels = {}
    for split, count in (("train", 6), ("test", 4)):
        pixels[split] = random.integers(256, size=(count, *shape), dtype=np.uint8)
        file = folder / f"{split}-00000-of-00001.parquet"
        write_images(file, pixels[split], range(count), column)
    return pixels


def truncate(file: Path) -> None:
    """As if a copy had been broken off."""
    file.write_bytes(file.read_bytes()[:-20])


def _compressed(image: np.ndarray | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()
