"""Dtypes to compute and to store in, and rounding to bfloat16 without bias.

An average kept in bfloat16 with round-to-nearest never moves once its steps fall
below half a unit in the last place: 0.999 m + 0.001 g rounds back to m. Rounding
up or down at random, with the probability of the distance, keeps the average
unbiased. The random bits are a hash of step, salt and each element's position, so that
they need no key in the state and do not depend on how an array is sharded. Under `vmap`
every member of a population gets the same bits.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax._trees import check_params, leaf_dtype, map_updates


def check_storage_dtype(name: str, dtype: Any) -> jnp.dtype | None:
    """Normalises `mu_dtype` or `nu_dtype`.

    Args:
      name: the argument's name, for the message.
      dtype: None or anything NumPy takes for a dtype.

    Returns:
      None, or the dtype: bfloat16, float32 or float64.

    Raises:
      ValueError: for every other dtype; in float16 an eps of 1e-8 is 0.
    """
    if dtype is None:
        return None
    try:
        dtype = jnp.dtype(dtype)
    except TypeError as error:
        raise ValueError(
            f"{name} must be a dtype, got {dtype!r}; use for example jnp.bfloat16."
        ) from error
    if dtype not in (jnp.bfloat16, jnp.float32, jnp.float64):
        raise ValueError(
            f"{name} must be bfloat16, float32 or float64, got {dtype}; use bfloat16 "
            "for 16 bits (the range of float16 cannot hold squared gradients)."
        )
    return dtype


def compute_dtype(*leaves: Any) -> jnp.dtype:
    """float64 if a leaf has it, else float32: what statistics are computed in."""
    # Not jnp.promote_types, which refuses to mix the two under strict promotion.
    wide = any(leaf_dtype(leaf) == jnp.float64 for leaf in leaves)
    return jnp.dtype(jnp.float64 if wide else jnp.float32)


def cast_updates(
    updates: optax.Updates, params: optax.Params | None, incoming: optax.Updates
) -> optax.Updates:
    """Casts outgoing updates to the parameters' dtypes, or the incoming ones."""
    if params is None:
        params = incoming
    else:
        check_params(params, updates)
    return map_updates(lambda u, p: u.astype(leaf_dtype(p)), updates, params)


def stochastic_round(x: jax.Array, step: jax.Array, salt: int) -> jax.Array:
    """Rounds to bfloat16 so that the mean over steps and salts is x.

    Args:
      x: array of float32 or float64.
      step: () integer array.
      salt: integer in [0, 2**32).

    Returns:
      bfloat16 array of the same shape. Infinities and NaNs stay; a finite value
      stays finite.
    """
    seed = _mix(step.astype(jnp.uint32)) ^ jnp.uint32(salt)
    x = x.astype(jnp.float32)
    limit = jnp.float32(jnp.finfo(jnp.bfloat16).max)
    # The sixteen bits that bfloat16 drops decide by carrying into those it keeps.
    pattern = jax.lax.bitcast_convert_type(jnp.clip(x, -limit, limit), jnp.uint32)
    carried = pattern + (_position_bits(x.shape, seed) >> 16)
    kept = carried & jnp.uint32(0xFFFF0000)
    rounded = jax.lax.bitcast_convert_type(kept, jnp.float32)
    return jnp.where(jnp.isfinite(x), rounded, x).astype(jnp.bfloat16)


def _position_bits(shape: tuple[int, ...], seed: jax.Array) -> jax.Array:
    """Hashed bits, uint32, from a seed and each element's row-major position."""
    position = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = math.prod(shape[axis + 1 :]) % 2**32
        index = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        position = position + index * jnp.uint32(stride)
    return _mix(_mix(position) ^ seed)


def _mix(bits: jax.Array) -> jax.Array:
    """A 32-bit finalizer: every input bit flips each output bit half of the time.

    The multipliers and shifts are those of MurmurHash3's 32-bit finalizer.
    """
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)
