"""Training loops as people write them, with every optimizer; NNX is in test_nnx."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.table import rows

STEPS = 5
HIDDEN = 6


@functools.cache
def _data():
    """Points of a smooth function of four numbers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4))
    y = np.sin(x @ rng.normal(size=(4, 2)))
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


def _error(predicted):
    return jnp.mean((predicted - _data()[1]) ** 2)


def _assert_learns(before, held, at_iterate):
    assert held < before
    assert at_iterate < before * 1.01  # It lags at first, but must not run away.


def _functional_loop(row, loss, params):
    """Trains; the caller's loss is jitted once for all rows."""
    optimizer, gradient = row.make(), _compiled(loss)
    state, before = optimizer.init(params), loss(params)
    for _ in range(STEPS):
        value, slope = gradient(params)
        updates, state = optimizer.update(slope, state, params, **row.extra_args(value))
        params = optax.apply_updates(params, updates)
    point = arsg_optax.eval_params(state, params)
    assert jax.tree.structure(point) == jax.tree.structure(params)
    _assert_learns(before, loss(params), loss(point))


@functools.cache
def _compiled(loss):
    return jax.jit(jax.value_and_grad(loss))


def _plain_loss(params):
    hidden = jnp.tanh(_data()[0] @ params[0]["w"] + params[0]["b"][None])
    return _error(hidden @ params[1]["w"] + params[1]["b"][None])


@rows("loops")
def test_plain(row):
    rng = np.random.default_rng(1)
    params = [
        {
            "w": jnp.asarray(rng.normal(size=(fan_in, fan_out)), jnp.float32),
            "b": jnp.zeros(fan_out),
        }
        for fan_in, fan_out in ((4, HIDDEN), (HIDDEN, 2))
    ]
    _functional_loop(row, _plain_loss, params)


@functools.cache
def _haiku():
    haiku = pytest.importorskip("haiku")
    network = haiku.without_apply_rng(
        haiku.transform(lambda x: haiku.nets.MLP([HIDDEN, 2])(x))
    )

    def loss(params):
        return _error(network.apply(params, _data()[0]))

    return loss, network.init(jax.random.key(0), _data()[0])


@rows("loops")
def test_haiku(row):
    _functional_loop(row, *_haiku())


@functools.cache
def _equinox():
    equinox = pytest.importorskip("equinox")
    network = equinox.nn.MLP(4, 2, HIDDEN, 1, key=jax.random.key(0))
    params, static = equinox.partition(network, equinox.is_inexact_array)

    def loss(params):
        return _error(jax.vmap(equinox.combine(params, static))(_data()[0]))

    return loss, params


@rows("loops")
def test_equinox(row):
    # The parameters are a module, with None where a leaf is not trained.
    _functional_loop(row, *_equinox())


@functools.cache
def _linen():
    linen = pytest.importorskip("flax.linen")
    network = linen.Sequential([linen.Dense(HIDDEN), linen.tanh, linen.Dense(2)])

    def loss(params):
        return _error(network.apply({"params": params}, _data()[0]))

    return network.apply, loss, network.init(jax.random.key(0), _data()[0])["params"]


@rows("linen")
def test_linen_train_state(row):
    apply, loss, params = _linen()
    train_state = pytest.importorskip("flax.training.train_state")
    state = train_state.TrainState.create(apply_fn=apply, params=params, tx=row.make())
    before = loss(params)
    for _ in range(STEPS):
        state = state.apply_gradients(grads=_compiled(loss)(state.params)[1])
    point = arsg_optax.eval_params(state.opt_state, state.params)
    _assert_learns(before, loss(state.params), loss(point))
