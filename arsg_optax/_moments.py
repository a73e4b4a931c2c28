"""Moments of gradients as optimizer states hold them: made, averaged, stored."""

import zlib

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._precision import compute_dtype, stochastic_round


def moments_like(
    params: optax.Params, dtype: jnp.dtype | None, fill: chex.Numeric = 0.0
) -> optax.Updates:
    """A tree of arrays for a moment, sharded as the parameters.

    Args:
      params: tree of arrays or of `jax.ShapeDtypeStruct`.
      dtype: storage dtype; None is the parameter's, but float32 at least.
      fill: () value of every element.

    Returns:
      Tree of arrays with the parameters' shapes.
    """

    def moment(param):
        return jnp.full_like(param, fill, dtype=dtype or compute_dtype(param))

    return jax.tree.map(moment, params)


def update_moment(
    gradients: optax.Updates,
    moments: optax.Updates,
    decay: float | jax.Array,
    order: int = 1,
) -> optax.Updates:
    """decay * moment + (1 - decay) * gradient ** order, in float32 at least.

    A second moment that overflows saturates at the largest finite number.

    Args:
      gradients: tree of real arrays.
      moments: tree of the same shapes, as stored.
      decay: () decay rate.
      order: 1 or 2.

    Returns:
      Tree of the new moments in their compute dtypes, not yet stored.
    """

    def average(gradient, moment):
        dtype = compute_dtype(gradient, moment)
        g, m = gradient.astype(dtype), moment.astype(dtype)
        old, new = jnp.asarray(decay, dtype), jnp.asarray(1 - decay, dtype)
        if order == 1:
            return old * m + new * g
        return jnp.minimum(old * m + new * (g * g), jnp.finfo(dtype).max)

    return jax.tree.map(average, gradients, moments)


def store(
    moments: optax.Updates, stored: optax.Updates, count: jax.Array, salt: str
) -> optax.Updates:
    """Casts fresh moments to the dtypes in which the state holds them.

    Args:
      moments: tree of arrays in their compute dtypes.
      stored: the moments of the update before, for the dtypes.
      count: () int32, the update; with the leaf's path, the element's position
        and the salt it determines the random bits.
      salt: tells apart the moments of one optimizer.

    Returns:
      The tree in the dtypes of `stored`; bfloat16 is rounded stochastically.
    """

    def cast(path, value, old):
        if old.dtype != jnp.bfloat16:
            return value.astype(old.dtype)
        leaf = zlib.crc32(f"{salt}{jax.tree_util.keystr(path)}".encode())
        return stochastic_round(value, step=count, salt=leaf)

    return jax.tree_util.tree_map_with_path(cast, moments, stored)


def store_nearest(moments: optax.Updates, stored: optax.Updates) -> optax.Updates:
    """Casts to the dtypes of `stored`, to nearest and never to infinity."""

    def cast(value, old):
        limit = jnp.asarray(jnp.finfo(old.dtype).max, value.dtype)
        return jnp.minimum(value, limit).astype(old.dtype)

    return jax.tree.map(cast, moments, stored)
