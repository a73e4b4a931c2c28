"""The convolutional network of the ARSG paper's MNIST experiment."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from arsg_optax.demos.models.layers import BatchNorm, max_pool


class MnistCNN(nnx.Module):
    """Two 5x5 convolutions of 20 and 50 channels, two dense layers, batch norm.

    Convolutions are not padded; each is followed by batch normalization and 2x2
    maximum pooling, the dense layer of 500 by batch normalization and ReLU.

    Args:
        image_shape: height and width of one image.
        classes: number of classes.
        dtype: dtype of the computation, None for the inputs' and parameters' own.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights (LeCun normal; the biases are zero).
    """

    def __init__(
        self,
        image_shape: tuple[int, int] = (28, 28),
        classes: int = 10,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        numbers = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        window = {"kernel_size": (5, 5), "padding": "VALID"}
        self.convolutions = nnx.List(
            nnx.Conv(channels_in, channels_out, **window, **numbers)
            for channels_in, channels_out in ((1, 20), (20, 50))
        )
        self.norms = nnx.List(BatchNorm(width, **numbers) for width in (20, 50, 500))
        # Each convolution takes four pixels off a side, each pooling halves it.
        pooled = [((size - 4) // 2 - 4) // 2 for size in image_shape]
        self.inner = nnx.Linear(50 * math.prod(pooled), 500, **numbers)
        self.last = nnx.Linear(500, classes, **numbers)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, height, width]` to class scores `[batch, classes]`."""
        activations = images[..., None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=False):
            activations = norm(convolution(activations))
            activations = max_pool(activations, (2, 2), (2, 2), "VALID")
        activations = activations.reshape(images.shape[0], -1)
        activations = nnx.relu(self.norms[-1](self.inner(activations)))
        return self.last(activations)
