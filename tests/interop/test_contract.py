"""What Optax asks of every optimizer: extra arguments, injection, schedules."""

import inspect

import jax
import jax.numpy as jnp
import optax
import pytest

from tests.interop.steps import (
    advance,
    assert_close,
    assert_identical,
    gradients,
    signature,
    tree,
)
from tests.interop.table import everyone, rows


def _inject(row, dtype=None, **changes):
    factory = optax.inject_hyperparams(
        row.factory, static_args=row.static, hyperparam_dtype=dtype
    )
    return factory(**{**row.hyperparameters(), **changes})


@rows("extra_args", among=everyone)
def test_unknown_keywords_are_ignored(row):
    optimizer, params = row.make(), tree(0)
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
    state, gradient = optimizer.init(params), gradients(1)[0]
    extra = row.extra_args(jnp.float32(1.0))
    plain = optimizer.update(gradient, state, params, **extra)
    other = optimizer.update(gradient, state, params, **extra, nobody_knows=1)
    assert_identical(plain, other)


@rows("annotation", among=everyone)
def test_learning_rate_has_the_annotation_that_optax_looks_for(row):
    annotation = inspect.signature(row.factory).parameters["learning_rate"].annotation
    assert annotation == optax.ScalarOrSchedule


@rows("inject", among=everyone)
def test_injected_hyperparameters_change_nothing(row):
    plain, twin, params = row.make(), _inject(row), tree(0)
    structure = jax.tree.structure(plain.init(params))
    assert (
        jax.tree.structure(advance(row, twin, params, [])[1].inner_state) == structure
    )
    expected, inner = advance(row, plain, params, gradients(3))
    got, state = advance(row, twin, params, gradients(3))
    # 1 - 0.999 in float32 is right to 6e-5.
    assert_close(got, expected, max(row.rounding, 1e-4))
    assert jax.tree.structure(state.inner_state) == jax.tree.structure(inner)
    assert signature(state.inner_state) == signature(inner)


@rows("inject", among=everyone)
def test_injected_hyperparameters_can_be_set_between_steps(row):
    twin, params = _inject(row), tree(0)
    _, state = advance(row, twin, params, [])
    state.hyperparams["learning_rate"] = jnp.float32(0.0)
    assert_identical(advance(row, twin, params, gradients(1), state)[0], params)


@rows("inject", among=everyone)
def test_injected_schedules(row):
    params = tree(0)
    falling = optax.exponential_decay(row.learning_rate, 2, 0.1)
    expected, _ = advance(row, row.make(learning_rate=falling), params, gradients(4))
    twin = _inject(row, learning_rate=falling)
    got, state = advance(row, twin, params, gradients(4))
    assert_close(got, expected, max(row.rounding, 1e-4))
    assert_close(state.hyperparams["learning_rate"], jnp.asarray(falling(3)))


@rows("inject", among=everyone)
def test_injection_into_16_bit_parameters(row):
    params, trees = tree(0, jnp.bfloat16), gradients(2, jnp.bfloat16)
    plain, _ = advance(row, row.make(), params, trees)
    twin = _inject(row, dtype=jnp.float32)
    before = signature(twin.init(params))
    got, state = advance(row, twin, params, trees)
    assert signature(state) == before
    assert_close(got, plain, 0.02)
    with pytest.raises(ValueError, match=r"hyperparam_dtype=jnp\.float32"):
        advance(row, _inject(row), params, trees)


@rows("schedules", among=everyone)
def test_a_constant_schedule_is_the_scalar(row):
    params, trees = tree(0), gradients(4)
    expected = advance(row, row.make(), params, trees)
    for name in row.scheduled:
        value = row.hyperparameters()[name]
        constant = row.make(**{name: optax.constant_schedule(value)})
        assert_identical(advance(row, constant, params, trees), expected)


@rows("schedules", among=everyone)
def test_a_schedule_counts_updates_from_zero(row):
    params, trees = tree(0), gradients(4)
    before = advance(row, row.make(), params, trees[:2])
    unchanged, _ = advance(row, row.make(), before[0], trees[2:], before[1])
    for name in row.scheduled:
        value = row.hyperparameters()[name]
        # Traced, and from update 2 on another value.
        turned = row.make(**{name: lambda t, v=value: jnp.where(t < 2, v, v / 2)})
        got, state = advance(row, turned, params, trees[:2])
        assert_close(got, before[0], max(row.rounding, 1e-4))
        changed, _ = advance(row, turned, got, trees[2:], state)
        moved = [jnp.max(jnp.abs(changed[k] - unchanged[k])) for k in changed]
        assert max(moved) > 1e-4 * row.learning_rate


@rows("decay", among=everyone)
def test_decay_needs_params(row):
    optimizer = row.make(**row.decay)
    state = optimizer.init(tree(0))
    with pytest.raises(ValueError, match="params"):
        optimizer.update(gradients(1)[0], state, **row.extra_args(jnp.float32(1.0)))


@rows("decay", among=everyone)
def test_decay_shrinks_parameters_without_gradient(row):
    params = tree(0)
    zeros = [jax.tree.map(jnp.zeros_like, params)]
    decayed, _ = advance(row, row.make(**row.decay), params, zeros)
    assert jnp.all(jnp.abs(decayed["w"]) < jnp.abs(params["w"]))


@rows("decay", among=everyone)
def test_decay_takes_a_schedule(row):
    params, trees = tree(0), gradients(2)
    expected, _ = advance(row, row.make(**row.decay), params, trees)
    schedules = {k: optax.constant_schedule(v) for k, v in row.decay.items()}
    got, _ = advance(row, row.make(**schedules), params, trees)
    assert_close(got, expected, row.rounding)
