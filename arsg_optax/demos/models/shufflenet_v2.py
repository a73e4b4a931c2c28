"""ShuffleNetV2 for ImageNet, after Ma et al. (2018)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from arsg_optax.demos.models.layers import ConvNorm, max_pool

# Channels of the three stages and of the last convolution: the paper's table 5.
_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
_BLOCKS = (4, 8, 4)


class ShuffleBranch(nnx.Module):
    """1x1, 3x3 depthwise and 1x1 convolution; ReLU after the first and the last.

    Args:
        channels_in: channels of the input.
        width: channels of the three convolutions.
        stride: of the depthwise convolution.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`ShuffleNetV2`.
    """

    def __init__(self, channels_in: int, width: int, stride: int = 1, **numbers: Any):
        self.first = ConvNorm(channels_in, width, 1, **numbers)
        self.depthwise = ConvNorm(width, width, 3, stride, groups=width, **numbers)
        self.last = ConvNorm(width, width, 1, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, h, w, channels_in]` to `[batch, h/stride, w/stride, width]`."""
        return nnx.relu(self.last(self.depthwise(nnx.relu(self.first(x)))))


class ShuffleUnit(nnx.Module):
    """Half of the channels pass by, the others go through a branch; then a shuffle.

    Source: Ma et al., figure 3c.

    Args:
        channels: of the input and of the output, even.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`ShuffleNetV2`.
    """

    def __init__(self, channels: int, **numbers: Any):
        self.branch = ShuffleBranch(channels // 2, channels // 2, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, h, w, channels]` to the same shape."""
        passing, changed = jnp.split(x, 2, axis=-1)
        return channel_shuffle(jnp.concatenate([passing, self.branch(changed)], -1))


class ShuffleDownUnit(nnx.Module):
    """All channels go through two branches of stride 2; then a shuffle.

    Source: Ma et al., figure 3d.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output, even.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`ShuffleNetV2`.
    """

    def __init__(self, channels_in: int, channels_out: int, **numbers: Any):
        width = channels_out // 2
        self.depthwise = ConvNorm(
            channels_in, channels_in, 3, stride=2, groups=channels_in, **numbers
        )
        self.project = ConvNorm(channels_in, width, 1, **numbers)
        self.branch = ShuffleBranch(channels_in, width, stride=2, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, h, w, channels_in]` to `[batch, h/2, w/2, channels_out]`.

        Odd sizes are rounded up.
        """
        shortcut = nnx.relu(self.project(self.depthwise(x)))
        return channel_shuffle(jnp.concatenate([shortcut, self.branch(x)], -1))


class ShuffleNetV2(nnx.Module):
    """A 3x3 convolution and pooling, 16 units, a 1x1 convolution, a dense layer.

    2,278,604 parameters at width 1 and 1,366,792 at width 0.5, for 1000 classes.

    Args:
        width: complexity of the paper's table 5: 0.5, 1.0, 1.5 or 2.0.
        classes: number of classes.
        dtype: dtype of the computation, None for the inputs' and parameters' own.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights (convolutions He normal by fan-out, where
            the authors' code has standard deviations of its own; dense layer normal
            with standard deviation 0.01; batch norm scales one, biases zero).

    Raises:
        ValueError: if `width` is not one of those.
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
        if width not in _CHANNELS:
            allowed = ", ".join(map(str, _CHANNELS))
            raise ValueError(f"width must be one of {allowed}, got {width}")
        numbers = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        *stages, head = _CHANNELS[width]
        self.stem = ConvNorm(3, 24, 3, stride=2, **numbers)
        units, channels = [], 24
        for wanted, count in zip(stages, _BLOCKS, strict=True):
            units.append(ShuffleDownUnit(channels, wanted, **numbers))
            units.extend(ShuffleUnit(wanted, **numbers) for _ in range(count - 1))
            channels = wanted
        self.units = nnx.List(units)
        self.head = ConvNorm(channels, head, 1, **numbers)
        normal = nnx.initializers.normal(0.01)
        self.last = nnx.Linear(head, classes, kernel_init=normal, **numbers)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, h, w, 3]` to class scores `[batch, classes]`."""
        activations = nnx.relu(self.stem(images))
        activations = max_pool(activations, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for unit in self.units:
            activations = unit(activations)
        activations = nnx.relu(self.head(activations))
        return self.last(jnp.mean(activations, axis=(1, 2)))


def channel_shuffle(x: jax.Array, groups: int = 2) -> jax.Array:
    """Takes a channel of each group in turn, where the groups lay one after another.

    With two groups, channels 0 1 2 3 4 5 become 0 3 1 4 2 5.

    Args:
        x: `[..., channels]`, `channels` a multiple of `groups`.
        groups: number of groups.

    Returns:
        The channels of `x` in the new order.
    """
    *leading, channels = x.shape
    grouped = x.reshape(*leading, groups, channels // groups)
    return jnp.swapaxes(grouped, -1, -2).reshape(x.shape)
