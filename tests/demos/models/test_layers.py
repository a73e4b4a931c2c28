"""Batch normalization in bfloat16, and maximum pooling, against Flax's and NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arsg_optax.demos.models.layers import BatchNorm, max_pool
from tests.demos.models import checks


def normal(shape, seed=0, mean=0.0, dtype=jnp.float32):
    random = np.random.default_rng(seed)
    return jnp.asarray(mean + random.normal(size=shape), dtype)


@pytest.mark.parametrize("dtype", [None, jnp.float32])
@pytest.mark.parametrize("stored", [jnp.bfloat16, jnp.float32])
def test_output_follows_its_dtype_and_statistics_are_float32(dtype, stored):
    def outputs(x):
        norm = BatchNorm(5, dtype=dtype, param_dtype=stored, rngs=checks.rngs())
        trained = norm(x)
        return trained, norm(x, use_running_average=True), norm.mean[...], norm.var[...]

    x = jax.ShapeDtypeStruct((24, 5), jnp.bfloat16)
    found = [array.dtype for array in jax.eval_shape(outputs, x)]
    assert found == [dtype or jnp.bfloat16] * 2 + [jnp.float32] * 2


def test_bfloat16_is_rounded_only_at_both_ends():
    x = normal((512, 5), mean=10.33, dtype=jnp.bfloat16)
    wide = np.float64(x)
    exact = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
    errors = {}
    for kind in (BatchNorm, nnx.BatchNorm):
        norm = kind(5, momentum=0.0, dtype=jnp.bfloat16, rngs=checks.rngs())
        for mode in ("training", "evaluation"):
            norm.eval() if mode == "evaluation" else norm.train()
            errors[kind, mode] = np.abs(np.float64(norm(x)) - exact).mean(0)
        np.testing.assert_allclose(norm.mean[...], wide.mean(0), rtol=1e-6)
    for mode in ("training", "evaluation"):
        assert np.all(errors[BatchNorm, mode] < 2**-9)
    assert np.max(errors[nnx.BatchNorm, "evaluation"]) > 4 * 2**-9


def test_statistics_follow_over_many_updates():
    """In bfloat16 one of momentum 0.99 would stand still at 1/256 of a step."""
    norm = BatchNorm(5, dtype=jnp.bfloat16, rngs=checks.rngs())
    step = nnx.jit(lambda norm, x: norm(x))
    for seed in range(300):
        step(norm, normal((24, 5), seed, mean=9.3, dtype=jnp.bfloat16))
    np.testing.assert_allclose(norm.mean[...], 9.3 * (1 - 0.99**300), rtol=0.01)


@pytest.mark.parametrize(
    "shape, window", [((2, 8, 6, 3), (2, 2)), ((1, 7, 8, 2), (3, 2))]
)
def test_tiles_are_flax_s_max_pool(shape, window):
    # A permutation: no two are equal.
    x = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape)
    x = jnp.asarray(x, jnp.float32)

    def both(pool):
        def loss(x):
            y = pool(x)
            return jnp.sum(jnp.sin(y)), y

        gradient, y = jax.grad(loss, has_aux=True)(x)
        return y, gradient

    flax_s = partial(nnx.max_pool, window_shape=window, strides=window, padding="VALID")
    tiles = partial(max_pool, window=window, strides=window, padding="VALID")
    for got, wanted in zip(both(tiles), both(flax_s), strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_array_equal(got, wanted)


def test_equal_maxima_share_the_gradient():
    x = jnp.asarray([[1.0, 3.0], [3.0, 2.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: max_pool(x, (2, 2), (2, 2), "VALID").sum())(x)
    np.testing.assert_array_equal(gradient.ravel(), [0, 0.5, 0.5, 0])


@pytest.mark.parametrize(
    "window, strides, padding",
    [
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((2, 2), (2, 2), "SAME"),
        ((2, 2), (1, 1), "VALID"),
    ],
)
def test_other_windows_are_flax_s(window, strides, padding):
    x = normal((2, 7, 6, 3))
    got = max_pool(x, window, strides, padding)
    wanted = nnx.max_pool(x, window, strides=strides, padding=padding)
    np.testing.assert_array_equal(got, wanted)
