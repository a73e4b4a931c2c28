"""A state that was saved and read again continues as if nothing had happened."""

import functools
import pickle

import jax
import jax.numpy as jnp
import pytest

from tests.interop.steps import advance, assert_identical, gradients, tree
from tests.interop.table import TABLE, distinct, rows

ROWS = [row for row in TABLE if distinct(row)]


@functools.cache
def _halfway(name):
    """Parameters and state of a row by name after two steps, and after four."""
    row = next(row for row in TABLE if row.name == name)
    held = advance(row, row.make(), tree(0), gradients(4)[:2])
    return held, advance(row, row.make(), held[0], gradients(4)[2:], held[1])


def _assert_continues(row, restored):
    held, expected = _halfway(row.name)
    assert_identical(restored, held)
    assert type(restored[1]) is type(held[1])
    got = advance(row, row.make(), restored[0], gradients(4)[2:], restored[1])
    assert_identical(got, expected)


def _blank(row):
    params = jax.tree.map(jnp.zeros_like, tree(0))
    return params, row.make().init(params)


@rows("pickle")
def test_pickle(row):
    held, _ = _halfway(row.name)
    _assert_continues(row, pickle.loads(pickle.dumps(held)))


def test_orbax(tmp_path):
    """All rows in one checkpoint, as opening one takes longer than a row."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    held = {row.name: _halfway(row.name)[0] for row in ROWS}
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "held", held)
        checkpointer.wait_until_finished()
        blank = {row.name: _blank(row) for row in ROWS}
        restored = checkpointer.restore(tmp_path / "held", blank)
    for row in ROWS:
        _assert_continues(row, restored[row.name])


@rows("flax_bytes")
def test_flax_bytes(row):
    serialization = pytest.importorskip("flax.serialization")
    held = serialization.to_bytes(_halfway(row.name)[0])
    _assert_continues(row, serialization.from_bytes(_blank(row), held))
