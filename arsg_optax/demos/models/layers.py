"""Layers that the convolutional networks share."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

he_normal_fan_out = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class BatchNorm(nnx.BatchNorm):
    """`nnx.BatchNorm` over the last axis, computed in float32 whatever the dtype.

    By itself Flax rounds the running statistics to the compute dtype before it
    evaluates with them, which in bfloat16 shifts a channel by up to 1/256 of its mean.

    Args:
        width: number of channels, the last axis.
        dtype: of the output, None for the input's.
        options: as of `nnx.BatchNorm`.
    """

    def __init__(self, width: int, *, dtype: DTypeLike | None = None, **options: Any):
        super().__init__(width, dtype=jnp.float32, **options)
        self.output_dtype = dtype

    def __call__(self, x: jax.Array, *options: Any, **named: Any) -> jax.Array:
        """Normalizes `[..., width]` over all but the last axis."""
        normalized = super().__call__(x.astype(jnp.float32), *options, **named)
        return normalized.astype(self.output_dtype or x.dtype)


class ConvNorm(nnx.Module):
    """A convolution without bias, then batch normalization; no activation.

    The padding is `(window - 1) // 2` pixels on every side, so a stride of 1 keeps
    the size and a stride of 2 halves it, rounded up.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output.
        window: side of the kernel in pixels, odd.
        stride: pixels from one window to the next.
        groups: blocks of channels that do not see each other; `channels_in` for a
            depthwise convolution.
        numbers: `dtype`, `param_dtype` and `rngs` as in the networks. The kernel is
            He normal by fan-out; scale one, bias zero.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        window: int,
        stride: int = 1,
        groups: int = 1,
        **numbers: Any,
    ):
        pixels = (window - 1) // 2
        self.conv = nnx.Conv(
            channels_in,
            channels_out,
            kernel_size=(window, window),
            strides=(stride, stride),
            padding=((pixels, pixels), (pixels, pixels)),
            feature_group_count=groups,
            use_bias=False,
            kernel_init=he_normal_fan_out,
            **numbers,
        )
        # The originals keep a tenth of each batch's statistics.
        self.norm = BatchNorm(channels_out, momentum=0.9, epsilon=1e-5, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, h, w, channels_in]` to `[batch, h/stride, w/stride, channels_out]`.

        Sizes that the stride does not divide are rounded up.
        """
        return self.norm(self.conv(x))


def max_pool(
    activations: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Any
) -> jax.Array:
    """Maximum over windows of `[batch, height, width, channels]`.

    Windows that tile the images become an axis of their own: with `nnx.max_pool` a step
    of the MNIST network takes XLA:CPU 1.3 times as long on one core, and more on two
    (`python -m benchmarks.train_step`). Equal maxima of a tile share the gradient.
    """
    tiles = tuple(window) == tuple(strides) and padding == "VALID"
    if not tiles:
        return nnx.max_pool(
            activations, tuple(window), strides=tuple(strides), padding=padding
        )
    batch, height, width, channels = activations.shape
    rows, columns = height // window[0], width // window[1]
    whole = activations[:, : rows * window[0], : columns * window[1]]
    tiled = whole.reshape(batch, rows, window[0], columns, window[1], channels)
    return jnp.max(tiled, axis=(2, 4))
