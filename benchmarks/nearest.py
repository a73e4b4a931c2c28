"""What stochastic rounding is for: any optimizer with its state rounded to nearest."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def stored_to_nearest(
    optimizer: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """Keeps the float32 arrays of an optimizer's state in bfloat16, to nearest."""

    def narrow(tree: Any) -> Any:
        return jax.tree.map(lambda x: _cast(x, jnp.float32, jnp.bfloat16), tree)

    def init_fn(params: Any) -> Any:
        return narrow(optimizer.init(params))

    def update_fn(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        wide = jax.tree.map(lambda x: _cast(x, jnp.bfloat16, jnp.float32), state)
        updates, wide = optimizer.update(updates, wide, params, **extra)
        return updates, narrow(wide)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _cast(leaf: jax.Array, from_dtype: Any, to_dtype: Any) -> jax.Array:
    # Scalars are counts, rates and weights, which no storage would narrow.
    return leaf.astype(to_dtype) if leaf.ndim and leaf.dtype == from_dtype else leaf
