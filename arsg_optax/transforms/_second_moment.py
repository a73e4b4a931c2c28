"""What the links that divide by an average of squared gradients have in common.

Their states hold constants as `applied_eps` and so on: `optax.tree.get` would find a
field `eps` of theirs in the place of an injected hyper-parameter.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import increment, value_at
from arsg_optax._moments import moments_like, update_moment
from arsg_optax._precision import cast_updates, check_storage_dtype, compute_dtype
from arsg_optax._rounding import SECOND_MOMENT
from arsg_optax._trees import check_real, per_leaf
from arsg_optax.transforms.combining import gradient_for_statistics


def divide_by_root(
    start: Callable[[jax.Array, optax.Updates], Any],
    advance: Callable[[Any, Any, jax.Array, optax.Updates], Any],
    b2: Any,
    nu_dtype: Any,
    sticky: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """The link that averages squares and divides by its state's `denominator()`.

    Args:
      start: makes the state of its count and its second moment `nu`.
      advance: makes the next state of the last one, b2, and its own count and `nu`.
      b2: decay rate of the second moment.
      nu_dtype: dtype to store it in, or None.
      sticky: an element that has reached the largest number of its dtype stays there.
        It stands for any larger number, so an average that decayed from there would be
        far too small beside the momentum.
    """
    dtype = check_storage_dtype("nu_dtype", nu_dtype)

    def init_fn(params):
        check_real("params", params)
        return start(jnp.zeros([], jnp.int32), moments_like(params, dtype))

    def update_fn(
        updates, state, params=None, *, raw_gradient=None, shared_step=None, **_
    ):
        gradient = gradient_for_statistics(updates, raw_gradient, state.nu)
        step = state.count if shared_step is None else shared_step
        beta = value_at("b2", b2, state.count)
        nu = update_moment(
            gradient, state.nu, beta, step, SECOND_MOMENT, order=2, sticky=sticky
        )
        state = advance(state, beta, increment(state.count), nu)
        return cast_updates(
            divide(updates, state.denominator()), params, updates
        ), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


@functools.partial(per_leaf, inline=True)
def root(squares: jax.Array) -> jax.Array:
    """The root in float32 at least; infinite where the square is saturated.

    A saturated square stands for any larger number, so a finite root would let huge
    steps through. Four times a square beyond a quarter of the largest number is
    infinite, and otherwise exact; a comparison takes half as long again to compile.
    """
    return 0.5 * jnp.sqrt(4 * squares.astype(compute_dtype(squares)))


@jax.custom_jvp
def root_from_zero(squares: jax.Array) -> jax.Array:
    """The same for squares that may be 0, where its derivative is 0, not infinite."""
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
    """sqrt(v / weight + eps_root) + eps of one array; the weight may still be 0."""
    dtype = compute_dtype(squares)
    correction = (1 / jnp.where(weight > 0, weight, 1)).astype(dtype)
    inside = squares.astype(dtype) * correction + jnp.asarray(eps_root, dtype)
    return root_from_zero(inside) + eps.astype(dtype)


def divide(updates: optax.Updates, denominators: optax.Updates) -> optax.Updates:
    """Updates over denominators, in float32 at least."""
    return jax.tree.map(_quotient, updates, denominators)


@functools.partial(per_leaf, inline=True)
def _quotient(update, denominator):
    dtype = compute_dtype(update, denominator)
    return update.astype(dtype) / denominator.astype(dtype)
