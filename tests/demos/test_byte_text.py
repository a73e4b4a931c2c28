"""Texts as bytes: what is read, how it is split, and windows of it."""

import sysconfig
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.demos.byte_text import (
    load_python_bytes,
    load_wikitext2_bytes,
    sample_windows,
)
from arsg_optax.demos.errors import DataError
from arsg_optax.demos.text import load_wikitext2
from arsg_optax.demos.training.sources import evaluation_windows
from tests.demos.parquets import write_lines

FILES = ("a1.py", "gzip.py", "email/utils.py", "xml/dom.py", "zip/a/b.py", "zip/c.py")
LEFT_OUT = (
    "test/a.py",
    "unittest/test/a.py",
    "lib2to3/tests/a.py",
    "site-packages/flax/a.py",
    "encodings/cp1.py",
    "config-3.11-x86/a.py",
    "_sysconfigdata_x86.py",
    "notes.txt",
)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library with many files, each of which holds its own name."""
    for name in (*FILES, *LEFT_OUT, *(f"many/{n}.py" for n in range(40))):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{name}\n")
    monkeypatch.setattr(sysconfig, "get_path", {"stdlib": str(tmp_path)}.__getitem__)
    return tmp_path


def names(part: np.ndarray) -> list[str]:
    return part.tobytes().decode().split()


def test_library_is_split_by_the_files_names(library: Path):
    text = load_python_bytes()
    train, validation = names(text.train), names(text.validation)
    many = {f"many/{n}.py" for n in range(40)}
    assert set(train) | set(validation) == {*FILES, *many}
    assert not set(train) & set(validation)
    assert 1 <= len(validation) < 15
    assert (train, validation) == (sorted(train), sorted(validation))
    # Another file changes the place of no other.
    (library / "many" / "a.py").write_text("a.py\n")
    again = load_python_bytes()
    for part, before in ((again.train, train), (again.validation, validation)):
        assert [name for name in names(part) if name != "a.py"] == before
    assert again.facts()["text_sha256"] != text.facts()["text_sha256"]


def test_library_without_source(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", {"stdlib": str(tmp_path)}.__getitem__)
    with pytest.raises(DataError, match=r"has no source files.*wikitext2-transformer"):
        load_python_bytes()


def test_this_pythons_library():
    text, again = load_python_bytes(), load_python_bytes()
    assert text.facts() == again.facts()
    assert text.train.dtype == np.uint8 and text.train.size > 5_000_000
    assert 0.01 < text.validation.size / text.train.size < 0.15
    for part in text[:2]:
        source = part.tobytes()
        assert b"import " in source and b"\0" not in source


@pytest.mark.usefixtures("own_cache")
def test_wikitext2_is_kept_as_it_is_written(tmp_path: Path):
    lines = {"train": [" \n", " = Senjō = \n"], "validation": [" a\n"], "test": ["b\n"]}
    (tmp_path / "wikitext-2").mkdir()
    for split, some in lines.items():
        file = tmp_path / "wikitext-2" / f"{split}-00000-of-00001.parquet"
        write_lines(file, some)
    # The same files as words have a cache of their own.
    for _ in range(2):
        assert load_wikitext2(tmp_path).train.size == 5
        text = load_wikitext2_bytes(tmp_path)
        assert text.train.tobytes().decode() == " \n = Senjō = \n"
        assert text.validation.tobytes() == b" a\n"


def test_windows_are_of_the_text_and_uniform():
    text = jnp.asarray(np.random.default_rng(0).permutation(20).astype(np.uint8))
    sample = jax.jit(partial(sample_windows, batch_size=400, length=15))
    windows, following = sample(jax.random.key(0), text)
    assert windows.shape == following.shape == (400, 15)
    assert windows.dtype == following.dtype == jnp.int32
    place = np.argsort(np.asarray(text))
    starts = place[np.asarray(windows[:, 0])]
    np.testing.assert_array_equal(place[windows], starts[:, None] + np.arange(15))
    np.testing.assert_array_equal(place[following], starts[:, None] + np.arange(1, 16))
    # Of five places, each is drawn 80 times, give or take four deviations of 8.
    assert np.abs(np.bincount(starts, minlength=5) - 80).max() < 32
    other, _ = sample(jax.random.key(1), text)
    assert not np.array_equal(windows, other)


def test_evaluation_windows_are_spread_over_the_text():
    text = np.arange(250, dtype=np.uint8)
    held = evaluation_windows(text, 3, 10, limit=70)
    batches = list(held.batches)
    assert len(batches) == 2
    inputs, labels, weights = map(np.concatenate, zip(*batches, strict=True))
    np.testing.assert_array_equal(labels, inputs + 1)
    assert inputs.shape == weights.shape == (6, 10) and weights.all()
    np.testing.assert_array_equal(np.sort(inputs[:, 0]), 41 * np.arange(6))
    # More than there is: every window once.
    assert len(list(evaluation_windows(text, 3, 10, limit=9_999).batches)) == 7
    with pytest.raises(ValueError, match="text must hold 30 windows of 11 bytes, got"):
        evaluation_windows(text, 30, 10, limit=70)
