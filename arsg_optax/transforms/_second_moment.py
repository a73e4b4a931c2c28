"""What the links that divide by an average of squared gradients have in common."""

import functools

import jax
import jax.numpy as jnp
import optax

from arsg_optax._moments import update_moment
from arsg_optax._precision import compute_dtype
from arsg_optax._rounding import SECOND_MOMENT
from arsg_optax._trees import per_leaf
from arsg_optax.transforms.combining import gradient_for_statistics


def averaged_squares(
    updates: optax.Updates,
    raw_gradient: optax.Updates | None,
    nu: optax.Updates,
    decay: float | jax.Array,
    step: jax.Array,
) -> optax.Updates:
    """The next second moment, stored.

    An element that has reached the largest number of its dtype stays there. It stands
    for any larger number, so an average that decayed from there would be far too small
    beside the momentum.

    Args:
      updates: what reaches the link.
      raw_gradient: what entered its chain, or None.
      nu: the second moment of the update before, as stored.
      decay: () decay rate.
      step: () int32, determines the random bits of bfloat16.

    Returns:
      Tree in the dtypes of `nu`; bfloat16 is rounded stochastically.
    """
    gradient = gradient_for_statistics(updates, raw_gradient, nu)
    return update_moment(gradient, nu, decay, step, SECOND_MOMENT, order=2, sticky=True)


@functools.partial(per_leaf, inline=True)
def root(squares: jax.Array) -> jax.Array:
    """The root in float32 at least; infinite where the square is saturated.

    A saturated square stands for any larger number, and the momentum above it is not
    bounded, so a finite root would let huge steps through. Four times a square beyond
    a quarter of the largest number is infinite, and otherwise exact; a comparison
    would do as well, and take half as long again to compile.
    """
    return 0.5 * jnp.sqrt(4 * squares.astype(compute_dtype(squares)))


def corrected_root(squares: jax.Array, weight: jax.Array, eps: jax.Array) -> jax.Array:
    """sqrt(v / weight) + eps of one array, whose quotient cannot overflow.

    Args:
      squares: v, an average of squares that starts at 0.
      weight: () total weight of the squares in it; 0 on a fresh state.
      eps: () positive constant.
    """
    correction = 1 / jnp.sqrt(jnp.where(weight > 0, weight, 1))
    r = root(squares)
    return r * correction.astype(r.dtype) + eps.astype(r.dtype)


def divide(updates: optax.Updates, denominators: optax.Updates) -> optax.Updates:
    """Updates over denominators, in float32 at least."""
    return jax.tree.map(quotient, updates, denominators)


@functools.partial(per_leaf, inline=True)
def quotient(update: jax.Array, denominator: jax.Array) -> jax.Array:
    """One update over one denominator, in float32 at least."""
    dtype = compute_dtype(update, denominator)
    return update.astype(dtype) / denominator.astype(dtype)
