"""A multilayer perceptron for small images."""

import math
from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike


class MLP(nnx.Module):
    """Fully connected layers with ReLU between them.

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
        widths = [math.prod(image_shape), *hidden, classes]
        self.layers = nnx.List(
            nnx.Linear(fan_in, fan_out, dtype=dtype, param_dtype=param_dtype, rngs=rngs)
            for fan_in, fan_out in pairwise(widths)
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, *image_shape]` to class scores `[batch, classes]`."""
        *inner, last = self.layers
        activations = images.reshape(images.shape[0], -1)
        for layer in inner:
            activations = nnx.relu(layer(activations))
        return last(activations)
