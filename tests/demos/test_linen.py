"""The training state for Linen: the loss reaches the optimizer."""

import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training import train_state

import arsg_optax
from arsg_optax.flax import TrainState, iterate_variables
from tests.demos.twins import LinenNetwork, linen_state, random_batches

# Boosts after three windows of eight steps with a flat loss.
FIRST = 24
ARGUMENTS = {"b1": 0.99, "observation": 0.05, "window": 8}
SOLVERS = {
    "plain": optax.GradientTransformation(*optax.scale(-0.1)),
    "chain": optax.chain(optax.clip(1.0), optax.scale(-0.1)),
    "adam": optax.adam(0.1),
    "arsg": arsg_optax.arsg(0.1),
}


def make(solver, **fields):
    params = {"a": jnp.ones(3), "b": {"c": jnp.full((2, 2), 2.0)}}
    return TrainState.create(apply_fn=None, params=params, tx=solver, **fields)


def boosts(state, losses, apply):
    seen = []
    for loss in losses:
        state = apply(state, loss)
        seen.append(int(arsg_optax.metrics(state.opt_state)["boosts"]))
    return seen


@jax.jit
def _jitted(state, loss):
    return state.apply_gradients(grads=state.params, value=loss)


@pytest.mark.parametrize("apply", [_jitted, _jitted.__wrapped__], ids=["jit", "eager"])
def test_an_automatic_boost_sees_a_flat_loss(apply):
    state = make(arsg_optax.arsgb(0.1, **ARGUMENTS))
    seen = boosts(state, [jnp.float32(1)] * (FIRST + 2), apply)
    assert seen == [0] * (FIRST - 1) + [1] * 3


def test_and_a_falling_one():
    state = make(arsg_optax.arsgb(0.1, **ARGUMENTS))
    losses = [jnp.float32(np.exp(-0.05 * t)) for t in range(2 * FIRST)]
    assert boosts(state, losses, _jitted)[-1] == 0


def test_without_the_loss_it_is_asked_for():
    state = make(arsg_optax.arsgb(0.1, **ARGUMENTS))
    for nothing in ({}, {"value": None}):
        with pytest.raises(ValueError, match="value must be the loss"):
            state.apply_gradients(grads=state.params, **nothing)


def test_flax_s_own_has_no_way_to_pass_it():
    solver, params = arsg_optax.arsgb(0.1, **ARGUMENTS), {"a": jnp.ones(3)}
    state = train_state.TrainState.create(apply_fn=None, params=params, tx=solver)
    with pytest.raises(ValueError, match="value must be the loss"):
        state.apply_gradients(grads=params, value=jnp.float32(1))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("extra", [{}, {"value": None}, {"value": 1.0}])
def test_other_optimizers_do_as_under_flax_s_own(name, extra):
    state, solver = make(SOLVERS[name]), SOLVERS[name]
    own = train_state.TrainState.create(apply_fn=None, params=state.params, tx=solver)
    for _ in range(3):
        grads = jax.tree.map(jnp.cos, state.params)
        state = state.apply_gradients(grads=grads, **extra)
        own = own.apply_gradients(grads=grads)
    assert isinstance(state, TrainState) and int(state.step) == 3
    got, wanted = ((s.params, s.opt_state) for s in (state, own))
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for one, other in zip(*map(jax.tree.leaves, (got, wanted)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fields_that_are_replaced():
    before = {"norm": {"mean": jnp.zeros(2)}}
    state = make(optax.sgd(0.1), batch_stats=before)
    kept = state.apply_gradients(grads=state.params, value=jnp.float32(1))
    assert kept.batch_stats is before
    after = {"norm": {"mean": jnp.ones(2)}}
    moved = kept.apply_gradients(grads=state.params, batch_stats=after)
    assert moved.batch_stats is after and kept.batch_stats is before
    assert make(optax.sgd(0.1)).batch_stats is None
    with pytest.raises(TypeError, match="batch_statistics"):
        kept.apply_gradients(grads=state.params, batch_statistics=after)


def test_inside_scan():
    state = make(arsg_optax.arsgb(0.1, **ARGUMENTS), batch_stats={"mean": jnp.zeros(2)})
    state = state.replace(step=jnp.zeros((), jnp.int32))

    def step(state, loss):
        moved = jax.tree.map(lambda x: x + 1, state.batch_stats)
        state = state.apply_gradients(grads=state.params, value=loss, batch_stats=moved)
        return state, arsg_optax.metrics(state.opt_state)["boosts"]

    state, seen = jax.lax.scan(step, state, jnp.ones(FIRST + 6))
    assert [int(n) for n in seen] == [0] * (FIRST - 1) + [1] * 7
    assert int(state.step) == FIRST + 6
    statistics: Any = state.batch_stats
    np.testing.assert_array_equal(statistics["mean"], FIRST + 6.0)


def test_the_example_of_the_docstring():
    block = str(TrainState.__doc__).split("Use::\n\n")[1].split("\n\n    :func:")[0]
    model, images, start = LinenNetwork(), random_batches(1)[0], linen_state(steps=0)
    variables = {"params": start.params, "batch_stats": start.batch_stats}

    def cross_entropy(logits, labels):
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def run(variables, images):
        names = {
            "TrainState": TrainState,
            "arsgb": arsg_optax.arsgb,
            "cross_entropy": cross_entropy,
            "images": images,
            "jax": jax,
            "labels": jnp.arange(8) % 2,
            "model": model,
            "variables": variables,
        }
        exec(textwrap.dedent(block), names)
        return names["state"]

    state = jax.jit(run)(variables, images)
    assert int(state.step) == 1
    statistics: Any = start.batch_stats
    before = statistics["norms_0"]["mean"]
    assert not np.allclose(state.batch_stats["norms_0"]["mean"], before)
    at = iterate_variables(state, [images], at_least=1)
    assert set(at) == {"params", "batch_stats"}
