"""Batch normalization against Flax's and NumPy, and the pooling of tiles."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arsg_optax.demos.models.layers import BatchNorm, max_pool
from tests.demos.models import checks

NAMES = ("mean", "var", "scale", "bias")
SHAPES = pytest.mark.parametrize("shape", [(24, 5), (4, 3, 6, 5)])


def normal(shape, seed=0, mean=0.0, deviation=1.0, dtype=jnp.float32):
    random = np.random.default_rng(seed)
    return jnp.asarray(mean + deviation * random.normal(size=shape), dtype)


def layer(kind=BatchNorm, width=5, **options):
    """With a scale, a bias and statistics that no initializer gives."""
    made = kind(width, rngs=checks.rngs(), **options)
    for seed, name in enumerate(NAMES):
        variable = getattr(made, name)
        drawn = normal((width,), seed, mean=2.0, deviation=0.3)
        variable[...] = drawn.astype(variable[...].dtype)
    return made


def differentiated(made, x, weights):
    """Output, statistics afterwards, gradients: x's, scale's and bias's."""

    def loss(x, scale, bias):
        copy = nnx.clone(made)
        copy.scale[...], copy.bias[...] = scale, bias
        y = copy(x)
        wide = y.astype(jnp.float32)
        return jnp.sum(weights * wide), (y, copy.mean[...], copy.var[...])

    step = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    gradients, values = step(x, made.scale[...], made.bias[...])
    return *values, *gradients


def expected(made, x, weights):
    """The same in training, in float64."""
    x, weights = np.float64(x), np.float64(weights)
    start = {name: np.float64(getattr(made, name)[...]) for name in NAMES}
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    inverse = 1 / np.sqrt(variance + made.epsilon)
    normalized = (x - mean) * inverse
    remembered = [
        made.momentum * start[name] + (1 - made.momentum) * new
        for name, new in (("mean", mean), ("var", variance))
    ]
    along = (weights * normalized).mean(axes)
    slope = weights - weights.mean(axes) - normalized * along
    return (
        start["scale"] * normalized + start["bias"],
        *remembered,
        start["scale"] * inverse * slope,
        (weights * normalized).sum(axes),
        weights.sum(axes),
    )


def assert_close(got, wanted, tolerance):
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        limit = tolerance * np.max(np.abs(other))
        np.testing.assert_allclose(np.float64(one), other, rtol=0, atol=limit)


@SHAPES
@pytest.mark.parametrize("train", [True, False])
def test_is_flax_s_in_float32(shape, train):
    x, weights = normal(shape, mean=0.5), normal(shape, seed=1)
    options = {"momentum": 0.8, "epsilon": 1e-3}
    results = []
    for kind in (BatchNorm, nnx.BatchNorm):
        made = layer(kind, **options)
        made.train() if train else made.eval()
        results.append(differentiated(made, x, weights))
    assert {array.dtype for array in results[0]} == {jnp.dtype(jnp.float32)}
    assert_close(results[0], [np.float64(array) for array in results[1]], 1e-6)


@SHAPES
def test_follows_numpy(shape):
    made, x = layer(momentum=0.9), normal(shape, mean=0.5)
    weights = normal(shape, seed=1)
    got = differentiated(made, x, weights)
    assert_close(got, expected(made, x, weights), 1e-6)


def test_the_argument_outweighs_the_mode():
    x = normal((24, 5))
    made, other = layer(), layer()
    other.eval()
    np.testing.assert_array_equal(made(x, use_running_average=True), other(x))
    np.testing.assert_array_equal(made.mean[...], other.mean[...])
    np.testing.assert_array_equal(made(x), other(x, use_running_average=False))
    np.testing.assert_array_equal(made.mean[...], other.mean[...])


def test_second_derivatives():
    """The written gradient can be differentiated as the derived one."""
    x, weights = normal((12, 5)), normal((12, 5), seed=1)

    def bend(made, x):
        def loss(x):
            return jnp.sum(weights * nnx.clone(made)(x) ** 2)

        return jnp.sum(jnp.sin(jax.grad(loss)(x)))

    got, wanted = (
        jax.jit(jax.grad(partial(bend, layer(kind))))(x)
        for kind in (BatchNorm, nnx.BatchNorm)
    )
    assert_close([got], [np.float64(wanted)], 1e-5)


def test_under_vmap():
    x = normal((3, 12, 5))
    graph, variables = nnx.split(layer())

    def outputs(x):
        made = nnx.merge(graph, variables, copy=True)
        return made(x), made.var[...]

    got = jax.vmap(outputs)(x)
    for index, one in enumerate(x):
        assert_close([array[index] for array in got], outputs(one), 1e-6)


class TestBfloat16:
    """float32 inside: nothing is rounded but what goes in and what comes out."""

    def test_in_training(self):
        made, shape = layer(dtype=jnp.bfloat16), (4, 3, 6, 5)
        x = normal(shape, mean=0.5, dtype=jnp.bfloat16)
        weights = normal(shape, seed=1, dtype=jnp.bfloat16).astype(jnp.float32)
        got = differentiated(made, x, weights)
        dtypes = [array.dtype for array in got]
        assert (
            dtypes
            == [jnp.bfloat16, *[jnp.float32] * 2, jnp.bfloat16] + [jnp.float32] * 2
        )
        wanted = expected(made, x, weights)
        # Output and gradient to half a unit in the last place, 2^-9 of a power of two.
        for index, tolerance in enumerate((2**-8, 1e-6, 1e-6, 2**-8, 1e-6, 1e-6)):
            assert_close(got[index : index + 1], wanted[index : index + 1], tolerance)

    def test_parameters_in_bfloat16(self):
        made: Any = layer(param_dtype=jnp.bfloat16)
        assert made.scale[...].dtype == made.bias[...].dtype == jnp.bfloat16
        assert made.mean[...].dtype == made.var[...].dtype == jnp.float32
        x, weights = normal((24, 5)), normal((24, 5), seed=1)
        got, wanted = differentiated(made, x, weights), expected(made, x, weights)
        assert [array.dtype for array in got[4:]] == [jnp.bfloat16] * 2
        assert_close(got[:4], wanted[:4], 1e-6)
        assert_close(got[4:], wanted[4:], 2**-8)

    @pytest.mark.parametrize("dtype", [None, jnp.bfloat16, jnp.float32])
    def test_dtype_of_the_output(self, dtype):
        x = normal((24, 5), dtype=jnp.bfloat16)
        made = layer(dtype=dtype)
        for train in (True, False):
            made.train() if train else made.eval()
            assert made(x).dtype == (dtype or jnp.bfloat16)

    def test_statistics_follow_float32_over_many_updates(self):
        """In bfloat16 one of momentum 0.99 would stand still at 1/256 of a step."""
        narrow, wide = layer(dtype=jnp.bfloat16), layer()
        step = nnx.jit(lambda made, x: made(x))
        for seed in range(300):
            x = normal((24, 5), seed, mean=9.3, dtype=jnp.bfloat16)
            step(narrow, x)
            step(wide, x.astype(jnp.float32))
        assert narrow.mean[...].dtype == narrow.var[...].dtype == jnp.float32
        np.testing.assert_allclose(narrow.mean[...], wide.mean[...], rtol=1e-6)
        np.testing.assert_allclose(narrow.var[...], wide.var[...], rtol=1e-6)
        # 0.99^300 is 0.05 of the way from 2.
        np.testing.assert_allclose(narrow.mean[...], 9.3 - 0.05 * 7.3, rtol=0.02)

    def test_evaluation_does_not_round_the_statistics(self):
        x = normal((512, 5), mean=10.33, dtype=jnp.bfloat16)
        errors = {}
        for kind in (BatchNorm, nnx.BatchNorm):
            made = kind(5, momentum=0.0, dtype=jnp.bfloat16, rngs=checks.rngs())
            made(x)
            made.eval()
            wide = np.float64(x)
            exact = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + made.epsilon)
            errors[kind] = np.abs(np.float64(made(x)) - exact).mean(0)
        assert np.all(errors[BatchNorm] < 2**-9)
        assert np.max(errors[nnx.BatchNorm]) > 4 * 2**-9


@pytest.mark.parametrize("mean", [10.0, 300.0])
def test_a_large_mean_costs_digits_as_documented(mean):
    made, shape = layer(momentum=0.0), (16, 8, 8, 5)
    x, weights = normal(shape, mean=mean), normal(shape, seed=1)
    got, wanted = differentiated(made, x, weights), expected(made, x, weights)
    assert_close(got[1:2], wanted[1:2], 1e-6)
    assert_close(got[2:3], wanted[2:3], 2e-7 * mean**2)
    assert_close(got, wanted, max(1e-5, 2e-7 * mean**2))
    made.eval()
    made.mean[...], made.var[...] = (jnp.float32(array) for array in wanted[1:3])
    # With statistics at hand, only what is as large as the mean is rounded.
    assert_close([made(x)], wanted[:1], 2e-7 * mean)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4, 3e-20])
def test_a_constant_channel(value):
    x = normal((24, 5)).at[:, 2].set(value)
    got = differentiated(layer(momentum=0.0), x, normal((24, 5), seed=1))
    for array in got:
        assert np.all(np.isfinite(array))
    _, mean, variance, *_ = got
    np.testing.assert_allclose(mean[2], value, rtol=1e-6)
    assert 0 <= variance[2] <= 1e-6 * value**2


def test_options_that_it_does_not_know():
    for option in ({"axis": 0}, {"axis_name": "batch"}, {"use_bias": False}):
        with pytest.raises(TypeError, match=next(iter(option))):
            BatchNorm(5, rngs=checks.rngs(), **option)


POOLS = [
    ((2, 8, 6, 3), (2, 2)),
    ((2, 9, 7, 3), (2, 2)),
    ((1, 7, 8, 2), (3, 2)),
    ((1, 2, 8, 2), (3, 2)),
]


@pytest.mark.parametrize("shape, window", POOLS)
@pytest.mark.parametrize("jit", [False, True])
def test_tiles_are_flax_s_max_pool(shape, window, jit):
    # A permutation: no two are equal.
    x = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape)
    x = jnp.asarray(x, jnp.float32)
    weights = normal((1, *shape[1:]), seed=1)

    def flax_s(x):
        return nnx.max_pool(x, window, strides=window, padding="VALID")

    def tiles(x):
        return max_pool(x, window, window, "VALID")

    def both(pool):
        def loss(x):
            y = pool(x)
            return jnp.sum(y * weights[:, : y.shape[1], : y.shape[2]]), y

        gradient, y = (jax.jit if jit else lambda f: f)(jax.grad(loss, has_aux=True))(x)
        return y, gradient

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
