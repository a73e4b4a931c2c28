"""Moments of gradients as optimizer states hold them: made, averaged, stored."""

import functools

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar
from arsg_optax._precision import compute_dtype
from arsg_optax._rounding import Draw, leaf_salt, stochastic_round
from arsg_optax._trees import per_leaf


def moments_like(
    params: optax.Params, dtype: jnp.dtype | None, fill: chex.Numeric = 0.0
) -> optax.Updates:
    """A tree of arrays for a moment, shaped and sharded as the parameters.

    The dtype None is the parameter's, but float32 at least. The parameters may be
    `jax.ShapeDtypeStruct`; the fill is ().
    """

    def moment(param):
        filled = jnp.full_like(param, fill, dtype=dtype or compute_dtype(param))
        # For a () parameter full_like returns the fill itself, which a caller may own.
        return jnp.array(filled, copy=True) if isinstance(fill, jax.Array) else filled

    return jax.tree.map(moment, params)


def update_moment(
    gradients: optax.Updates,
    moments: optax.Updates,
    decay: float | jax.Array,
    step: jax.Array,
    draw: Draw,
    *,
    order: int = 1,
    sticky: bool = False,
) -> optax.Updates:
    """decay * moment + (1 - decay) * gradient ** order, as the state holds it.

    Computed in float32 at least, returned in the moments' dtypes. A second moment that
    overflows saturates at the largest number that its stored dtype holds, and stays
    there if it is `sticky`. In bfloat16 it is rounded stochastically, by random bits
    that depend on the () int32 step, the leaf's path, the element and the draw.
    Whatever else an update needs of the moments it takes from the result, see
    docs/cost.md.
    """
    # Sums with a 0 made of the step, which XLA folds: a lowered program then names the
    # two numbers once, not once per leaf.
    zero = as_scalar(step * jnp.zeros_like(step))
    old, new = as_scalar(decay) + zero, as_scalar(1 - decay) + zero

    def advance(path, gradient, moment):
        salt = leaf_salt(path, draw.salt) if moment.dtype == jnp.bfloat16 else None
        # 1 - decay in double precision where the decay is a Python number.
        return _advance(
            gradient, moment, old, new, step, salt, draw.shift, order, sticky
        )

    return jax.tree_util.tree_map_with_path(advance, gradients, moments)


@functools.partial(per_leaf, static_argnums=(6, 7, 8))
def _advance(gradient, moment, old, new, step, salt, shift, order, sticky):
    dtype = compute_dtype(gradient, moment)
    g, m, old, new = (jnp.asarray(x, dtype) for x in (gradient, moment, old, new))
    fresh = old * m + new * (g if order == 1 else g * g)
    if order == 2:
        fresh = _saturate(fresh, moment)
    if sticky:
        largest = jnp.finfo(moment.dtype).max
        fresh = jnp.where(moment >= largest, jnp.asarray(largest, dtype), fresh)
    if salt is None:
        return fresh.astype(moment.dtype)
    return stochastic_round(fresh, step, salt, shift)


def _saturate(fresh: jax.Array, stored: jax.Array) -> jax.Array:
    """The fresh moment, but at most the largest number of its stored dtype.

    Written with max(largest, stored), the same number, so that XLA's CPU compiler need
    not keep the old moment beside the new one, see docs/cost.md.
    """
    largest = jnp.asarray(jnp.finfo(stored.dtype).max, fresh.dtype)
    return jnp.minimum(fresh, jnp.maximum(largest, stored.astype(fresh.dtype)))
