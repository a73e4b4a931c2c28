"""`convolve` against the convolution that it stands for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from arsg_optax.demos.models.convolution import convolve
from arsg_optax.demos.models.layers import Conv
from tests.demos.models import checks

NUMBERS = ("NHWC", "HWIO", "NHWC")
# Size of the images and of the kernel, strides, padding, channels.
WINDOWS = [
    ((6, 9), (3, 3), (1, 1), "SAME", 4),
    ((6, 9), (3, 3), (1, 1), "VALID", 16),
    ((9, 6), (3, 3), (1, 1), "SAME_LOWER", 3),
    ((9, 12), (5, 5), (1, 1), "VALID", 1),
    ((9, 12), (5, 5), (1, 1), "VALID", 4),
    ((6, 7), (7, 7), (1, 1), "SAME", 16),
    ((8, 5), (5, 3), (1, 1), ((2, 1), (0, 3)), 4),
    ((8, 5), (2, 4), (1, 1), "SAME", 16),
    ((8, 5), (1, 1), (1, 1), "VALID", 16),
    ((8, 5), (1, 1), (1, 1), ((1, 0), (0, 2)), 3),
    # With strides, the last of which leave rows or columns over.
    ((7, 10), (3, 3), (2, 2), "SAME", 4),
    ((7, 10), (3, 3), (2, 2), "VALID", 16),
    ((9, 8), (1, 1), (2, 2), "VALID", 4),
    ((9, 8), (7, 7), (2, 2), ((3, 3), (3, 3)), 3),
    ((8, 9), (3, 5), (1, 2), "SAME", 4),
    ((9, 8), (2, 3), (3, 1), ((0, 1), (2, 0)), 1),
    ((10, 11), (3, 3), (4, 4), "VALID", 16),
    # Cropped images, and windows larger than them.
    ((6, 7), (3, 3), (1, 1), ((-1, 0), (2, -2)), 4),
    ((6, 7), (3, 3), (2, 1), ((-1, 2), (0, -1)), 3),
    ((2, 5), (3, 3), (1, 1), "VALID", 4),
    ((2, 5), (3, 3), (2, 2), "VALID", 1),
]
# The same programs, with less time spent on their machine code.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def plain(images, kernel, strides, padding):
    return lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=NUMBERS
    )


def arrays(size, kernel, channels, dtype, batch=3, features=5):
    random = np.random.default_rng(0)
    shapes = (batch, *size, channels), (*kernel, channels, features)
    return [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]


def both(function, images, kernel):
    """Value of a convolution, and gradients of its product with random numbers."""

    @quick_jit
    def run(images, kernel):
        value, back = jax.vjp(function, images, kernel)
        random = np.random.default_rng(1).normal(size=value.shape)
        return value, *back(jnp.asarray(random, value.dtype))

    return run(images, kernel)


def assert_equal(got, expected, tolerance):
    for one, other in zip(got, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        limit = tolerance * np.max(np.abs(other), initial=0.0)
        np.testing.assert_allclose(one, other, rtol=0, atol=limit)


@pytest.mark.parametrize("window", WINDOWS[::4])
def test_in_single_precision(window):
    size, kernel, strides, padding, channels = window
    inputs = arrays(size, kernel, channels, jnp.float32)
    got, expected = (
        both(lambda *a, f=function: f(*a, strides, padding), *inputs)
        for function in (convolve, plain)
    )
    assert_equal(got, expected, 2e-6)


@pytest.mark.parametrize("window", WINDOWS)
def test_in_double_precision(window, x64):
    size, kernel, strides, padding, channels = window
    inputs = arrays(size, kernel, channels, jnp.float64)
    got, expected = (
        both(lambda *a, f=function: f(*a, strides, padding), *inputs)
        for function in (convolve, plain)
    )
    assert_equal(got, expected, 1e-12)


# One for each way to the kernel's gradient; the sums have thousands of terms.
@pytest.mark.parametrize("channels, stride", [(3, 1), (4, 1), (16, 2)])
def test_in_bfloat16_sums_are_wider(channels, stride):
    """Results are those of float32 sums, but for one unit in the last place."""
    inputs = arrays((40, 41), (3, 3), channels, jnp.bfloat16)
    strides = (stride, stride)
    got = both(lambda *a: convolve(*a, strides, "SAME"), *inputs)
    wide = [array.astype(jnp.float32) for array in inputs]

    def rounded(images, kernel):
        value = plain(images, kernel, strides, "SAME")
        return value.astype(jnp.bfloat16)

    for one, other in zip(got, both(rounded, *wide), strict=True):
        assert one.dtype == jnp.bfloat16
        other = np.asarray(other, np.float32)
        limit = 1e-5 * np.abs(other).max()
        np.testing.assert_allclose(np.float32(one), other, rtol=2**-7, atol=limit)


AXES = [(0, None), (None, 0), (0, 0), (3, 2)]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("channels", [3, 4])
def test_under_vmap(channels, axes):
    images, kernel = arrays((6, 5), (3, 3), channels, jnp.float32)
    many = [
        array if axis is None else jnp.stack([array, 2 * array, -array], axis)
        for array, axis in zip((images, kernel), axes, strict=True)
    ]

    def gradients(function, images, kernel):
        def total(images, kernel):
            return jnp.sum(jnp.sin(function(images, kernel, (1, 1), "SAME")))

        return jax.grad(total, (0, 1))(images, kernel)

    got, expected = (
        quick_jit(jax.vmap(partial(gradients, function), axes))(*many)
        for function in (convolve, plain)
    )
    assert_equal(got, expected, 2e-6)


def test_without_jit():
    images, kernel = arrays((6, 5), (3, 3), 4, jnp.float32)

    def gradient(function):
        return jax.grad(lambda k: jnp.sum(function(images, k, (1, 1), "SAME") ** 2))

    got, expected = gradient(convolve)(kernel), gradient(plain)(kernel)
    assert_equal([got], [expected], 2e-6)


def _slope(function, strides):
    def slope(images, kernel):
        def total(images, kernel):
            return jnp.sum(jnp.sin(function(images, kernel, strides, "SAME")))

        return sum(jnp.sum(g**3) for g in jax.grad(total, (0, 1))(images, kernel))

    return slope


@pytest.mark.parametrize("channels, strides", [(3, (1, 1)), (4, (1, 1)), (4, (2, 1))])
def test_second_derivatives_in_reverse(channels, strides, x64):
    inputs = arrays((5, 6), (3, 3), channels, jnp.float64)
    got, expected = (
        quick_jit(jax.grad(_slope(function, strides), (0, 1)))(*inputs)
        for function in (convolve, plain)
    )
    assert_equal(got, expected, 1e-12)


@pytest.mark.parametrize("channels", [3, 4])
def test_second_derivatives_forward_over_reverse(channels, x64):
    inputs = tuple(arrays((5, 6), (3, 3), channels, jnp.float64))
    got, expected = (
        quick_jit(partial(jax.jvp, _slope(function, (1, 1))))(inputs, inputs)
        for function in (convolve, plain)
    )
    assert_equal(got, expected, 1e-12)


def test_not_forward_at_once():
    inputs = tuple(arrays((5, 6), (3, 3), 4, jnp.float32))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda *a: convolve(*a, (1, 1), "SAME"), inputs, inputs)


def products(function, *inputs, platform):
    """Matrix products and convolutions in a step's program."""

    def total(*inputs):
        return jnp.sum(function(*inputs) ** 2)

    traced = jax.jit(jax.grad(total, (0, 1))).trace(*inputs)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    return text.count("dot_general"), text.count("stablehlo.convolution")


@pytest.mark.parametrize(
    "platform, expected", [("cpu", (1, 2)), ("tpu", (0, 3)), ("cuda", (0, 3))]
)
@pytest.mark.parametrize("channels", [3, 4])
def test_a_matrix_product_on_the_cpu_only(channels, platform, expected):
    inputs = arrays((5, 6), (3, 3), channels, jnp.float32)
    step = partial(convolve, window_strides=(1, 1), padding="SAME")
    assert products(step, *inputs, platform=platform) == expected


# Shapes of images and kernel, and what makes the plain convolution of it.
PLAIN = [
    ((2, 5, 6, 4), (3, 3, 2, 6), {"feature_group_count": 2}),
    ((2, 5, 6, 4), (3, 3, 1, 4), {"feature_group_count": 4}),
    ((2, 7, 8, 4), (3, 3, 4, 6), {"rhs_dilation": (2, 1)}),
    ((2, 5, 6, 4), (3, 3, 4, 6), {"lhs_dilation": (1, 2)}),
    ((2, 5, 6, 4), (3, 3, 4, 6), {"preferred_element_type": jnp.float32}),
    ((2, 5, 6, 4), (3, 3, 4, 6), {"batch_group_count": 2}),
    ((2, 4, 5, 6), (6, 4, 3, 3), {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}),
    ((2, 5, 6, 4), (3, 3, 4, 6), {"dimension_numbers": ("NHWC", "HWIO", "NCHW")}),
]


@pytest.mark.parametrize("images, kernel, options", PLAIN)
def test_what_goes_the_plain_way(images, kernel, options):
    random = np.random.default_rng(0)
    inputs = [jnp.asarray(random.normal(size=s), "float32") for s in (images, kernel)]
    window = {"window_strides": (1, 1), "padding": ((1, 1), (0, 2))}
    step = partial(convolve, **window, **options)
    whole = {"dimension_numbers": NUMBERS, **window, **options}
    expected = both(partial(lax.conv_general_dilated, **whole), *inputs)
    assert_equal(both(step, *inputs), expected, 2e-6)
    assert products(step, *inputs, platform="cpu") == (0, 3)


def test_dilations_of_one_are_none():
    inputs = arrays((5, 6), (3, 3), 4, jnp.float32)
    ones = {"lhs_dilation": (1, 1), "rhs_dilation": (1, 1), "out_sharding": None}
    step = partial(convolve, window_strides=(1, 1), padding="SAME", **ones)
    assert products(step, *inputs, platform="cpu") == (1, 2)


LAYERS = [
    ((3, 3), {"strides": 2, "padding": ((1, 1), (1, 1))}, (4, 9, 8, 6)),
    ((5, 5), {"padding": "VALID", "use_bias": True}, (4, 9, 8, 6)),
    ((3, 3), {"feature_group_count": 6}, (4, 9, 8, 6)),
    ((3, 3), {"padding": "CIRCULAR"}, (4, 9, 8, 6)),
    ((3, 3), {}, (9, 8, 6)),
    ((3,), {"strides": 2}, (4, 9, 6)),
]


@pytest.mark.parametrize("size, options, shape", LAYERS)
def test_the_layer_is_flax_s(size, options, shape):
    def draw(key, shape, dtype):
        return jnp.asarray(np.random.default_rng(1).normal(size=shape), dtype)

    def run(layer):
        graph, params = nnx.split(layer)
        return quick_jit(
            jax.value_and_grad(lambda p: jnp.sum(jnp.sin(nnx.merge(graph, p)(x))))
        )(params)

    x = draw(None, shape, jnp.float32)
    shared = {"kernel_init": draw, "bias_init": draw, "rngs": checks.rngs()}
    ours = Conv(6, 6, size, **shared, **options)
    theirs = nnx.Conv(6, 6, size, **shared, **{"use_bias": False, **options})
    assert (ours.bias is None) == ("use_bias" not in options)
    got, expected = (jax.tree.leaves(run(layer)) for layer in (ours, theirs))
    assert_equal(got, expected, 1e-5)


@pytest.mark.parametrize("precision", ["highest", lax.Precision.HIGH])
def test_precision_reaches_every_product(precision):
    inputs = arrays((5, 6), (3, 3), 4, jnp.float32)
    program = jax.jit(
        jax.grad(
            lambda *a: convolve(*a, (1, 1), "SAME", precision=precision).sum(), (0, 1)
        )
    ).lower(*inputs)
    assert "DEFAULT" not in program.as_text()
