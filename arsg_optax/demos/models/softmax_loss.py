"""Cross entropy of a softmax over many classes whose logits are never stored whole.

Each function takes `features` `[n, d]` (bfloat16, float32, float64), `kernel` `[d, v]`
and `bias` `[v]` of the last layer, and `labels` int32 `[n]` in [0, v). The logits of
`chunk` rows at a time are in memory, `[chunk, v]`. Products are taken in the features'
dtype and summed in float32, as are all statistics (float64 if the features are).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

# The fastest of 64, 128, 224, 320 and 448 rows on two CPU cores, for 200 features and
# 33,278 classes: with fewer, adding up the kernel's gradient costs more than it saves.
CHUNK = 128


class TextScores(NamedTuple):
    """Sums over rows, scalars.

    Attributes:
        loss: float32, the sum of cross entropies in nats.
        correct: int32, the rows whose label has the largest logit (of equal logits
            the first counts).
    """

    loss: jax.Array
    correct: jax.Array


def softmax_cross_entropy(
    features: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    *,
    chunk: int = CHUNK,
) -> jax.Array:
    """Mean cross entropy of the labels, in nats, a float32 scalar.

    The gradients are computed together with the loss, while a chunk's logits are there,
    so that nothing is computed twice; they have the dtypes of what they belong to.
    Without differentiation only the loss is computed. Forward-mode differentiation is
    not defined.

    Args:
        features: see the module, as for `kernel`, `bias` and `labels`.
        kernel: its gradient is summed in float32, whatever the features' dtype.
        bias: added to the float32 logits.
        labels: integers, not differentiated.
        chunk: rows whose logits are in memory at a time. Rows that do not fill a chunk
            are allowed.

    Raises:
        ValueError: if the shapes do not fit, there is no row, or `chunk` < 1.
    """
    _check(features, kernel, bias, labels, chunk)
    return _mean_loss(chunk, features, kernel, bias, labels)


def scores(
    features: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    *,
    chunk: int = CHUNK,
) -> TextScores:
    """Sum of losses and number of correct predictions, for evaluation.

    Args:
        features: see the module, as for `kernel`, `bias` and `labels`.
        kernel: of the last layer.
        bias: of the last layer.
        labels: of the rows.
        chunk: as in :func:`softmax_cross_entropy`.

    Raises:
        ValueError: as :func:`softmax_cross_entropy`.
    """
    _check(features, kernel, bias, labels, chunk)

    def of_chunk(rows: _Rows) -> tuple[jax.Array, jax.Array]:
        logits = _logits(rows.features, kernel, bias)
        right = (jnp.argmax(logits, axis=1) == rows.labels) & rows.valid
        return _loss(logits, rows), jnp.sum(right, dtype=jnp.int32)

    losses, right = jax.lax.map(of_chunk, _chunks(features, labels, chunk))
    return TextScores(jnp.sum(losses), jnp.sum(right))


class _Rows(NamedTuple):
    """Rows of a chunk (or, one axis more, of all); those not valid only fill it up."""

    features: jax.Array
    labels: jax.Array
    valid: jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mean_loss(
    chunk: int,
    features: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    sums = scores(features, kernel, bias, labels, chunk=chunk)
    return sums.loss / len(labels)


def _forward(
    chunk: int,
    features: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
):
    """The loss, and its gradients with respect to features, kernel and bias."""
    exact = _statistics_dtype(features)

    def of_chunk(sums: tuple[jax.Array, jax.Array], rows: _Rows):
        def loss_at(features: jax.Array, kernel: jax.Array, bias: jax.Array):
            return _loss(_logits(features, kernel, bias), rows)

        take = jax.value_and_grad(loss_at, (0, 1, 2))
        loss, (to_features, *others) = take(rows.features, kernel, bias)
        added = (total + g.astype(exact) for total, g in zip(sums, others, strict=True))
        return tuple(added), (loss, to_features)

    zeros = (jnp.zeros(kernel.shape, exact), jnp.zeros(bias.shape, exact))
    sums, (losses, to_features) = jax.lax.scan(
        of_chunk, zeros, _chunks(features, labels, chunk)
    )
    count = len(labels)
    gradients = (to_features.reshape(-1, features.shape[1])[:count], *sums)
    stored = zip(gradients, (features, kernel, bias), strict=True)
    mean = tuple((gradient / count).astype(of.dtype) for gradient, of in stored)
    return jnp.sum(losses) / count, mean


def _backward(chunk: int, gradients: tuple[jax.Array, ...], cotangent: jax.Array):
    del chunk
    scaled = (cotangent * g.astype(cotangent.dtype) for g in gradients)
    return *(s.astype(g.dtype) for s, g in zip(scaled, gradients, strict=True)), None


_mean_loss.defvjp(_forward, _backward)


def _chunks(features: jax.Array, labels: jax.Array, chunk: int) -> _Rows:
    """All rows as `[chunks, chunk, ...]`, the last chunk filled up with zeros."""
    chunk = min(chunk, len(labels))
    rows = _Rows(features, labels, jnp.ones(labels.shape, bool))

    def cut(array: jax.Array) -> jax.Array:
        missing = -len(array) % chunk
        padded = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(-1, chunk, *array.shape[1:])

    return _Rows(*map(cut, rows))


def _statistics_dtype(features: jax.Array) -> jnp.dtype:
    return jnp.promote_types(features.dtype, jnp.float32)


def _logits(features: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    exact = _statistics_dtype(features)
    low = kernel.astype(features.dtype)
    logits = jnp.matmul(features, low, preferred_element_type=exact)
    return logits + bias.astype(exact)[None]


def _loss(logits: jax.Array, rows: _Rows) -> jax.Array:
    """The sum of the cross entropies of valid rows."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, rows.labels)
    return jnp.sum(jnp.where(rows.valid, losses, 0))


def _check(
    features: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    chunk: int,
) -> None:
    shapes = [array.shape for array in (features, kernel, bias, labels)]
    n, (d, v) = labels.size, kernel.shape
    if shapes != [(n, d), (d, v), (v,), (n,)] or n == 0:
        raise ValueError(
            "features, kernel, bias and labels must have shapes [n, d], [d, v], [v] "
            f"and [n] with n > 0, got {', '.join(map(str, shapes))}; "
            "flatten batch and time into one axis"
        )
    if chunk < 1:
        raise ValueError(f"chunk must be a positive number of rows, got {chunk}")
