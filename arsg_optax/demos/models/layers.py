"""Layers that the convolutional networks share."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from arsg_optax.demos.models.convolution import convolve
from arsg_optax.demos.models.normalization import BatchNorm

__all__ = ["BatchNorm", "Conv", "max_pool"]


class Conv(nnx.Conv):
    """`nnx.Conv`, fast on the CPU too, and without a bias unless it is asked for."""

    def __init__(self, *shape: Any, use_bias: bool = False, **options: Any):
        super().__init__(
            *shape, use_bias=use_bias, conv_general_dilated=convolve, **options
        )


def max_pool(
    activations: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Any
) -> jax.Array:
    """Maximum over windows of `[batch, height, width, channels]`.

    Windows that tile the images are an axis of their own, whose maximum XLA:CPU
    differentiates faster than a window's. Equal maxima of one share the gradient.
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
