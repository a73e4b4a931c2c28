r"""Gain and noise along time: RSG on a quadratic while its coefficients move.

With the curvature λ, :math:`\tau_t = \alpha_t\lambda`, the momentum divided by the
curvature, w, and the deviation s of the held parameters from the minimum, the concise
form is

    w <- b1 w + (1 - b1) (s + δ),    s <- s - tau ((1 - observation) w + observation
    (s + δ)),

and the exact form moves the iterate by -tau w and holds s ahead of it, by distance
times that step. Each update is a 2x2 matrix. Their product acts on the mean, and
S <- A S A' + b b' is the covariance of what the noise δ leaves.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from arsg_optax._validation import check_number
from arsg_optax.dynamics._arguments import (
    check_b1,
    check_nonnegative,
    check_observation,
    common_dtype,
)

_Moving: TypeAlias = ArrayLike | Callable[[jax.Array], ArrayLike]


class GainAndNoise(NamedTuple):
    """What is left of a start and of noise after each count: shape (counts, ...).

    Attributes:
      gain: mean deviation of the held parameters per deviation at the start,
        dimensionless, negative where they have crossed the minimum.
      noise: variance of that deviation per variance of the gradient's error divided by
        the curvature, dimensionless.
      iterate_gain: the gain at the iterate, what `arsg_optax.eval_params` returns.
      iterate_noise: the noise there.
    """

    gain: jax.Array
    noise: jax.Array
    iterate_gain: jax.Array
    iterate_noise: jax.Array


def gain_and_noise(
    curvature: ArrayLike,
    learning_rate: _Moving,
    b1: _Moving,
    observation: _Moving | None = None,
    *,
    distance: _Moving | None = None,
    exact: bool = False,
    counts: ArrayLike,
) -> GainAndNoise:
    """Gain and noise of RSG after each number of updates, under any schedules.

    The arguments before `counts` are those of :func:`arsg_optax.rsg`, so that
    `gain_and_noise(curvature, **params._asdict(), counts=counts)` describes a method
    that `arsg_optax.hyperparams` has converted. The start is the optimizer's, with
    momentum 0. Errors of the gradients are independent from step to step. With a start
    at a deviation of d and a variance V of the gradient's error, the expected loss
    above the minimum is `curvature / 2 * (d**2 * gain**2 + V / curvature**2 * noise)`.

    With constant coefficients `noise` tends to :func:`variance_limit`. Only the counts
    asked for are stored; time is proportional to the largest one.

    Args:
      curvature: λ in loss per parameter², any sign.
      learning_rate: α in parameter² per loss, or a schedule of the number of updates so
        far, counted from 0, as are all schedules here.
      b1: momentum decay, dimensionless, in [0, 1), or a schedule.
      observation: observation factor, dimensionless, in [0, 1), or a schedule; None
        where distance is given.
      distance: observation distance in momentum steps, at least 0, or a schedule.
      exact: the exact two-point form instead of the concise one.
      counts: numbers of updates, shape (counts,), integers of at least 0 in increasing
        order, not traced.

    Returns:
      :class:`GainAndNoise`, where ... is the broadcast shape of all other arguments and
      of the schedules' values. Infinite or NaN where it diverges beyond the dtype.

    Raises:
      ValueError: if a number is out of range (arrays and schedules are not checked), if
        counts are not as above, or if not exactly one of observation and distance is
        given.

    Source: ARSG eq. 2, 3 and 10, with coefficients that depend on time.
    """
    _check(curvature, learning_rate, b1, observation, distance)
    at = _checked_counts(counts)
    values = (curvature, learning_rate, b1, observation, distance)
    dtype = common_dtype(*(each for each in values if _is_constant(each)))
    steps = jnp.arange(at[-1])
    # Schedules become tables with one row a step; other values stay as they are.
    tables = [
        jnp.asarray(jax.vmap(each)(steps), dtype) if callable(each) else None
        for each in values
    ]
    constants = [
        jnp.asarray(each, dtype) if _is_constant(each) else None for each in values
    ]
    tails = [each.shape[1:] for each in tables if each is not None]
    shape = jnp.broadcast_shapes(
        *tails, *(each.shape for each in constants if each is not None)
    )
    constants = [
        None if each is None else jnp.broadcast_to(each, shape) for each in constants
    ]
    # The place that step t + 1 writes to; the last to write is the count itself.
    slots = jnp.asarray(np.searchsorted(at, np.arange(1, at[-1] + 1)), jnp.int32)
    return _run(constants, tables, slots, len(at), shape, dtype, exact)


class _Step(NamedTuple):
    """Coefficients of an update, each of the broadcast shape."""

    tau: jax.Array
    b1: jax.Array
    observation: jax.Array
    distance: jax.Array


class _Moments(NamedTuple):
    """Mean and covariance of w and of the parameter z: s, or the exact iterate.

    The other point is z plus or minus `offset` w.
    """

    w: jax.Array
    z: jax.Array
    ww: jax.Array
    wz: jax.Array
    zz: jax.Array
    offset: jax.Array


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _run(constants, tables, slots, length, shape, dtype, exact):
    zero = jnp.zeros(shape, dtype)
    start = _Moments(zero, zero + 1, zero, zero, zero, zero)
    found = jax.tree.map(
        lambda first: jnp.zeros((length, *shape), dtype).at[0].set(first),
        _both_points(start, exact),
    )

    def step(carry, now):
        state, found = carry
        rows, slot = now
        current = [
            each if row is None else jnp.broadcast_to(row, shape)
            for each, row in zip(constants, rows, strict=True)
        ]
        state = _update(state, _coefficients(*current), exact)
        points = _both_points(state, exact)
        found = jax.tree.map(lambda all_, one: all_.at[slot].set(one), found, points)
        return (state, found), None

    return lax.scan(step, (start, found), (tables, slots))[0][1]


def _coefficients(curvature, learning_rate, b1, observation, distance) -> _Step:
    if distance is None:
        distance = observation * b1 / (1 - b1)
    else:
        has_momentum = b1 > 0
        ratio = distance * (1 - b1) / jnp.where(has_momentum, b1, 1)
        # Without momentum no factor makes a distance.
        infinite = jnp.where(distance > 0, jnp.inf, 0)
        observation = jnp.where(has_momentum, ratio, infinite)
    return _Step(learning_rate * curvature, b1, observation, distance)


def _update(state: _Moments, now: _Step, exact: bool) -> _Moments:
    # The gradient divided by the curvature is z - ahead w + δ.
    ahead = state.offset if exact else jnp.zeros_like(state.offset)
    observation = jnp.zeros_like(now.b1) if exact else now.observation
    fresh = 1 - now.b1
    # Rows of the matrix, and the newest gradient's weights in w and z.
    a, b = now.b1 - fresh * ahead, fresh
    kick = now.tau * (fresh + now.b1 * observation)
    c = -now.tau * (1 - observation) * now.b1 + kick * ahead
    d = 1 - kick
    return _Moments(
        w=a * state.w + b * state.z,
        z=c * state.w + d * state.z,
        ww=a * a * state.ww + 2 * a * b * state.wz + b * b * state.zz + fresh**2,
        wz=a * c * state.ww
        + (a * d + b * c) * state.wz
        + b * d * state.zz
        - fresh * kick,
        zz=c * c * state.ww + 2 * c * d * state.wz + d * d * state.zz + kick**2,
        offset=now.distance * now.tau,
    )


def _both_points(state: _Moments, exact: bool) -> GainAndNoise:
    """The held parameters are z, or ahead of it in the exact form."""
    offset = -state.offset if exact else state.offset
    gain = state.z + offset * state.w
    noise = state.zz + 2 * offset * state.wz + offset**2 * state.ww
    if exact:
        return GainAndNoise(gain, noise, state.z, state.zz)
    return GainAndNoise(state.z, state.zz, gain, noise)


def _is_constant(value: Any) -> bool:
    return value is not None and not callable(value)


def _check(curvature, learning_rate, b1, observation, distance) -> None:
    check_number("curvature", curvature, -np.inf, "()", np.inf, "pass an eigenvalue")
    if (observation is None) == (distance is None):
        raise ValueError(
            "exactly one of observation and distance must be given, got "
            f"{observation!r} and {distance!r}; both say how far ahead the gradient "
            "is taken."
        )
    check_nonnegative("learning_rate", learning_rate, "a step descends")
    check_b1(b1)
    if observation is not None:
        check_observation(observation)
    else:
        check_nonnegative("distance", distance, "it counts momentum steps ahead")


def _checked_counts(counts: ArrayLike) -> np.ndarray:
    at = np.asarray(counts)
    whole = at.ndim == 1 and at.size > 0 and np.issubdtype(at.dtype, np.integer)
    if not (whole and at[0] >= 0 and (np.diff(at) > 0).all()):
        raise ValueError(
            "counts must be integers of at least 0 in increasing order, got "
            f"{counts!r}; pass for example np.arange(1001)."
        )
    return at
