"""The iterate of every optimizer, at any depth, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.nestings import BARE, NESTINGS, Nesting
from tests.interop.steps import advance, assert_close, gradients, iterate, tree
from tests.interop.table import everyone, rows
from tests.reference.rsg import two_point


def _expected(row, nesting: Nesting, params, trees):
    """The parameters moved by the row's offset of the gradients it saw."""
    moved = {name: np.asarray(param, np.float64) for name, param in params.items()}
    for name, rate in nesting.rates.items():
        seen = [np.asarray(each[name]) for each in nesting.seen(trees)]
        point = moved[name] + row.offset(seen, rate * row.learning_rate)
        moved[name] = row.onto(point, moved[name])
    return moved


def _offsets(point, params):
    return jax.tree.map(
        lambda x, y: np.asarray(x, np.float64) - np.asarray(y, np.float64),
        point,
        params,
    )


def _assert_iterate(row, nesting, point, params, trees):
    """Compares x - y, so that no error hides behind a large y."""
    expected = _offsets(_expected(row, nesting, params, trees), params)
    got = _offsets(point, params)
    largest = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(params))
    for name in params:
        # Rounding of float32 parameters, of injected hyper-parameters, of moments.
        limit = 3e-7 * largest + max(row.rounding, 2e-4) * np.max(
            np.abs(expected[name])
        )
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=limit)


@rows("eval_params", among=everyone)
def test_iterate(row):
    _check_iterate(row, BARE)


@pytest.mark.parametrize("nesting", NESTINGS, ids=lambda nesting: nesting.name)
@rows("eval_params")
def test_iterate_at_any_depth(row, nesting):
    _check_iterate(row, nesting)


def _check_iterate(row, nesting):
    trees = gradients(4)
    params, state = advance(
        row, nesting.wrap(row), tree(0), trees, compiled=nesting.branches
    )
    point = arsg_optax.eval_params(state, params)
    assert jax.tree.structure(point) == jax.tree.structure(params)
    _assert_iterate(row, nesting, point, params, trees)


@rows("eval_params")
def test_fresh_state_has_the_iterate_at_the_parameters(row):
    params = tree(0)
    point = arsg_optax.eval_params(row.make().init(params), params)
    assert_close(point, params, 0.0)


@rows("eval_params")
def test_iterate_under_jit_and_vmap(row):
    starts = [tree(seed) for seed in (0, 1)]
    runs = [advance(row, row.make(), start, gradients(3)) for start in starts]
    expected = [arsg_optax.eval_params(state, params) for params, state in runs]
    params, state = runs[0]
    assert_close(jax.jit(arsg_optax.eval_params)(state, params), expected[0], 1e-6)
    params, state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)
    batched = jax.vmap(arsg_optax.eval_params)(state, params)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
    assert_close(batched, stacked, 1e-6)


@rows("lookahead")
def test_iterate_of_lookahead_fast_parameters(row, relaxed_promotion):
    # Lookahead multiplies float updates by a boolean flag.
    trees = gradients(3)
    params = optax.LookaheadParams.init_synced(tree(0))
    optimizer = optax.lookahead(row.make(), sync_period=5, slow_step_size=0.5)
    params, state = advance(row, optimizer, params, trees)
    point = arsg_optax.eval_params(state, params.fast)
    _assert_iterate(row, BARE, point, params.fast, trees)


@rows("eval_params")
def test_iterate_leaves_other_dtypes_and_none_alone(row):
    params = {**tree(0, jnp.bfloat16), "none": None}
    trees = [{**each, "none": None} for each in gradients(2, jnp.bfloat16)]
    params, state = advance(row, row.make(), params, trees)
    point = iterate(state, params)
    assert point["none"] is None
    assert {leaf.dtype for leaf in jax.tree.leaves(point)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("seed", [0, 1])
def test_iterate_is_that_of_the_two_point_form(seed, x64):
    rng = np.random.default_rng(seed)
    start, curvature = rng.normal(size=6), rng.uniform(0.1, 1.0, size=6)
    noise = rng.normal(size=(50, 6))
    alpha, beta, eta = 0.3, 0.95, 4.0

    def gradient(t, y):
        return curvature * y + noise[t]

    expected = two_point(
        gradient, start, lambda t: alpha, lambda t: beta, lambda t: eta, 50
    )
    factor = arsg_optax.hyperparams.observation_from_distance(eta, beta)
    optimizer = arsg_optax.rsg(alpha, beta, float(factor))
    params, state = jnp.asarray(start), optimizer.init(jnp.asarray(start))
    for t, (observed, x) in enumerate(expected):
        updates, state = optimizer.update(jnp.asarray(gradient(t, params)), state)
        params = optax.apply_updates(params, updates)
        point = iterate(state, params)
        np.testing.assert_allclose(np.asarray(params), observed, rtol=0, atol=1e-12)
        np.testing.assert_allclose(point, x, rtol=0, atol=1e-12)
