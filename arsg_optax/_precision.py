"""Dtypes to compute and to store in."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax._trees import check_params, leaf_dtype, map_updates


def check_storage_dtype(name: str, dtype: Any) -> jnp.dtype | None:
    """Normalises `mu_dtype` or `nu_dtype`: None, bfloat16, float32 or float64.

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


def product(one: Any, other: Any) -> jax.Array:
    """The product of two arrays in float32 at least."""
    dtype = compute_dtype(one, other)
    return jnp.asarray(one, dtype) * jnp.asarray(other, dtype)


def cast_updates(
    updates: optax.Updates, params: optax.Params | None, incoming: optax.Updates
) -> optax.Updates:
    """Casts outgoing updates to the parameters' dtypes, or the incoming ones."""
    if params is None:
        params = incoming
    else:
        check_params(params, updates)

    def cast(update, param):
        dtype = leaf_dtype(param)
        return update if update.dtype == dtype else update.astype(dtype)

    return map_updates(cast, updates, params)
