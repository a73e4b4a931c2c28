"""Optax's wrappers around every optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.steps import (
    advance,
    assert_close,
    assert_finite,
    assert_identical,
    gradients,
    tree,
    update_once,
)
from tests.interop.table import rows

# Why relaxed_promotion here: MultiSteps and lookahead multiply updates by a flag.


@rows("MultiSteps")
def test_multi_steps_is_a_step_of_the_mean_gradient(row, relaxed_promotion):
    start, trees = tree(0), gradients(4)
    wrapper = optax.MultiSteps(row.make(), 2)
    optimizer = wrapper.gradient_transformation()
    params, state = advance(row, optimizer, start, [], compiled=True)
    update, points = jax.jit(optimizer.update), []
    for gradient in trees:
        updates, state = update(
            gradient, state, params, **row.extra_args(jnp.float32(1.0))
        )
        if not wrapper.has_updated(state):
            assert_identical(updates, jax.tree.map(jnp.zeros_like, start))
        params = optax.apply_updates(params, updates)
        points.append((params, arsg_optax.eval_params(state, params)))
    means = [
        jax.tree.map(lambda a, b: (a + b) / 2, *trees[index : index + 2])
        for index in (0, 2)
    ]
    once, plain = advance(row, row.make(), start, means[:1])
    twice, later = advance(row, row.make(), once, means[1:], plain)
    expected = [
        (once, arsg_optax.eval_params(plain, once)),
        (twice, arsg_optax.eval_params(later, twice)),
    ]
    # Between two updates parameters and iterate stay where they are.
    assert_close(points, [(start, start), expected[0], *expected], row.rounding)


@rows("masked")
def test_masked_leaves_pass_through(row):
    params, trees = tree(0), gradients(3)
    masked = optax.masked(row.make(), {"b": False, "w": True})
    _, state = advance(row, masked, params, trees[:2])
    updates, _ = update_once(row, masked, trees[2], state, params)
    np.testing.assert_array_equal(updates["b"], trees[2]["b"])
    alone = [{"w": each["w"]} for each in trees]
    expected, _ = advance(row, row.make(), {"w": params["w"]}, alone)
    got, _ = advance(row, masked, params, trees)
    assert_close(got["w"], expected["w"], row.rounding)


@rows("partition")
def test_partition_with_frozen_leaves_and_two_step_sizes(row):
    params, trees = {**tree(0), "f": jnp.ones(2)}, gradients(3)
    trees = [{**each, "f": jnp.ones(2)} for each in trees]
    optimizer = optax.partition(
        {
            "one": row.make(),
            "two": row.make(learning_rate=3 * row.learning_rate),
            "frozen": optax.set_to_zero(),
        },
        {"b": "two", "f": "frozen", "w": "one"},
    )
    got, _ = advance(row, optimizer, params, trees)
    np.testing.assert_array_equal(got["f"], params["f"])
    for name, factor in {"w": 1, "b": 3}.items():
        own = row.make(learning_rate=factor * row.learning_rate)
        alone = [{name: each[name]} for each in trees]
        expected, _ = advance(row, own, {name: params[name]}, alone)
        assert_close(got[name], expected[name], row.rounding)


@rows("none")
def test_none_leaves_are_carried(row):
    params, trees = tree(0), gradients(3)
    with_none = [{**each, "none": None} for each in trees]
    got, _ = advance(row, row.make(), {**params, "none": None}, with_none)
    expected, _ = advance(row, row.make(), params, trees)
    assert got.pop("none") is None
    assert_close(got, expected, row.rounding)


@rows("apply_if_finite")
def test_a_nan_gradient_leaves_everything_and_training_goes_on(row):
    trees = gradients(3)
    broken = jax.tree.map(lambda g: g.at[0].set(jnp.nan), trees[0])
    optimizer = optax.apply_if_finite(row.make(), 3)
    update = jax.jit(optimizer.update)
    params, state = advance(row, optimizer, tree(0), [])
    extra = row.extra_args(jnp.float32(1.0))
    for gradient in (trees[0], broken, trees[1]):
        before = params, state.inner_state
        updates, state = update(gradient, state, params, **extra)
        params = optax.apply_updates(params, updates)
        if gradient is broken:
            assert_identical((params, state.inner_state), before)
    expected, inner = advance(row, row.make(), tree(0), trees[:2])
    assert_close(params, expected, row.rounding)
    point = arsg_optax.eval_params(inner, expected)
    assert_close(arsg_optax.eval_params(state, params), point, row.rounding)


@rows("conditionally_transform")
def test_conditional_transform_rests_in_between(row):
    params, trees = tree(0), gradients(3)
    optimizer = optax.transforms.conditionally_transform(
        row.make(), lambda step, **_: jnp.asarray(step) != 1
    )
    update, state = jax.jit(optimizer.update), optimizer.init(params)
    extra = row.extra_args(jnp.float32(1.0))
    for step, gradient in enumerate(trees):
        updates, state = update(gradient, state, params, **extra)
        if step == 1:
            assert_identical(updates, gradient)
        else:
            params = optax.apply_updates(params, updates)
    expected, inner = advance(row, row.make(), tree(0), [trees[0], trees[2]])
    assert_close(params, expected, row.rounding)
    point = arsg_optax.eval_params(inner, expected)
    assert_close(arsg_optax.eval_params(state, params), point, row.rounding)


@rows("lookahead")
def test_lookahead_pulls_the_fast_parameters_back(row, relaxed_promotion):
    start, trees = tree(0), gradients(2)
    optimizer = optax.lookahead(row.make(), sync_period=2, slow_step_size=0.5)
    params = optax.LookaheadParams.init_synced(start)
    params, _ = advance(row, optimizer, params, trees)
    fast, _ = advance(row, row.make(), start, trees)
    half_way = jax.tree.map(lambda slow, quick: (slow + quick) / 2, start, fast)
    assert_close(params.slow, half_way, max(row.rounding, 1e-5))
    assert_close(params.fast, params.slow, 1e-6)


@rows("edges")
@pytest.mark.parametrize(
    "params",
    [
        {"w": jnp.zeros((2, 3))},
        {},
        {"empty": jnp.zeros((0, 3)), "w": jnp.ones(2)},
        {"empty": jnp.zeros((0,))},
        jnp.float32(2.0),
        jnp.zeros(()),
    ],
    ids=["zeros", "no leaf", "empty array", "only empty", "scalar", "zero scalar"],
)
def test_no_nan_where_everything_is_zero(row, params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    after, state = advance(row, row.make(), params, [zeros, zeros])
    assert_finite((after, state, arsg_optax.eval_params(state, after)))
    ones = jax.tree.map(jnp.ones_like, params)
    after, state = advance(row, row.make(), after, [ones, zeros], state)
    assert_finite((after, state, arsg_optax.eval_params(state, after)))
