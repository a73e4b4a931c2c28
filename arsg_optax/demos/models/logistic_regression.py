"""Multinomial logistic regression."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike


class LogisticRegression(nnx.Module):
    """One linear layer from pixels to class scores, zero at the start.

    Args:
        image_shape: shape of one image, without the batch axis; it is flattened.
        classes: number of classes.
        dtype: dtype of the computation, None for the inputs' and parameters' own.
        param_dtype: dtype in which the parameters are stored.
        rngs: not drawn from, as every parameter starts at zero; taken so that all
            models are made alike.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...] = (28, 28),
        classes: int = 10,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.linear = nnx.Linear(
            math.prod(image_shape),
            classes,
            kernel_init=nnx.initializers.zeros_init(),
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, *image_shape]` to class scores `[batch, classes]`."""
        return self.linear(images.reshape(images.shape[0], -1))
