"""What conversions return, and the ranges and remedies that they share."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._hyperparameters import as_scalar
from arsg_optax._validation import check_number, is_number

Numeric: TypeAlias = jax.Array | np.ndarray | np.number | float
# A schedule is a function of the number of updates so far.
Moving: TypeAlias = Numeric | optax.Schedule

# What rounding in the caller's float64 arithmetic may add at the end of a range.
ROUNDING = 1e-12
INF = float("inf")
SGD = "plain SGD is rsg with b1=0"
# Ranges and remedies, as arguments of `check_number`.
STEP = (0, "[)", INF, "a step size is finite and not negative")
DECAY = (0, "[)", 1, "1 - decay is the weight of the newest gradient")


class RSGParams(NamedTuple):
    """Arguments of `rsg`: `rsg(**params._asdict())` is the method that was converted.

    Attributes:
      learning_rate: step size in units of parameter / gradient, >= 0, or a schedule.
      b1: momentum decay, dimensionless, in [0, 1), or a schedule.
      observation: observation factor, dimensionless, in [0, 1), a schedule, or None.
      distance: observation distance in momentum steps, >= 0, or a schedule, where
        observation is None.
      exact: whether the method is the two-point form, which matters where the values
        move with time.
    """

    learning_rate: Any  # A number, an array or a schedule, as all but `exact`.
    b1: Any
    observation: Any = None
    distance: Any = None
    exact: bool = False


class QHMParams(NamedTuple):
    """Arguments of `from_qhm`, in its order, units and ranges."""

    learning_rate: Numeric
    nu: Numeric
    b1: Numeric


def rsg_params(learning_rate: Moving, b1: Numeric, observation: Numeric) -> RSGParams:
    """Checked hyper-parameters, constant but for the learning rate."""
    # Heavy ball in other coordinates is 0 up to rounding, and rsg refuses -1e-16.
    if is_number(observation) and -ROUNDING <= observation < 0:
        observation = 0.0
    check_number("learning_rate", learning_rate, *STEP)
    check_number("b1", b1, *DECAY)
    remedy = f"RSG has no such weights: 0 is heavy ball, 1 - b1 is Nesterov, {SGD}"
    check_number("observation", observation, 0, "[)", 1, remedy)
    return RSGParams(learning_rate, b1, observation)


def moving(function: Callable[..., Any], *values: Moving) -> Any:
    """function(*values), or a schedule of it where one of the values is a schedule."""
    if not any(map(callable, values)):
        return function(*values)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        now = (value(count) if callable(value) else value for value in values)
        return function(*(as_scalar(jnp.asarray(value)) for value in now))

    return schedule
