"""What the links that divide by an average of squared gradients have in common."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax._moments import update_moment
from arsg_optax._precision import cast_updates, compute_dtype
from arsg_optax._rounding import SECOND_MOMENT, rounding_step
from arsg_optax._trees import check_real, per_leaf
from arsg_optax.transforms.combining import gradient_for_statistics


def divide_by_root(
    start: Callable[[optax.Params], Any],
    advance: Callable[[Any, optax.Updates, jax.Array], Any],
) -> optax.GradientTransformationExtraArgs:
    """The link that divides updates by its state's `denominator()`.

    Args:
      start: makes the state, with fields `count` and `nu`, of parameters.
      advance: makes the next state of the state, of the gradient whose squares it
        averages, and of the () int32 that determines the random bits of bfloat16.
    """

    def init_fn(params):
        check_real("params", params)
        return start(params)

    def update_fn(
        updates,
        state,
        params=None,
        *,
        raw_gradient=None,
        shared_step=None,
        **extra_args,
    ):
        del extra_args
        gradient = gradient_for_statistics(updates, raw_gradient, state.nu)
        step = rounding_step(shared_step, state.count)
        new_state = advance(state, gradient, step)
        scaled = divide(updates, new_state.denominator())
        return cast_updates(scaled, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def averaged_squares(
    gradient: optax.Updates,
    nu: optax.Updates,
    decay: float | jax.Array,
    step: jax.Array,
) -> optax.Updates:
    """The next second moment, stored.

    An element that has reached the largest number of its dtype stays there. It stands
    for any larger number, so an average that decayed from there would be far too small
    beside the momentum.

    Args:
      gradient: tree of real arrays.
      nu: the second moment of the update before, as stored.
      decay: () decay rate.
      step: () int32, determines the random bits of bfloat16.

    Returns:
      Tree in the dtypes of `nu`; bfloat16 is rounded stochastically.
    """
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


@jax.custom_jvp
def root_from_zero(squares: jax.Array) -> jax.Array:
    """The same for squares that may be 0, where the derivative is 0 as well.

    So the updates of elements without a gradient can be differentiated.
    """
    return root(squares)


@root_from_zero.defjvp
def _root_derivative(primals, tangents):
    r = root(*primals)
    positive = r > 0
    slope = jnp.where(positive, 0.5 / jnp.where(positive, r, 1), 0)
    return r, slope * tangents[0].astype(r.dtype)


def corrected_root(
    squares: jax.Array, weight: jax.Array, eps: jax.Array, eps_root: Any = 0.0
) -> jax.Array:
    """sqrt(v / weight + eps_root) + eps of one array.

    Args:
      squares: v, an average of squares that starts at 0.
      weight: () total weight of the squares in it; 0 on a fresh state.
      eps: () positive constant.
      eps_root: () constant inside the root.
    """
    dtype = compute_dtype(squares)
    correction = (1 / jnp.where(weight > 0, weight, 1)).astype(dtype)
    inside = squares.astype(dtype) * correction + jnp.asarray(eps_root, dtype)
    return root_from_zero(inside) + eps.astype(dtype)


def divide(updates: optax.Updates, denominators: optax.Updates) -> optax.Updates:
    """Updates over denominators, in float32 at least."""
    return jax.tree.map(quotient, updates, denominators)


@functools.partial(per_leaf, inline=True)
def quotient(update: jax.Array, denominator: jax.Array) -> jax.Array:
    """One update over one denominator, in float32 at least."""
    dtype = compute_dtype(update, denominator)
    return update.astype(dtype) / denominator.astype(dtype)
