"""MobileNetV2 for ImageNet, after Sandler et al. (2018)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from arsg_optax.demos.models.layers import ConvNorm

# Expansion, channels, blocks, stride of the first block: the paper's table 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nnx.Module):
    """1x1 expansion, 3x3 depthwise convolution, 1x1 projection without activation.

    The input is added where the output has its shape. An expansion of 1 leaves the
    first convolution out.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output.
        stride: of the depthwise convolution.
        expansion: channels of the depthwise convolution for one of the input.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`MobileNetV2`.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stride: int = 1,
        expansion: int = 6,
        **numbers: Any,
    ):
        width = expansion * channels_in
        self.adds_input = stride == 1 and channels_in == channels_out
        self.expand = (
            None if expansion == 1 else ConvNorm(channels_in, width, 1, **numbers)
        )
        self.depthwise = ConvNorm(width, width, 3, stride, groups=width, **numbers)
        self.project = ConvNorm(width, channels_out, 1, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps one array of activations to the next.

        `[batch, h, w, channels_in]` to `[batch, h/stride, w/stride, channels_out]`,
        sizes rounded up.
        """
        inner = x if self.expand is None else nnx.relu6(self.expand(x))
        inner = self.project(nnx.relu6(self.depthwise(inner)))
        return x + inner if self.adds_input else inner


class MobileNetV2(nnx.Module):
    """A 3x3 convolution, 17 inverted residual blocks, a 1x1 convolution, a dense layer.

    3,504,872 parameters at width 1 and 1,968,680 at width 0.5, for 1000 classes. There
    is no dropout before the dense layer, as the AdaRem paper's protocol has none.

    Args:
        width: factor of all channel counts, above 0; they become multiples of 8. The
            last convolution's 1280 channels grow with it but do not shrink.
        classes: number of classes.
        dtype: dtype of the computation, None for the inputs' and parameters' own.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights (convolutions He normal by fan-out, dense
            layer normal with standard deviation 0.01; batch norm scales one, biases
            zero).

    Raises:
        ValueError: if `width` is not above 0.
    """

    def __init__(
        self,
        width: float = 1.0,
        classes: int = 1000,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if not width > 0:
            raise ValueError(f"width must be above 0 (1.0, 0.5, ...), got {width}")
        numbers = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        channels = round_channels(32 * width)
        self.stem = ConvNorm(3, channels, 3, stride=2, **numbers)
        blocks = []
        for expansion, base, count, first_stride in _STAGES:
            for stride in (first_stride,) + (1,) * (count - 1):
                wanted = round_channels(base * width)
                blocks.append(
                    InvertedResidual(channels, wanted, stride, expansion, **numbers)
                )
                channels = wanted
        self.blocks = nnx.List(blocks)
        head = round_channels(1280 * max(1.0, width))
        self.head = ConvNorm(channels, head, 1, **numbers)
        normal = nnx.initializers.normal(0.01)
        self.last = nnx.Linear(head, classes, kernel_init=normal, **numbers)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, h, w, 3]` to class scores `[batch, classes]`."""
        activations = nnx.relu6(self.stem(images))
        for block in self.blocks:
            activations = block(activations)
        activations = nnx.relu6(self.head(activations))
        return self.last(jnp.mean(activations, axis=(1, 2)))


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, but at least 8 and never below 0.9 `channels`.

    Halves are rounded up. The rule of the paper's reference implementation.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
