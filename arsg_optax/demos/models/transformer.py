"""A decoder-only transformer, and the block that it shares with the vision transformer.

Every matrix is two-dimensional, `[inputs, outputs]`: a projection to heads has the
columns of all heads side by side, `heads * head_width` of them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

# Times 1 / sqrt(width): the deviation of the first logits, with a tied head. Larger
# embeddings learn faster, but then the first loss is not that of equal chances.
_FIRST_LOGITS = 0.4
_ROTARY_BASE = 10_000.0


class Attention(nnx.Module):
    """Dot-product attention, plain or with groups of heads that share keys and values.

    Args:
        width: of inputs and outputs.
        heads: of the queries; they divide `width` into head widths.
        key_value_heads: of keys and values; they divide `heads`.
        causal: whether a token sees those before it alone. Positions are then rotary.
        qk_norm: whether queries and keys are RMS-normalized in each head.
        out_init: initializer of the last projection.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`Transformer`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        key_value_heads: int,
        causal: bool,
        qk_norm: bool,
        out_init: nnx.Initializer,
        **numbers: Any,
    ):
        self.head_width, self.causal = width // heads, causal
        few = key_value_heads * self.head_width
        self.query = nnx.Linear(width, width, use_bias=False, **numbers)
        self.key = nnx.Linear(width, few, use_bias=False, **numbers)
        self.value = nnx.Linear(width, few, use_bias=False, **numbers)
        self.out = nnx.Linear(
            width, width, use_bias=False, kernel_init=out_init, **numbers
        )
        self.qk_norm = qk_norm
        if qk_norm:
            self.query_norm = nnx.RMSNorm(self.head_width, **numbers)
            self.key_norm = nnx.RMSNorm(self.head_width, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[batch, time, width]` to the same shape."""
        batch, time, width = x.shape
        query, key, value = (
            project(x).reshape(batch, time, -1, self.head_width)
            for project in (self.query, self.key, self.value)
        )
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.causal:
            query, key = rotate(query), rotate(key)
        mixed = jax.nn.dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(mixed.reshape(batch, time, width))


class MLP(nnx.Module):
    """Two dense layers with GELU between them, or SwiGLU: `down(silu(gate) * up)`.

    Args:
        width: of inputs and outputs.
        hidden: width between the layers.
        gated: whether it is SwiGLU.
        out_init: initializer of the last layer.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`Transformer`.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        gated: bool,
        out_init: nnx.Initializer,
        **numbers: Any,
    ):
        self.gated = gated
        if gated:
            self.gate = nnx.Linear(width, hidden, use_bias=False, **numbers)
        self.up = nnx.Linear(width, hidden, use_bias=False, **numbers)
        self.down = nnx.Linear(
            hidden, width, use_bias=False, kernel_init=out_init, **numbers
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., width]` to the same shape."""
        up = self.up(x)
        return self.down(nnx.silu(self.gate(x)) * up if self.gated else nnx.gelu(up))


class Block(nnx.Module):
    """Attention and an MLP, each behind an RMS norm and added to its own input.

    Args:
        width: of the residual stream.
        heads: see :class:`Attention`.
        depth: blocks of the network; what they add starts smaller by its root.
        key_value_heads: None for as many as `heads`.
        causal: see :class:`Attention`.
        qk_norm: see :class:`Attention`.
        mlp: `"swiglu"` or `"gelu"`.
        mlp_width: None for four times the width, or with SwiGLU eight thirds, rounded
            up to a multiple of 64, which has about as many parameters.
        numbers: `dtype`, `param_dtype` and `rngs` as in :class:`Transformer`.

    Raises:
        ValueError: if a number does not divide another, or `mlp` is unknown.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        depth: int,
        *,
        key_value_heads: int | None = None,
        causal: bool = True,
        qk_norm: bool = False,
        mlp: str = "swiglu",
        mlp_width: int | None = None,
        **numbers: Any,
    ):
        shared = heads if key_value_heads is None else key_value_heads
        _check(width, heads, shared, mlp)
        gated = mlp == "swiglu"
        hidden = mlp_width or (64 * -(-8 * width // 192) if gated else 4 * width)
        # Two branches a block: their sum starts as wide as one of them.
        out_init = nnx.initializers.variance_scaling(
            0.5 / depth, "fan_in", "truncated_normal"
        )
        self.attention_norm = nnx.RMSNorm(width, **numbers)
        self.attention = Attention(
            width, heads, shared, causal, qk_norm, out_init, **numbers
        )
        self.mlp_norm = nnx.RMSNorm(width, **numbers)
        self.mlp = MLP(width, hidden, gated, out_init, **numbers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[batch, time, width]` to the same shape."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nnx.Module):
    """Embedding, blocks of attention and MLP, and a softmax over the vocabulary.

    Norms come before what they feed, positions are rotary, nothing has a bias.

    Args:
        vocabulary_size: number of tokens.
        width: of the residual stream.
        depth: number of blocks.
        heads: see :class:`Attention`.
        tie_weights: whether the embedding is the softmax's matrix too.
        scan: whether the blocks' arrays are stacked along a first axis and the blocks
            a loop, so that the time to compile does not grow with `depth`. The values
            are those of separate blocks.
        remat: whether a block's activations are computed again in the backward pass
            rather than kept.
        dtype: dtype of the computation, None for `param_dtype`.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights: embedding and head normal with deviation
            `0.4 / sqrt(width)`, the others LeCun normal; those that add to the residual
            stream are divided by `sqrt(2 * depth)`, as GPT-2's.
        block: other arguments of :class:`Block`.

    Raises:
        ValueError: as :class:`Block`, and if there is no block.
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        *,
        tie_weights: bool = True,
        scan: bool = False,
        remat: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
        **block: Any,
    ):
        numbers: Any = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        small = embedding_init(width)
        self.embed = nnx.Embed(vocabulary_size, width, embedding_init=small, **numbers)
        self.layers = make_layers(
            lambda: Block(width, heads, depth, **block, **numbers), depth, scan
        )
        self.norm = nnx.RMSNorm(width, **numbers)
        if not tie_weights:
            plain: Any = {"use_bias": False, "kernel_init": small, **numbers}
            self.head = nnx.Linear(width, vocabulary_size, **plain)
        self.tie_weights, self.remat = tie_weights, remat

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Logits `[batch, time, vocabulary]` of the token after each.

        They are summed and stored in float32 at least, whatever the computation's
        dtype.

        Args:
            tokens: integers `[batch, time]`, in [0, vocabulary size).
        """
        x = self.norm(run_layers(self.layers, self.embed(tokens), self.remat))
        tied = self.tie_weights
        kernel = self.embed.embedding[...].T if tied else self.head.kernel[...]
        exact = jnp.promote_types(x.dtype, jnp.float32)
        return jnp.matmul(x, kernel.astype(x.dtype), preferred_element_type=exact)


Layers = Block | nnx.List


def embedding_init(width: int) -> nnx.Initializer:
    """An initializer for tables whose rows are `width` long."""
    return nnx.initializers.normal(_FIRST_LOGITS / width**0.5)


def make_layers(make: Callable[[], Block], depth: int, scan: bool) -> Layers:
    """Blocks in a list, or as one block whose arrays have a first axis of `depth`.

    Raises:
        ValueError: if there is no block.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    blocks = [make() for _ in range(depth)]
    if not scan:
        return nnx.List(blocks)
    states = [nnx.state(block) for block in blocks]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return nnx.merge(nnx.graphdef(blocks[0]), stacked)


def run_layers(layers: Layers, x: jax.Array, remat: bool) -> jax.Array:
    """One block after the other on `[batch, time, width]`."""

    def apply(graph: Any, state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(x)

    if remat:
        apply = jax.checkpoint(apply, static_argnums=0)
    if not isinstance(layers, Block):
        for layer in layers:
            x = apply(*nnx.split(layer), x)
        return x
    graph, states = nnx.split(layers)
    return jax.lax.scan(lambda x, state: (apply(graph, state, x), None), x, states)[0]


def rotate(x: jax.Array) -> jax.Array:
    """Rotary positions: pairs of features turn by angles that grow with time.

    Feature i and feature i + half of the width are a pair. Angles are computed in
    float32 at least.

    Args:
        x: `[batch, time, heads, head width]`, the width even.
    """
    half = x.shape[-1] // 2
    exact = jnp.promote_types(x.dtype, jnp.float32)
    frequencies = _ROTARY_BASE ** (-jnp.arange(half, dtype=exact) / half)
    angles = jnp.outer(jnp.arange(x.shape[1], dtype=exact), frequencies)
    cos, sin = (turn(angles)[None, :, None] for turn in (jnp.cos, jnp.sin))
    one, other = jnp.split(x.astype(exact), 2, axis=-1)
    turned = [one * cos - other * sin, other * cos + one * sin]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def _check(width: int, heads: int, key_value_heads: int, mlp: str) -> None:
    if heads < 1 or width % heads or width // heads % 2:
        raise ValueError(
            f"heads must divide width into even parts, got width {width} and {heads} "
            "heads"
        )
    if key_value_heads < 1 or heads % key_value_heads:
        raise ValueError(
            f"key_value_heads must divide the {heads} heads, got {key_value_heads}"
        )
    if mlp not in ("swiglu", "gelu"):
        raise ValueError(f"mlp must be 'swiglu' or 'gelu', got {mlp!r}")
