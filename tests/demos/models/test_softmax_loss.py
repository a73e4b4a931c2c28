"""The chunked softmax against the plain one, and what it keeps in memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from arsg_optax.demos.models.softmax_loss import scores, softmax_cross_entropy

ROWS, WIDTH, CLASSES = 13, 5, 17


def problem(rows=ROWS, dtype=jnp.float32, kernel_dtype=None):
    random = np.random.default_rng(0)
    shapes = ((rows, WIDTH), (WIDTH, CLASSES), (CLASSES,))
    features, kernel, bias = (2 * random.normal(size=shape) for shape in shapes)
    labels = random.integers(CLASSES, size=rows)
    return (
        jnp.asarray(features, dtype),
        jnp.asarray(kernel, kernel_dtype or dtype),
        jnp.asarray(bias, kernel_dtype or dtype),
        jnp.asarray(labels, jnp.int32),
    )


def plain(features, kernel, bias, labels):
    logits = features @ kernel + bias[None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def value_and_gradients(loss, *arrays):
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(*arrays)


def chunked(chunk, scale=1.0):
    def loss(*arrays):
        return scale * softmax_cross_entropy(*arrays, chunk=chunk)

    return loss


# One row a chunk, a last chunk that is not full, one chunk that is too large.
@pytest.mark.parametrize("chunk", [1, 6, 100])
def test_equals_the_plain_loss(chunk):
    arrays = problem()
    expected = value_and_gradients(plain, *arrays)
    got = value_and_gradients(chunked(chunk), *arrays)
    assert (got[0].shape, got[0].dtype) == ((), jnp.float32)
    for mine, other in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)
    alone = softmax_cross_entropy(*arrays, chunk=chunk)
    np.testing.assert_allclose(alone, got[0], rtol=1e-6)


def test_equals_the_plain_loss_in_float64(x64):
    arrays = problem(dtype=jnp.float64)
    expected = value_and_gradients(plain, *arrays)
    got = value_and_gradients(chunked(4), *arrays)
    assert got[0].dtype == jnp.float64
    for mine, other in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-13, atol=1e-15)


def test_gradients_follow_the_cotangent():
    arrays = problem()
    _, once = value_and_gradients(chunked(4), *arrays)
    _, scaled = value_and_gradients(chunked(4, scale=-3.0), *arrays)
    for mine, other in zip(scaled, once, strict=True):
        np.testing.assert_allclose(mine, -3 * other, rtol=1e-6)


def test_large_logits_neither_overflow_nor_lose_the_label():
    features, kernel, bias, labels = problem()
    arrays = (100 * features, kernel, bias, labels)
    expected = value_and_gradients(plain, *arrays)
    got = value_and_gradients(chunked(4), *arrays)
    for mine, other in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        assert np.all(np.isfinite(mine))
        # Each term of a gradient is of order 100 / rows before terms cancel.
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-4)


def test_bfloat16():
    arrays = problem(64, jnp.bfloat16, kernel_dtype=jnp.float32)
    loss, gradients = value_and_gradients(chunked(24), *arrays)
    assert loss.dtype == jnp.float32
    dtypes = [gradient.dtype for gradient in gradients]
    assert dtypes == [jnp.bfloat16, jnp.float32, jnp.float32]
    # The same numbers as the loss multiplies them, in float32 from there on.
    rounded = [array.astype(jnp.bfloat16) for array in arrays[:2]]
    exact = [array.astype(jnp.float32) for array in (*rounded, arrays[2])]
    expected, exact_gradients = value_and_gradients(plain, *exact, arrays[3])
    # The statistics are float32: rounded to bfloat16 the loss would be off by 1e-3.
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for mine, other in zip(gradients, exact_gradients, strict=True):
        # Softmax, features and result are each rounded to 8 significant bits.
        limit = 2**-7 * float(jnp.max(jnp.abs(other)))
        np.testing.assert_allclose(mine.astype(jnp.float32), other, atol=limit)


def test_scores():
    features, kernel, bias, labels = problem(64)
    logits = features @ kernel + bias[None]
    # Half of the labels are what the model predicts.
    labels = jnp.where(jnp.arange(64) % 2, jnp.argmax(logits, axis=1), labels)
    got = jax.jit(scores, static_argnames="chunk")(
        features, kernel, bias, labels, chunk=5
    )
    assert (got.loss.dtype, got.correct.dtype) == (jnp.float32, jnp.int32)
    expected = 64 * plain(features, kernel, bias, labels)
    np.testing.assert_allclose(got.loss, expected, rtol=1e-5)
    assert got.correct == np.sum(np.argmax(logits, axis=1) == labels) < 64


def test_of_equal_logits_the_first_counts():
    features, kernel, bias, _ = jax.tree.map(jnp.zeros_like, problem())
    # Rows that only fill a chunk have label 0 too, and must not be counted.
    labels = jnp.asarray([0] * 3 + [1] * 10, jnp.int32)
    assert scores(features, kernel, bias, labels, chunk=5).correct == 3


def sizes_in(jaxpr):
    """Sizes of all values in a jaxpr and in those inside it."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from sizes_in(inner)


def largest_and_temporary(function, rows, classes):
    """Numbers in the largest value of the program, and what it allocates meanwhile."""
    shapes = ((rows, 8), (8, classes), (classes,))
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    arrays.append(jax.ShapeDtypeStruct((rows,), jnp.int32))
    largest = max(sizes_in(jax.make_jaxpr(function)(*arrays).jaxpr))
    memory = jax.jit(function).lower(*arrays).compile().memory_analysis()
    assert memory is not None
    return largest, memory.temp_size_in_bytes // 4


@pytest.mark.parametrize(
    "function",
    [
        jax.value_and_grad(chunked(10), (0, 1, 2)),
        chunked(10),
        partial(scores, chunk=10),
    ],
)
def test_logits_are_never_stored_whole(function):
    rows, classes = 100, 1000
    largest, temporary = largest_and_temporary(function, rows, classes)
    assert largest == 10 * classes
    assert temporary < rows * classes / 2


def test_whole_logits_would_be_noticed():
    rows, classes = 100, 1000
    function = jax.value_and_grad(plain, (0, 1, 2))
    largest, temporary = largest_and_temporary(function, rows, classes)
    assert largest == rows * classes
    assert temporary >= rows * classes


def test_shapes_and_chunk_are_checked():
    features, kernel, bias, labels = problem()
    for wrong in (
        (features, kernel.T, bias, labels),
        (features, kernel, bias[:-1], labels),
        (features, kernel, bias, labels[:-1]),
        (features[None], kernel, bias, labels[None]),
        (features[:0], kernel, bias, labels[:0]),
    ):
        for function in (softmax_cross_entropy, scores):
            with pytest.raises(ValueError, match=r"\[n, d\], \[d, v\].*flatten batch"):
                function(*wrong)
    with pytest.raises(
        ValueError, match="chunk must be a positive number of rows, got 0"
    ):
        softmax_cross_entropy(features, kernel, bias, labels, chunk=0)
