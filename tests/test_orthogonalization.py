"""The orthogonalizing link: its iteration, what a matrix is, and what it refuses."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import arsg_optax
from arsg_optax import MatrixAxes, orthogonalize
from tests.reference.orsg import newton_schulz

# Two programs of one iteration are compared, to rounding.
pytestmark = pytest.mark.usefixtures("optimized")


def _apply(link, tree):
    return jax.jit(lambda tree: link.update(tree, link.init(tree))[0])(tree)


def _random(*shape, dtype=jnp.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 7), (7, 1)])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_iteration_is_the_published_one(shape, size, x64):
    matrix = size * _random(*shape, dtype=jnp.float64)
    got = _apply(orthogonalize(scale=None), matrix)
    np.testing.assert_allclose(got, newton_schulz(np.asarray(matrix)), atol=1e-12)


def test_coefficients_of_each_iteration(x64):
    rounds = ((2.0, -1.5, 0.5), (1.5, -0.5, 0.0), (1.5, -0.5, 0.0))
    matrix = _random(5, 8, dtype=jnp.float64)
    got = _apply(orthogonalize(steps=3, coefficients=rounds, scale=None), matrix)
    expected = newton_schulz(np.asarray(matrix), rounds)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_singular_vectors_stay_and_values_come_near_one():
    matrix = _random(24, 40)
    values = np.linalg.svd(_apply(orthogonalize(scale=None), matrix)).S
    assert values.min() > 0.65 and values.max() < 1.25
    left, _, right = np.linalg.svd(matrix)
    inner = (left.T @ _apply(orthogonalize(scale=None), matrix)) @ right.T[:, :24]
    assert np.abs(inner - np.diag(np.diag(inner))).max() < 1e-4
    assert (np.diag(inner) > 0).all()


def test_scales():
    matrix = _random(8, 32)
    plain = _apply(orthogonalize(scale=None), matrix)
    np.testing.assert_allclose(_apply(orthogonalize(), matrix), 2 * plain, rtol=1e-6)
    tall = _apply(orthogonalize(), matrix.T)
    np.testing.assert_allclose(tall, plain.T, atol=1e-6)
    for shape in ((8, 32), (64, 16), (40, 40)):
        step = _apply(orthogonalize(scale="rms"), _random(*shape))
        assert 0.15 < float(jnp.sqrt(jnp.mean(step**2))) < 0.23  # Adam's 0.2.


def test_a_matrix_whose_square_overflows():
    matrix = _random(4, 6)
    got = _apply(orthogonalize(), 1e30 * matrix)
    np.testing.assert_allclose(got, _apply(orthogonalize(), matrix), atol=1e-5)


def test_a_matrix_of_zeros_and_an_empty_one_come_back():
    tree = {"zeros": jnp.zeros((3, 4)), "empty": jnp.zeros((0, 4))}
    jax.tree.map(np.testing.assert_array_equal, _apply(orthogonalize(), tree), tree)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_updates_come_out_in_the_dtype_of_the_parameters(dtype):
    matrix = _random(6, 10).astype(dtype)
    got = _apply(orthogonalize(scale=None), matrix)
    assert got.dtype == dtype
    expected = newton_schulz(np.asarray(matrix, np.float64))
    np.testing.assert_allclose(
        np.asarray(got, np.float64), expected, atol=float(jnp.finfo(dtype).eps) + 2e-6
    )


def test_computing_in_bfloat16_errs_by_its_rounding():
    matrix = _random(16, 24)
    narrow = _apply(orthogonalize(scale=None, dtype=jnp.bfloat16), matrix)
    assert narrow.dtype == jnp.float32
    error = np.abs(narrow - newton_schulz(np.asarray(matrix))).max()
    assert 1e-5 < error < 0.05


def _attention():
    """Gradients as Flax shapes them, and the equivalent matrices."""
    layer = nnx.MultiHeadAttention(4, 24, decode=False, rngs=nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(layer, nnx.Param))
    kernels = {name: params[name]["kernel"] for name in ("query", "out")}
    assert kernels["query"].shape == (24, 4, 6) and kernels["out"].shape == (4, 6, 24)
    axes = {"query": MatrixAxes(0, (1, 2)), "out": MatrixAxes((0, 1), 2)}
    matrices = {name: kernels[name].reshape(24, 24) for name in kernels}
    return (
        kernels,
        axes,
        matrices,
        lambda tree: {
            name: tree[name].reshape(kernels[name].shape) for name in kernels
        },
    )


def _convolution():
    kernel = nnx.Conv(5, 7, (3, 3), rngs=nnx.Rngs(0)).kernel[...]
    return (
        kernel,
        MatrixAxes((0, 1, -2), -1),
        kernel.reshape(45, 7),
        lambda matrix: matrix.reshape(3, 3, 5, 7),
    )


def _haiku():
    def forward(x):
        layer = hk.MultiHeadAttention(2, 5, w_init=hk.initializers.RandomNormal())
        return layer(x, x, x)

    params = hk.without_apply_rng(hk.transform(forward)).init(
        jax.random.key(0), jnp.ones((3, 10))
    )
    weights = {name: module["w"] for name, module in params.items()}
    assert all(weight.ndim == 2 for weight in weights.values())
    return weights, None, weights, lambda tree: tree


EQUIVALENT = {"attention": _attention, "convolution": _convolution, "haiku": _haiku}


@pytest.mark.parametrize("name", EQUIVALENT)
def test_named_axes_do_what_the_equivalent_matrix_does(name):
    arrays, axes, matrices, back = EQUIVALENT[name]()
    got = _apply(orthogonalize(matrix_axes=axes), arrays)
    expected = back(_apply(orthogonalize(), matrices))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, expected
    )


@pytest.mark.parametrize("shape", [(3, 8, 16), (2, 3, 16, 8)])
def test_layers_of_a_stack_do_not_mix(shape):
    stack = _random(*shape)
    got = _apply(orthogonalize(matrix_axes=MatrixAxes(-2, -1)), stack)
    for index in np.ndindex(*shape[:-2]):
        alone = _apply(orthogonalize(), stack[index])
        np.testing.assert_allclose(got[index], alone, atol=1e-5)


def test_vmap_is_a_stack():
    stack, link = _random(3, 8, 16), orthogonalize()
    got = jax.vmap(lambda g: link.update(g, link.init(g))[0])(stack)
    expected = _apply(orthogonalize(matrix_axes=MatrixAxes(1, 2)), stack)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, r"steps must be a whole number, at least 1.*got 0; 5 are usual"),
        ({"eps": 0.0}, "eps must be finite and at least"),
        ({"scale": "Width"}, "scale must be 'width', 'rms' or None, got 'Width'"),
        ({"coefficients": (1.0, 2.0)}, r"coefficients must be three.*\(1.0, 2.0\)"),
        ({"coefficients": ((1.0, 2.0, 3.0),)}, r"each of the steps iterations \(5\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        orthogonalize(**arguments)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (None, r"what is input and output of '\['a'\]', got None for its shape"),
        (MatrixAxes(0, 3), r"different axes of '\['a'\]', whose shape is \(2, 3, 4\)"),
        (MatrixAxes(0, (1, 0)), "different axes"),
        (MatrixAxes((), (0, 1, 2)), "at least one axis each"),
        ({"a": "0,1"}, "hold MatrixAxes or None, got '0,1'"),
        ({"b": None}, "matrix_axes must have the tree structure of the parameters"),
    ],
)
def test_what_is_no_matrix_is_refused(axes, message):
    params = {"a": jnp.ones((2, 3, 4))}
    with pytest.raises(ValueError, match=message):
        orthogonalize(matrix_axes=axes).init(params)


def test_a_vector_is_refused_and_a_mask_leaves_it_out():
    params = {"b": jnp.ones(3), "w": jnp.ones((3, 3))}
    with pytest.raises(
        ValueError, match=r"of '\['b'\]', got None for its shape \(3,\)"
    ):
        orthogonalize().init(params)
    masked = optax.masked(
        orthogonalize(), lambda tree: jax.tree.map(lambda x: x.ndim == 2, tree)
    )
    np.testing.assert_array_equal(_apply(masked, params)["b"], 1.0)


def test_as_a_link_it_is_a_direction():
    chain = arsg_optax.remote_chain(orthogonalize(), learning_rate=0.1)
    state = chain.init(jnp.ones((2, 2)))
    assert state.previous == ()
    exact = arsg_optax.remote_chain(orthogonalize(), learning_rate=0.1, exact=True)
    assert exact.init(jnp.ones((2, 2))).previous.shape == (2, 2)
