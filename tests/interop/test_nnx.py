"""Flax NNX: the optimizer state is wrapped in Variables, the parameters in State."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.steps import advance, assert_close, assert_finite
from tests.interop.table import TABLE, rows

nnx = pytest.importorskip("flax.nnx")

STEPS = 5
# A row whose optimizer is given the loss; the others ignore it.
WATCHING = next(row for row in TABLE if row.extra_args(1.0))


class Network(nnx.Module):
    def __init__(self, seed: int):
        rngs = nnx.Rngs(seed)
        self.inner = nnx.Linear(4, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.outer = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x):
        return self.outer(jnp.tanh(self.norm(self.inner(x))))


def _error(model):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4))
    y = np.sin(x @ rng.normal(size=(4, 2)))
    predicted = model(jnp.asarray(x, jnp.float32))
    return jnp.mean((predicted - jnp.asarray(y, jnp.float32)) ** 2)


def _of_a_kind(row):
    """One state of each kind; the states of all rows are met below."""
    return row.name in ("arsg", "arsg-exact", "arsgb", "adarem_s", "boxed-arsg")


@rows("nnx", among=_of_a_kind)
def test_training_loop(row):
    model = Network(0)
    optimizer = nnx.Optimizer(model, row.make(), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        value, gradient = nnx.value_and_grad(_error)(model)
        optimizer.update(model, gradient, **row.extra_args(value))

    before = _error(model)
    for _ in range(STEPS):
        step(model, optimizer)
    held = nnx.state(model, nnx.Param)
    point = arsg_optax.eval_params(optimizer.opt_state, held)
    assert jax.tree.structure(point) == jax.tree.structure(held)
    after = _error(model)
    nnx.update(model, point)
    assert after < before
    assert _error(model) < before * 1.01  # The iterate lags at first.


def _between(link):
    """A chain with a link between the observation and its learning rate."""
    return arsg_optax.remote_chain(link, learning_rate=0.1, b1=0.9, observation=0.5)


OPTIMIZERS = {
    **{row.name: row.make for row in TABLE},
    "injected": lambda: optax.inject_hyperparams(arsg_optax.arsg)(0.1, 0.9),
    "masked": lambda: optax.masked(
        arsg_optax.arsg(0.1), lambda params: jax.tree.map(lambda _: True, params)
    ),
    "injected link": lambda: _between(
        optax.inject_hyperparams(arsg_optax.scale_by_nonincreasing_rms)(b2=0.9)
    ),
    "two preconditioners": lambda: _between(
        optax.chain(
            arsg_optax.scale_by_nonincreasing_rms(), arsg_optax.scale_by_resilience()
        )
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_iterate_is_that_of_plain_arrays(name):
    version = tuple(int(part) for part in flax.__version__.split(".")[:2])
    if name == "orsg" and version < (0, 12):
        pytest.skip("Flax before 0.12 holds no masked leaves in an optimizer")
    optimizer, model = OPTIMIZERS[name](), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    wrapped = nnx.Optimizer(model, optimizer, wrt=nnx.Param)
    fresh = arsg_optax.eval_params(wrapped.opt_state, nnx.state(model, nnx.Param))
    params = [jnp.asarray(leaf) for leaf in jax.tree.leaves(fresh)]
    slopes = [jnp.sin(1 + leaf) for leaf in params]
    structure = jax.tree.structure(nnx.state(model, nnx.Param))
    for _ in range(2):
        wrapped.update(
            model, jax.tree.unflatten(structure, slopes), value=jnp.float32(1.0)
        )
    got = arsg_optax.eval_params(wrapped.opt_state, nnx.state(model, nnx.Param))
    params, state = advance(WATCHING, optimizer, params, [slopes, slopes])
    expected = arsg_optax.eval_params(state, params)
    # Random rounding to bfloat16 depends on the leaves' paths, which differ.
    rounding = max(row.rounding for row in TABLE if row.name in (name, "rsg"))
    assert_close(jax.tree.leaves(got), jax.tree.leaves(expected), rounding)


@rows("metrics")
def test_metrics_before_and_after_an_update(row):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, row.make(), wrt=nnx.Param)
    assert_finite(arsg_optax.metrics(optimizer.opt_state))
    slopes = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
    optimizer.update(model, slopes, **row.extra_args(jnp.float32(1.0)))
    found = arsg_optax.metrics(optimizer.opt_state)
    np.testing.assert_allclose(
        float(found["learning_rate"]), row.learning_rate, rtol=1e-6
    )
