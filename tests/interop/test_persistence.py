"""A state that was saved and read again continues as if nothing had happened."""

import pickle

import jax
import jax.numpy as jnp
import pytest

from tests.interop.steps import advance, assert_identical, gradients, tree
from tests.interop.table import rows


def _halfway(row):
    optimizer = row.make()
    params, state = advance(row, optimizer, tree(0), gradients(4)[:2])
    return optimizer, params, state


def _assert_continues(row, restored):
    optimizer, params, state = _halfway(row)
    assert_identical(restored, (params, state))
    assert type(restored[1]) is type(state)
    expected = advance(row, optimizer, params, gradients(4)[2:], state)
    got = advance(row, optimizer, restored[0], gradients(4)[2:], restored[1])
    assert_identical(got, expected)


def _blank(row):
    params = jax.tree.map(jnp.zeros_like, tree(0))
    return params, row.make().init(params)


@rows("pickle")
def test_pickle(row):
    _, params, state = _halfway(row)
    _assert_continues(row, pickle.loads(pickle.dumps((params, state))))


@rows("orbax")
def test_orbax(row, tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    _, params, state = _halfway(row)
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "held", (params, state))
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "held", _blank(row))
    _assert_continues(row, restored)


@rows("flax_bytes")
def test_flax_bytes(row):
    serialization = pytest.importorskip("flax.serialization")
    _, params, state = _halfway(row)
    held = serialization.to_bytes((params, state))
    _assert_continues(row, serialization.from_bytes(_blank(row), held))
