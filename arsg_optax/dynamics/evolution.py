"""Gain and noise along time: RSG on a quadratic while its coefficients move.

Let w be the momentum divided by the curvature λ, s the deviation of the held parameters
from the minimum, tau = learning rate * λ, and δ the gradient's error divided by λ. The
concise form is

    w <- b1 w + (1 - b1) (s + δ)
    s <- s - tau ((1 - observation) w + observation (s + δ))

and the exact form moves the iterate by -tau w and holds s ahead of it, by distance
times that step. Either update is a 2x2 matrix A and a vector b for the noise. The
product of the matrices acts on the start, and S <- A S A' + b b' is the covariance of
what the noise leaves.
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
      of the schedules' values. Infinite or NaN where it diverges beyond the dtype; a
      noise that first grows by more than the dtype's digits ends as rounding.

    Raises:
      ValueError: if a number is out of range (arrays and schedules are not checked), if
        counts are not as above, or if not exactly one of observation and distance is
        given.

    Source: ARSG eq. 2, 3 and 10, with coefficients that depend on time.
    """
    given: dict[str, Any] = {
        "curvature": curvature,
        "learning_rate": learning_rate,
        "b1": b1,
        "observation": observation,
        "distance": distance,
    }
    given = {name: value for name, value in given.items() if value is not None}
    _check(given)
    at = _checked_counts(counts)
    moving = {name: value for name, value in given.items() if callable(value)}
    fixed = {name: value for name, value in given.items() if name not in moving}
    dtype = common_dtype(*fixed.values())
    # Schedules become tables with one row per step.
    steps = jnp.arange(at[-1])
    tables = {
        name: jnp.asarray(jax.vmap(schedule)(steps), dtype)
        for name, schedule in moving.items()
    }
    shape = jnp.broadcast_shapes(
        *(table.shape[1:] for table in tables.values()), *map(jnp.shape, fixed.values())
    )
    constants = {
        name: jnp.broadcast_to(jnp.asarray(value, dtype), shape)
        for name, value in fixed.items()
    }
    # The place that each step writes to; the last one to write there is the count's.
    slots = jnp.asarray(np.searchsorted(at, np.arange(1, at[-1] + 1)), jnp.int32)
    return _run(constants, tables, slots, len(at), exact)


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


@partial(jax.jit, static_argnames=("length", "exact"))
def _run(constants, tables, slots, length, exact):
    one = jnp.ones_like(constants["curvature"])
    zero = jnp.zeros_like(one)
    start = _Moments(zero, one, zero, zero, zero, zero)
    found = jax.tree.map(
        lambda first: jnp.zeros((length, *first.shape), first.dtype).at[0].set(first),
        _both_points(start, exact),
    )

    def step(carry, now):
        state, found = carry
        rows, slot = now
        rows = {name: jnp.broadcast_to(row, one.shape) for name, row in rows.items()}
        state = _update(state, _coefficients({**constants, **rows}), exact)
        points = _both_points(state, exact)
        found = jax.tree.map(lambda rows, row: rows.at[slot].set(row), found, points)
        return (state, found), None

    return lax.scan(step, (start, found), (tables, slots))[0][1]


def _coefficients(now: dict[str, jax.Array]) -> _Step:
    b1 = now["b1"]
    if "observation" in now:
        observation = now["observation"]
        distance = observation * b1 / (1 - b1)
    else:
        distance = now["distance"]
        has_momentum = b1 > 0
        ratio = distance * (1 - b1) / jnp.where(has_momentum, b1, 1)
        # Without momentum no factor makes a distance.
        infinite = jnp.where(distance > 0, jnp.inf, 0)
        observation = jnp.where(has_momentum, ratio, infinite)
    return _Step(now["learning_rate"] * now["curvature"], b1, observation, distance)


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


def _check(given: dict[str, Any]) -> None:
    if ("observation" in given) == ("distance" in given):
        raise ValueError(
            "exactly one of observation and distance must be given, got "
            f"{given.get('observation')!r} and {given.get('distance')!r}; both say how "
            "far ahead the gradient is taken."
        )
    remedy = "pass an eigenvalue of the Hessian"
    check_number("curvature", given["curvature"], -np.inf, "()", np.inf, remedy)
    check_nonnegative("learning_rate", given["learning_rate"], "a step descends")
    check_b1(given["b1"])
    if "observation" in given:
        check_observation(given["observation"])
    else:
        check_nonnegative("distance", given["distance"], "it counts momentum steps")


def _checked_counts(counts: ArrayLike) -> np.ndarray:
    at = np.asarray(counts)
    whole = at.ndim == 1 and at.size > 0 and np.issubdtype(at.dtype, np.integer)
    if not (whole and at[0] >= 0 and (np.diff(at) > 0).all()):
        raise ValueError(
            "counts must be integers of at least 0 in increasing order, got "
            f"{counts!r}; pass for example np.arange(1001)."
        )
    return at
