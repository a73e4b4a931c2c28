"""Moments of gradients as optimizer states hold them: made, averaged, stored."""

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._precision import compute_dtype
from arsg_optax._rounding import Draw, leaf_salt, stochastic_round
from arsg_optax._trees import per_leaf


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

    A second moment that overflows saturates at the largest number that its stored
    dtype holds.

    Args:
      gradients: tree of real arrays.
      moments: tree of the same shapes, as stored.
      decay: () decay rate.
      order: 1 or 2.

    Returns:
      Tree of the new moments in their compute dtypes, not yet stored.
    """
    # 1 - decay in double precision where the decay is a Python number.
    function = _average if order == 1 else _average_square
    return jax.tree.map(
        lambda g, m: function(g, m, decay, 1 - decay), gradients, moments
    )


@per_leaf
def _average(gradient, moment, old, new):
    dtype = compute_dtype(gradient, moment)
    g, m, old, new = (jnp.asarray(x, dtype) for x in (gradient, moment, old, new))
    return old * m + new * g


@per_leaf
def _average_square(gradient, moment, old, new):
    dtype = compute_dtype(gradient, moment)
    g, m, old, new = (jnp.asarray(x, dtype) for x in (gradient, moment, old, new))
    return _saturate(old * m + new * (g * g), moment)


def store(
    moments: optax.Updates, stored: optax.Updates, step: jax.Array, draw: Draw
) -> optax.Updates:
    """Casts fresh moments to the dtypes in which the state holds them.

    Whatever else an update needs of the moments it takes from the result: a compiler
    that fuses into loops of one output (XLA's for the CPU) would otherwise keep the
    fresh ones as temporary arrays.

    Args:
      moments: tree of arrays in their compute dtypes.
      stored: the moments of the update before, for the dtypes.
      step: () int32; with the leaf's path, the element's position and the draw it
        determines the random bits.
      draw: tells apart the moments of one optimizer.

    Returns:
      The tree in the dtypes of `stored`; bfloat16 is rounded stochastically.
    """

    def cast(path, value, old):
        if value.dtype == old.dtype:
            return value
        if old.dtype != jnp.bfloat16:
            return value.astype(old.dtype)
        return stochastic_round(value, step, leaf_salt(path, draw.salt), draw.shift)

    return jax.tree_util.tree_map_with_path(cast, moments, stored)


def _saturate(fresh: jax.Array, stored: jax.Array) -> jax.Array:
    """The smaller of a fresh moment and the largest number of its stored dtype.

    The limit is written max(largest, stored), which is the same, because no stored
    moment exceeds it. XLA's CPU compiler computes an operation of one array and a
    constant again in every loop that reads the result, and each such loop would need
    the old moment, which then could not be overwritten in place.
    """
    largest = jnp.asarray(jnp.finfo(stored.dtype).max, fresh.dtype)
    return jnp.minimum(fresh, jnp.maximum(largest, stored.astype(fresh.dtype)))
