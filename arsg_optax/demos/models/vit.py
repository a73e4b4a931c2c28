"""A vision transformer for small images."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from arsg_optax.demos.models.transformer import (
    Block,
    embedding_init,
    make_layers,
    run_layers,
)


class ViT(nnx.Module):
    """Square patches, blocks of attention and MLP, and a dense layer.

    The blocks are the language model's, with GELU, attention in both directions and
    learned positions.

    Args:
        image_size: height and width of the images.
        patch_size: height and width of a patch; it divides `image_size`.
        width: of the residual stream.
        depth: number of blocks.
        heads: they divide `width` into head widths.
        classes: number of classes.
        class_token: whether a token beside the patches is read, or the mean of them.
        scan: see :class:`arsg_optax.demos.models.Transformer`.
        remat: likewise.
        dtype: dtype of the computation, None for the inputs' and parameters' own.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights; the last layer is zero.
        block: other arguments of the blocks, as of the language model's.

    Raises:
        ValueError: if a number does not divide another.
    """

    def __init__(
        self,
        image_size: int = 32,
        patch_size: int = 4,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
        classes: int = 10,
        *,
        class_token: bool = False,
        scan: bool = False,
        remat: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
        **block: Any,
    ):
        if image_size % patch_size:
            raise ValueError(
                f"patch_size must divide image_size {image_size}, got {patch_size}"
            )
        numbers: Any = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        block = {"causal": False, "mlp": "gelu", **block}
        small = embedding_init(width)
        tokens = (image_size // patch_size) ** 2 + class_token
        self.patch_embed = nnx.Linear(3 * patch_size**2, width, **numbers)
        self.position = nnx.Embed(tokens, width, embedding_init=small, **numbers)
        if class_token:
            self.class_token = nnx.Param(small(rngs.params(), (width,), param_dtype))
        self.layers = make_layers(
            lambda: Block(width, heads, depth, **block, **numbers), depth, scan
        )
        self.norm = nnx.RMSNorm(width, **numbers)
        zeros = nnx.initializers.zeros
        self.head = nnx.Linear(width, classes, kernel_init=zeros, **numbers)
        self.patch_size, self.remat = patch_size, remat
        self.has_class_token = class_token

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images `[batch, size, size, 3]` to class scores `[batch, classes]`."""
        x = self.patch_embed(patches(images, self.patch_size))
        if self.has_class_token:
            token = self.class_token[...].astype(x.dtype)[None, None]
            token = jnp.broadcast_to(token, (len(x), 1, x.shape[-1]))
            x = jnp.concatenate([token, x], axis=1)
        x = x + self.position(jnp.arange(x.shape[1]))[None]
        x = self.norm(run_layers(self.layers, x, self.remat))
        return self.head(x[:, 0] if self.has_class_token else jnp.mean(x, axis=1))


def patches(images: jax.Array, size: int) -> jax.Array:
    """Square patches, from left to right and from top to bottom.

    Args:
        images: `[batch, height, width, channels]`.
        size: of a patch, a divisor of height and width.

    Returns:
        `[batch, patches, size * size * channels]`.
    """
    batch, height, width, channels = images.shape
    rows, columns = height // size, width // size
    cut = images.reshape(batch, rows, size, columns, size, channels)
    return cut.swapaxes(2, 3).reshape(batch, rows * columns, size * size * channels)
