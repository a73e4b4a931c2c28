"""ResNet-20 for CIFAR-10 with parameter-free shortcuts, after He et al. (2016)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from arsg_optax.demos.models.layers import ConvNorm


class CifarBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut without parameters.

    Args:
        channels_in: channels of the input.
        channels_out: channels of both convolutions and of the output, not fewer.
        stride: of the first convolution and of the shortcut.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`ResNetCifar`.
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int = 1, **numbers: Any
    ):
        self.channels_out = channels_out
        self.stride = stride
        self.first = ConvNorm(channels_in, channels_out, 3, stride, **numbers)
        self.second = ConvNorm(channels_out, channels_out, 3, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps one array of activations to the next.

        `[batch, h, w, channels_in]` to `[batch, h/stride, w/stride, channels_out]`,
        sizes rounded up.
        """
        inner = self.second(nnx.relu(self.first(x)))
        return nnx.relu(inner + padded_shortcut(x, self.channels_out, self.stride))


class ResNetCifar(nnx.Module):
    """A 3x3 convolution, three stages of residual blocks, a dense layer.

    The stages have 16, 32 and 64 channels; the second and the third begin with stride
    2. For depth 20 and 10 classes there are 269,722 parameters.

    Args:
        depth: layers with weights: 6 n + 2 for n blocks a stage.
        classes: number of classes.
        dtype: dtype of the computation, None for the inputs' and parameters' own.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights (convolutions He normal by fan-out, dense
            layer LeCun normal; batch norm scales one, biases zero).

    Raises:
        ValueError: if `depth` is none of 8, 14, 20, 26, ...

    Source: He et al., Deep residual learning for image recognition, section 4.2, with
    the shortcuts that it calls option A.
    """

    def __init__(
        self,
        depth: int = 20,
        classes: int = 10,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6 n + 2 (8, 14, 20, ...), got {depth}")
        numbers = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.stem = ConvNorm(3, 16, 3, **numbers)
        blocks, channels = [], 16
        for width in (16, 32, 64):
            for _ in range((depth - 2) // 6):
                stride = 1 if width == channels else 2
                blocks.append(CifarBlock(channels, width, stride, **numbers))
                channels = width
        self.blocks = nnx.List(blocks)
        self.last = nnx.Linear(channels, classes, **numbers)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, h, w, 3]` to class scores `[batch, classes]`.

        Any `h` and `w` will do, as the last activations are averaged over the image.
        """
        activations = nnx.relu(self.stem(images))
        for block in self.blocks:
            activations = block(activations)
        return self.last(jnp.mean(activations, axis=(1, 2)))


def padded_shortcut(x: jax.Array, channels_out: int, stride: int) -> jax.Array:
    """Every `stride`-th pixel, with channels of zeros added behind the others.

    Args:
        x: `[batch, h, w, channels]`.
        channels_out: channels of the result, not fewer than `x` has.
        stride: pixels from one that is kept to the next.

    Returns:
        `[batch, h/stride, w/stride, channels_out]`, sizes rounded up, `x`'s dtype.
    """
    missing = channels_out - x.shape[-1]
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, missing)))
