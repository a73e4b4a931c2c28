"""ResNet-18 and ResNet-50 for ImageNet, after He et al. (2016)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from arsg_optax.demos.models.layers import ConvNorm, max_pool


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., figure 5, left).

    The shortcut is the input itself, or a 1x1 convolution with batch normalization
    where the shape changes.

    Args:
        channels_in: channels of the input.
        width: channels of both convolutions and of the output.
        stride: of the first convolution and of the shortcut.
        numbers: as in :class:`ConvNorm`.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, channels_in: int, width: int, stride: int = 1, **numbers: Any):
        self.first = ConvNorm(channels_in, width, 3, stride, **numbers)
        self.second = ConvNorm(width, width, 3, **numbers)
        self.shortcut = _projection(channels_in, width, stride, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, h, w, channels_in]` to `[batch, h/stride, w/stride, width]`."""
        inner = self.second(nnx.relu(self.first(x)))
        return nnx.relu(inner + (x if self.shortcut is None else self.shortcut(x)))


class BottleneckBlock(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (He et al., figure 5, right).

    The stride is in the 3x3 convolution, not in the first one as in the paper: the
    variant known as v1.5, to which the published accuracies belong.

    Args:
        channels_in: channels of the input.
        width: channels of the inner convolutions; the output has four times as many.
        stride: of the 3x3 convolution and of the shortcut.
        numbers: as in :class:`ConvNorm`.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, channels_in: int, width: int, stride: int = 1, **numbers: Any):
        channels_out = self.expansion * width
        self.first = ConvNorm(channels_in, width, 1, **numbers)
        self.second = ConvNorm(width, width, 3, stride, **numbers)
        self.third = ConvNorm(width, channels_out, 1, **numbers)
        self.shortcut = _projection(channels_in, channels_out, stride, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, h, w, channels_in]` to `[batch, h/stride, w/stride, 4 width]`."""
        inner = nnx.relu(self.second(nnx.relu(self.first(x))))
        inner = self.third(inner)
        return nnx.relu(inner + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """A 7x7 convolution and pooling, stages of residual blocks, a dense layer.

    Each stage but the first begins with stride 2 and has twice the channels of the
    one before, so the image is 32 times smaller in the end if there are four.

    Args:
        block: kind of the residual blocks.
        stages: number of blocks in each stage.
        width: channels of the stem and of the first stage's inner convolutions.
        classes: number of classes.
        dtype: dtype of the computation, None for the inputs' and parameters' own.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights (convolutions He normal by fan-out, dense
            layer LeCun normal; batch norm scales one, also the last one of a block;
            biases zero).
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[BottleneckBlock],
        stages: Sequence[int],
        width: int = 64,
        classes: int = 1000,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        numbers = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.stem = ConvNorm(3, width, 7, stride=2, **numbers)
        blocks, channels = [], width
        for stage, count in enumerate(stages):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(channels, width * 2**stage, stride, **numbers))
                channels = block.expansion * width * 2**stage
        self.blocks = nnx.List(blocks)
        self.last = nnx.Linear(channels, classes, **numbers)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, h, w, 3]` to class scores `[batch, classes]`."""
        activations = nnx.relu(self.stem(images))
        activations = max_pool(activations, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for block in self.blocks:
            activations = block(activations)
        return self.last(jnp.mean(activations, axis=(1, 2)))


class ResNet18(ResNet):
    """ResNet of 2, 2, 2, 2 basic blocks: 11,689,512 parameters for 1000 classes.

    Args:
        classes: number of classes.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`ResNet`.
    """

    def __init__(self, classes: int = 1000, **numbers: Any):
        super().__init__(BasicBlock, (2, 2, 2, 2), classes=classes, **numbers)


class ResNet50(ResNet):
    """ResNet of 3, 4, 6, 3 bottleneck blocks: 25,557,032 parameters for 1000 classes.

    Args:
        classes: number of classes.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`ResNet`.
    """

    def __init__(self, classes: int = 1000, **numbers: Any):
        super().__init__(BottleneckBlock, (3, 4, 6, 3), classes=classes, **numbers)


def _projection(
    channels_in: int, channels_out: int, stride: int, **numbers: Any
) -> ConvNorm | None:
    if stride == 1 and channels_in == channels_out:
        return None
    return ConvNorm(channels_in, channels_out, 1, stride, **numbers)
