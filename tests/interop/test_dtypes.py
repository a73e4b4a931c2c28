"""Dtypes in, dtypes out: nothing drifts, nothing compiles twice."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import arsg_optax
from tests.interop.steps import assert_finite, signature, tree
from tests.interop.table import rows


def _step(row, optimizer):
    def step(params, state, gradient):
        extra = row.extra_args(jnp.float32(1.0))
        updates, state = optimizer.update(gradient, state, params, **extra)
        point = arsg_optax.eval_params(state, params)
        return optax.apply_updates(params, updates), state, updates, point

    return step


def _check(row, params_dtype, gradient_dtype):
    """What jit keys its cache on stays, so that the next step compiles nothing."""
    params, optimizer = tree(0, params_dtype), row.make()
    state: Any = optimizer.init(params)
    assert not any(weak for *_, weak in signature(state))
    step, gradient = _step(row, optimizer), tree(1, gradient_dtype)
    after, state_after, *others = jax.eval_shape(step, params, state, gradient)
    assert signature(state_after) == signature(state)
    for result in (after, *others):
        assert signature(result) == signature(params)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@rows("dtypes")
def test_dtypes_are_stable(row, dtype):
    _check(row, jnp.dtype(dtype), jnp.dtype(dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@rows("dtypes")
def test_in_16_bits_values_stay_finite_and_one_program_is_enough(row, dtype):
    params, optimizer = tree(0, dtype), row.make()
    step, state = jax.jit(_step(row, optimizer)), optimizer.init(params)
    for seed in (1, 2, 3):
        params, state, _, point = step(params, state, tree(seed, dtype))
    assert step._cache_size() == 1
    assert_finite((params, state, point))


@rows("dtypes")
def test_float64_stays_float64(row, x64):
    _check(row, jnp.float64, jnp.float64)


@rows("dtypes")
def test_float32_stays_float32_under_x64(row, x64):
    _check(row, jnp.float32, jnp.float32)


@pytest.mark.parametrize(
    ("params", "gradient"),
    [("float32", "bfloat16"), ("bfloat16", "float32")],
)
@rows("mixed_dtypes")
def test_gradients_of_another_precision(row, params, gradient):
    _check(row, jnp.dtype(params), jnp.dtype(gradient))
