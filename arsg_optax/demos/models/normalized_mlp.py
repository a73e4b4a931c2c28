"""A multilayer perceptron with layer normalization: most of it is scale invariant."""

import math
from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike


class NormalizedMLP(nnx.Module):
    """Matrices without bias, each followed by layer normalization and ReLU.

    The matrices in `hidden` may be multiplied by any number above 0 and the network
    stays the same function, so they may live on a sphere; the `last` layer's may not.

    Args:
        image_shape: shape of one image, without the batch axis; it is flattened.
        hidden: width of each hidden layer.
        classes: number of classes.
        dtype: dtype of the computation, None for the inputs' and parameters' own.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights (LeCun normal; the biases are zero).
    """

    def __init__(
        self,
        image_shape: tuple[int, ...] = (8, 8),
        hidden: Sequence[int] = (128, 128),
        classes: int = 10,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        numbers = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        widths = [math.prod(image_shape), *hidden]
        self.hidden = nnx.List(
            nnx.Linear(fan_in, fan_out, use_bias=False, **numbers)
            for fan_in, fan_out in pairwise(widths)
        )
        self.norms = nnx.List(nnx.LayerNorm(width, **numbers) for width in hidden)
        self.last = nnx.Linear(widths[-1], classes, **numbers)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, *image_shape]` to class scores `[batch, classes]`."""
        activations = images.reshape(images.shape[0], -1)
        for matrix, norm in zip(self.hidden, self.norms, strict=True):
            activations = nnx.relu(norm(matrix(activations)))
        return self.last(activations)
