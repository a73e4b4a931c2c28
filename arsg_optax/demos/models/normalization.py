"""Batch normalization with float32 statistics and a gradient in one pass."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike


class BatchNorm(nnx.BatchNorm):
    """`nnx.BatchNorm` over the last axis, computed in float32 whatever the dtype.

    Flax rounds the running statistics to the compute dtype before it evaluates with
    them, which in bfloat16 shifts a channel by up to 1/256 of its mean. The gradient is
    written out, two sums and one pass; what JAX derives takes XLA:CPU several times as
    long. The variance is, as Flax's, the mean of squares less the square of the mean:
    in float32 its relative error is some 1e-7 times (mean / deviation) squared.

    Args:
        width: number of channels, the last axis.
        momentum: share of the old running statistics that an update keeps.
        epsilon: added to the variance.
        dtype: of the output, None for the input's.
        param_dtype: of scale and bias; statistics are float32.
        rngs: as of `nnx.BatchNorm`.
    """

    def __init__(
        self,
        width: int,
        *,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            width,
            momentum=momentum,
            epsilon=epsilon,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None
    ) -> jax.Array:
        """Normalizes `[..., width]` over all but the last axis."""
        scale, bias = _wide(self.scale), _wide(self.bias)
        running = use_running_average
        if running is None:
            running = self.use_running_average
        if running:
            mean, variance = _wide(self.mean), _wide(self.var)
            factor = scale * jax.lax.rsqrt(variance + self.epsilon)
            normalized = _affine(x.astype(jnp.float32), factor, bias - mean * factor)
        else:
            normalized, mean, variance = normalize(x, scale, bias, self.epsilon)
            self._remember(self.mean, mean)
            self._remember(self.var, variance)
        return normalized.astype(self.dtype or x.dtype)

    def _remember(self, statistic: Any, value: jax.Array) -> None:
        old = statistic[...]
        new = self.momentum * old.astype(jnp.float32) + (1 - self.momentum) * value
        statistic[...] = jax.lax.stop_gradient(new).astype(old.dtype)


def _wide(variable: Any) -> jax.Array:
    return variable[...].astype(jnp.float32)


def _normalized(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalized x, float32, with its mean and variance `[width]`."""
    return _forward(x, scale, bias, epsilon)[0]


normalize = jax.custom_vjp(_normalized, nondiff_argnums=(3,))


def _forward(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float):
    wide = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(wide, axes)
    variance = jnp.maximum(jnp.mean(jnp.square(wide), axes) - jnp.square(mean), 0.0)
    inverse = jax.lax.rsqrt(variance + epsilon)
    factor = scale * inverse
    normalized = _affine(wide, factor, bias - mean * factor)
    return (normalized, mean, variance), (x, scale, mean, inverse)


def _backward(epsilon: float, held: tuple[jax.Array, ...], gradients: Any):
    r"""With :math:`\hat x = (x - m) r` and n values a channel,
    :math:`\partial x = s r\,(g - \bar g - \hat x\,\overline{g \hat x})`.

    Statistics are only remembered, so nothing comes from them.
    """
    del epsilon
    x, scale, mean, inverse = held
    gradient = gradients[0]
    wide = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    total = jnp.sum(gradient, axes)
    to_scale = inverse * (jnp.sum(gradient * wide, axes) - mean * total)
    count = x.size // x.shape[-1]
    factor = scale * inverse
    slope = -factor * inverse * to_scale / count
    offset = -factor * total / count - slope * mean
    to_x = _affine(gradient, factor, offset) + _affine(wide, slope)
    return to_x.astype(x.dtype), to_scale, total


def _affine(x: jax.Array, slope: jax.Array, offset: jax.Array | None = None):
    """`x * slope + offset`, both `[width]`."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    scaled = x * slope.reshape(shape)
    return scaled if offset is None else scaled + offset.reshape(shape)


normalize.defvjp(_forward, _backward)
