"""Hyper-parameters that the papers index by t: a number, an array or a schedule."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._validation import check_scheduled


def value_at(
    name: str, hyperparameter: Any, count: Any, scale: jax.Array | None = None
) -> float | jax.Array:
    """What a number, a scalar array or a schedule of the count is at an update.

    A Python or NumPy number comes as a float, so that `1 - b1` is formed in double
    precision before it meets a float32 array; all else as a scalar of JAX's default
    float dtype, and so does what a policy scales.

    Raises:
      ValueError: if a schedule gives no scalar, 16 bits where those do not do, or,
        where it can be read, a value out of range.
    """
    value: Any = hyperparameter
    if callable(hyperparameter):
        value = hyperparameter(count)
        check_scheduled(name, value, count)
    if isinstance(value, (int, float, np.generic, np.ndarray)):
        return scaled(float(value), scale)
    return scaled(as_scalar(value), scale)


def scaled(value: float | jax.Array, scale: jax.Array | None) -> float | jax.Array:
    """A value times the scale that a policy passed, if any, in JAX's default dtype."""
    return value if scale is None else value * as_scalar(scale)


def increment(count: jax.Array) -> jax.Array:
    """The next count: () int32, stays at the largest int32 instead of overflowing."""
    return jnp.asarray(optax.safe_increment(count))


def as_scalar(value: chex.Numeric) -> jax.Array:
    """A () array of JAX's default float dtype, never weakly typed.

    Always a copy: a state that aliased a caller's array could not be donated.
    """
    return jnp.array(value, default_float(), copy=True)


def default_float() -> jnp.dtype:
    """float64 under `jax_enable_x64`, else float32."""
    return jnp.dtype(jax.dtypes.canonicalize_dtype(float))
