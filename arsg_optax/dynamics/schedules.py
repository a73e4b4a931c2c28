r"""Hyper-parameter schedules under which the papers prove convergence.

Each returns a NamedTuple whose fields are the optimizer's arguments, to be used as
`arsg_optax.arsg(**arsg_theorem3_schedules(2.0)._asdict())`. The papers count steps from
t = 1 and Optax counts updates from 0: a schedule is a function of the count and uses
t = count + 1. Values are in the default float dtype. The bounds that hold under them
are in `regret.py`, `namsg_regret.py` and `stationarity.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._validation import check_number
from arsg_optax.dynamics._arguments import check_b1, check_observation
from arsg_optax.dynamics._theorems import (
    check_b2,
    check_decays,
    check_horizon,
    check_nesterov_or_beyond,
    check_step_size,
)


class ARSGSchedules(NamedTuple):
    """Arguments of `arsg_optax.arsg`.

    Attributes:
      learning_rate: schedule, in units of the parameter.
      b1: schedule of the momentum's decay rate, dimensionless.
      b2: decay rate of the second moment, dimensionless, a constant.
      observation: schedule of the observation factor, dimensionless.
    """

    learning_rate: optax.Schedule
    b1: optax.Schedule
    b2: float
    observation: optax.Schedule


class NAMSGSchedules(NamedTuple):
    """Arguments of `arsg_optax.namsg`.

    Attributes:
      learning_rate: schedule, in units of the parameter.
      b1: schedule of the momentum's decay rate, dimensionless.
      b2: decay rate of the second moment, dimensionless, a constant.
      distance: schedule of the observation distance, in momentum steps.
    """

    learning_rate: optax.Schedule
    b1: optax.Schedule
    b2: float
    distance: optax.Schedule


class AdaRemSchedules(NamedTuple):
    """Arguments of `arsg_optax.adarem`.

    Attributes:
      learning_rate: schedule, in units of parameter / gradient.
      b1: schedule of the momentum's decay rate, dimensionless.
      resilience: schedule of the resilience, dimensionless.
    """

    learning_rate: optax.Schedule
    b1: optax.Schedule
    resilience: optax.Schedule


def arsg_theorem2_schedules(
    step_size: float,
    horizon: int,
    *,
    b1: float = 0.999,
    b2: float = 0.99,
    observation: float = 0.1,
) -> ARSGSchedules:
    """Constants α̇ / √T, β₁, μ for T steps on a smooth non-convex function.

    Source: ARSG Theorem 2. Its rate is
    :func:`arsg_optax.dynamics.arsg_theorem2_bound`.

    Args:
      step_size: α̇, in units of the parameter, > 0.
      horizon: T, the number of steps that will be taken, >= 1.
      b1: in [0, 1).
      b2: in [0, 1); the theorem does not restrict it.
      observation: in [0, 1).

    Raises:
      ValueError: if a condition is violated.
    """
    check_step_size(step_size)
    check_horizon(horizon)
    check_b1(b1)
    check_b2(b2)
    check_observation(observation)
    return ARSGSchedules(
        learning_rate=optax.constant_schedule(step_size / float(np.sqrt(horizon))),
        b1=optax.constant_schedule(b1),
        b2=b2,
        observation=optax.constant_schedule(observation),
    )


def arsg_theorem3_schedules(
    step_size: float,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    observation: float = 0.1,
) -> ARSGSchedules:
    """α / t, β₁ / t² and constant μ for strongly convex losses.

    Source: ARSG Theorem 3. ARSG's own defaults violate its γ = b1 / √b2 < 1 (0.999 and
    0.99), therefore b1 is 0.9 here. That the step size is large enough can only be seen
    on a run: :func:`arsg_optax.dynamics.arsg_theorem3_step_size`.

    Args:
      step_size: α, in units of the parameter, > 0.
      b1: β₁, in [0, 1) and below √b2.
      b2: in [0, 1).
      observation: μ, in [1 - b1, 1).

    Raises:
      ValueError: if a condition is violated.
    """
    check_step_size(step_size)
    check_decays(b1, b2)
    check_nesterov_or_beyond(b1, observation)
    return ARSGSchedules(
        learning_rate=lambda count: step_size / _step(count),
        b1=lambda count: b1 / _step(count) ** 2,
        b2=b2,
        observation=optax.constant_schedule(observation),
    )


def namsg_theorem1_schedules(
    step_size: float,
    b1: optax.ScalarOrSchedule,
    *,
    horizon: int,
    b2: float = 0.99,
    distance: optax.ScalarOrSchedule | None = None,
) -> NAMSGSchedules:
    """α / √t with any β₁ₜ and ηₜ that meet NAMSG's conditions for convex losses.

    Source: NAMSG Theorem 1. The conditions are checked at every step up to the horizon;
    ηₜ = β₁ₜ always meets them. A fixed distance cannot with a β₁ₜ that falls to 0: η
    must stay below β₁ₜ / (1 - β₁ₜ), where the observation factor reaches 1.

    Args:
      step_size: α, in units of the parameter, > 0.
      b1: β₁ₜ, in (0, 1), nonincreasing, the first below √b2; a number or a schedule.
      horizon: the number of steps to check, >= 1.
      b2: in [0, 1).
      distance: ηₜ, in [β₁ₜ, β₁ₜ / (1 - β₁ₜ)] with (1 - β₁ₜ)(1 + ηₜ) nondecreasing; a
        number or a schedule, None is ηₜ = β₁ₜ.

    Raises:
      ValueError: if a condition is violated; it names the step.
    """
    check_step_size(step_size)
    check_horizon(horizon)
    decay = b1 if callable(b1) else optax.constant_schedule(b1)
    ahead = decay if distance is None else distance
    ahead = ahead if callable(ahead) else optax.constant_schedule(ahead)
    _check_theorem1(_values(decay, horizon), _values(ahead, horizon), b2)
    return NAMSGSchedules(_inverse_root(step_size), decay, b2, ahead)


def namsg_corollary1_schedules(
    step_size: float, *, b1: float = 0.9, b2: float = 0.99, decay: float = 0.999
) -> NAMSGSchedules:
    """α / √t, β₁ λ^(t-1) and ηₜ = β₁ₜ for convex losses.

    Source: NAMSG Corollary 1. It leaves ηₜ open; ηₜ = β₁ₜ, that is μₜ = 1 - β₁ₜ, meets
    Theorem 1's conditions at every t. β₁ₜ stops at the smallest normal number, where
    the distance would become 0 / 0.

    Args:
      step_size: α, in units of the parameter, > 0.
      b1: β₁, in (0, 1) and below √b2.
      b2: in [0, 1).
      decay: λ, in (0, 1).

    Raises:
      ValueError: if a condition is violated.
    """
    check_number("decay", decay, 0, "()", 1, "at 1 the regret would not be bounded")
    return _namsg(step_size, b1, b2, lambda t: b1 * decay ** (t - 1))


def namsg_harmonic_schedules(
    step_size: float, *, b1: float = 0.9, b2: float = 0.99
) -> NAMSGSchedules:
    """α / √t, β₁ / t and ηₜ = β₁ₜ for convex losses.

    Source: NAMSG, the remark after Corollary 1.

    Args:
      step_size: α, in units of the parameter, > 0.
      b1: β₁, in (0, 1) and below √b2.
      b2: in [0, 1).

    Raises:
      ValueError: if a condition is violated.
    """
    return _namsg(step_size, b1, b2, lambda t: b1 / t)


def adarem_theorem1_schedules(
    step_size: float, *, b1: float = 0.9, resilience: float = 0.5
) -> AdaRemSchedules:
    """η / √t and λ^t for convex losses.

    Source: AdaRem Theorem 1, with λ raised at every step as printed there, not once an
    epoch as in the experiments: the proof's sum of λ_t √t grows faster than √T unless
    the resilience falls at least as fast as 1 / t. The bound has (1 - λ)³ in the
    denominator, so λ above 0.5 makes it nearly vacuous.

    Args:
      step_size: η, in units of parameter / gradient, > 0.
      b1: β of the momentum, in [0, 1); the theorem does not depend on it.
      resilience: λ, in [0, 1).

    Raises:
      ValueError: if a condition is violated.
    """
    check_step_size(step_size)
    check_b1(b1)
    check_number("resilience", resilience, 0, "[)", 1, "the bound is infinite at 1")
    return AdaRemSchedules(
        learning_rate=_inverse_root(step_size),
        b1=optax.constant_schedule(b1),
        resilience=lambda count: resilience ** _step(count),
    )


def _step(count: jax.typing.ArrayLike) -> jax.Array:
    """The papers' t at Optax's count."""
    return jnp.asarray(count, float) + 1


def _inverse_root(step_size: float) -> optax.Schedule:
    return lambda count: step_size / jnp.sqrt(_step(count))


def _namsg(
    step_size: float, b1: float, b2: float, at: Callable[[jax.Array], jax.Array]
) -> NAMSGSchedules:
    check_step_size(step_size)
    check_decays(b1, b2)
    check_number("b1", b1, 0, "()", 1, "NAMSG's distance is undefined without momentum")

    def decay(count):
        values = at(_step(count))
        return jnp.maximum(values, jnp.finfo(values.dtype).tiny)

    return NAMSGSchedules(_inverse_root(step_size), decay, b2, decay)


def _values(schedule: optax.Schedule, horizon: int) -> np.ndarray:
    """A schedule at t = 1 ... horizon, in float64."""
    values = jax.vmap(schedule)(jnp.arange(horizon))
    return np.broadcast_to(np.asarray(values, np.float64), (horizon,))


def _check_theorem1(decay: np.ndarray, ahead: np.ndarray, b2: float) -> None:
    """Raises at the first step where NAMSG's conditions fail."""
    slack = 1e-5  # What a schedule's float32 may add.
    own_share = (1 - decay) * (1 + ahead)
    _check_all("b1", decay, (decay > 0) & (decay < 1), "in (0, 1)")
    check_decays(float(decay[0]), b2)
    falling = np.diff(decay, prepend=decay[0]) <= slack * decay
    _check_all("b1", decay, falling, "nonincreasing")
    largest = decay / (1 - decay)
    _check_all("distance", ahead, ahead >= decay * (1 - slack), "at least b1")
    _check_all(
        "distance", ahead, ahead <= largest * (1 + slack), "at most b1 / (1 - b1)"
    )
    rising = np.diff(own_share, prepend=own_share[0]) >= -slack
    _check_all("(1 - b1) (1 + distance)", own_share, rising, "nondecreasing")


def _check_all(name: str, values: np.ndarray, valid: np.ndarray, what: str) -> None:
    if not valid.all():
        t = int(np.argmin(valid))
        raise ValueError(
            f"{name} must be {what}, got {values[t]:.6g} at step {t + 1}; "
            "distance=None takes b1, which meets every condition while b1 falls."
        )
