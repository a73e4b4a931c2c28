"""Dtypes in, dtypes out: nothing drifts, nothing compiles twice."""

import jax
import jax.numpy as jnp
import optax
import pytest

import arsg_optax
from tests.interop.steps import assert_finite, signature, tree
from tests.interop.table import rows


def _trace_counting_step(row, optimizer, traces):
    @jax.jit
    def step(params, state, gradient):
        traces.append(1)
        extra = row.extra_args(jnp.float32(1.0))
        updates, state = optimizer.update(gradient, state, params, **extra)
        point = arsg_optax.eval_params(state, params)
        return optax.apply_updates(params, updates), state, updates, point

    return step


def _check(row, params_dtype, gradient_dtype):
    params = tree(0, params_dtype)
    optimizer, traces = row.make(), []
    step = _trace_counting_step(row, optimizer, traces)
    state = optimizer.init(params)
    held, moments = signature(params), signature(state)
    assert not any(weak for *_, weak in moments)
    for seed in (1, 2, 3):
        params, state, updates, point = step(params, state, tree(seed, gradient_dtype))
        assert signature(state) == moments
        for result in (params, updates, point):
            assert signature(result) == held
    assert len(traces) == 1
    assert_finite((params, state, point))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@rows("dtypes")
def test_dtypes_are_stable(row, dtype):
    _check(row, jnp.dtype(dtype), jnp.dtype(dtype))


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
