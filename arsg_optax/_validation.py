"""Checks of hyper-parameters: each error names argument, value and remedy.

Only Python and NumPy numbers are compared. A traced value has no truth value,
so under `jit`, `vmap` and `optax.inject_hyperparams` ranges go unchecked;
dtypes and shapes are known while tracing and are always checked.
"""

import math
from collections.abc import Callable
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

_LARGEST_COUNT = int(np.iinfo(np.int32).max)
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a Python or NumPy number, which may be compared."""
    numbers = isinstance(value, (int, float, np.number))
    return numbers and not isinstance(value, bool)


def check_number(
    name: str, value: Any, low: Any, ends: str, high: Any, remedy: str
) -> None:
    """Raises where a Python or NumPy number leaves its range.

    Arrays and traced values pass unread, as value or as an end: a traced value has no
    truth value.

    Args:
      name: the argument's name, for the message.
      value: a number or an array.
      low: lower end of the range.
      ends: "[)" for low <= value < high, and so on.
      high: upper end of the range.
      remedy: what to do instead, for the message.

    Raises:
      ValueError: if the number is out of range or NaN.
    """
    if not (is_number(value) and is_number(low) and is_number(high)):
        return
    number = float(value)
    above = low <= number if ends[0] == "[" else low < number
    below = number <= high if ends[1] == "]" else number < high
    if not (above and below):  # not the converse, which NaN would pass
        interval = f"{ends[0]}{low:.8g}, {high:.8g}{ends[1]}"
        raise ValueError(f"{name} must be in {interval}, got {value}; {remedy}")


def _check(
    name: str,
    value: Any,
    valid: Callable[[float], bool],
    requirement: str,
    remedy: str,
    allow_16_bits: bool = False,
    allow_schedule: bool = True,
) -> None:
    """Checks one hyper-parameter: a number, a scalar array or a schedule."""
    if callable(value) and allow_schedule:
        return
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.generic, np.ndarray, jax.Array)
    ):
        kinds = "a number, a scalar array or a schedule"
        if not allow_schedule:
            kinds = "a number or a scalar array (no schedule)"
        raise ValueError(
            f"{name} must be {kinds}, got {value!r}; pass for example a float."
        )
    if not isinstance(value, (int, float)):
        check_hyperparameter_array(name, value, allow_16_bits)
    if is_number(value) and not valid(float(value)):
        raise ValueError(f"{name} must be {requirement}, got {value!r}; {remedy}")


def check_hyperparameter_array(
    name: str, value: Any, allow_16_bits: bool = False
) -> None:
    """Refuses hyper-parameters that are no scalars or come in 16 bits.

    Args:
      name: the argument's name, for the message.
      value: an array or tracer.
      allow_16_bits: True where a relative error of 0.4 % does no harm.

    Raises:
      ValueError: if the shape is not () or the dtype has 16 bits, in which
        bfloat16 turns 0.999 into 1 and float16 turns 1e-8 into 0.
    """
    if jnp.shape(value) != ():
        raise ValueError(
            f"{name} must be a scalar, got an array of shape {jnp.shape(value)}; "
            "use jax.vmap to run several values at once."
        )
    dtype = jnp.result_type(value)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real, got dtype {dtype}; pass its real part.")
    too_narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    if too_narrow and not allow_16_bits:
        raise ValueError(
            f"{name} must have at least 32 bits, got dtype {dtype}: in 16 bits 0.999 "
            "becomes 1 and 1e-8 becomes 0; pass a float32, or with injected "
            "hyper-parameters use "
            "inject_hyperparams(..., hyperparam_dtype=jnp.float32)."
        )


def check_decay(name: str, value: Any, allow_schedule: bool = True) -> None:
    """Checks a decay rate of an average: in [0, 1)."""
    remedy = "1 - decay is the weight of the newest gradient; 0.9 to 0.999 are usual."
    _check(
        name,
        value,
        lambda v: 0 <= v < 1,
        "in [0, 1)",
        remedy,
        allow_schedule=allow_schedule,
    )


def check_observation(value: Any) -> None:
    """Checks an observation factor: in [0, 1)."""
    remedy = (
        "0 is heavy ball, 1 - b1 is Nesterov, 0.1 is the ARSG default; an observation "
        "distance is converted by hyperparams.observation_from_distance."
    )
    _check("observation", value, lambda v: 0 <= v < 1, "in [0, 1)", remedy)


def check_distance(value: Any) -> None:
    """Checks an observation distance: finite and at least 0."""
    remedy = "it counts momentum steps ahead of the iterate; NAMSG uses 0.9 to 3."
    _check(
        "distance", value, lambda v: 0 <= v < math.inf, "finite and at least 0", remedy
    )


def check_resilience(value: Any) -> None:
    """Checks a resilience: in [0, 1]."""
    remedy = "a step is multiplied by 1 - resilience to 1 + resilience; 0.999 is usual."
    _check("resilience", value, lambda v: 0 <= v <= 1, "in [0, 1]", remedy)


def check_eps(value: Any) -> None:
    """Checks a positive constant that float32 must be able to hold."""
    remedy = "1e-8 is the default; ARSG's fine mode has 1e-3."
    _check(
        "eps",
        value,
        lambda v: _TINY <= v <= _HUGE,
        f"between {_TINY:.3g} and {_HUGE:.3g}",
        remedy,
        allow_schedule=False,
    )


def check_radius(value: Any) -> None:
    """Checks a sphere's radius: None, or a number whose square float32 holds."""
    if value is None:
        return
    remedy = "None takes the norm that the parameters have at the first update."
    _check(
        "radius",
        value,
        lambda v: 1e-12 <= v <= 1e18,
        "between 1e-12 and 1e+18",
        remedy,
        allow_16_bits=True,
        allow_schedule=False,
    )


def check_threshold(value: Any) -> None:
    """Checks RAdam's smallest number of averaged gradients: finite and at least 4."""
    _check(
        "threshold",
        value,
        lambda v: 4 <= v < math.inf,
        "finite and at least 4",
        "up to 4 the rectification is not defined; 5.0 is the default.",
        allow_schedule=False,
    )


def check_sharpness(value: Any) -> None:
    """Checks SAdam's sharpness: positive, and float32 must be able to hold it."""
    _check(
        "sharpness",
        value,
        lambda v: _TINY <= v <= _HUGE,
        f"between {_TINY:.3g} and {_HUGE:.3g}",
        "50.0 is SAdam's.",
        allow_schedule=False,
    )


def check_learning_rate(value: Any) -> None:
    """Checks a learning rate: finite and at least 0; 16 bits are allowed."""
    remedy = (
        "0.0 stands still; to ascend, use scale_by_learning_rate(..., flip_sign=False)."
    )
    requirement = "finite and at least 0"
    _check(
        "learning_rate",
        value,
        lambda v: 0 <= v < math.inf,
        requirement,
        remedy,
        allow_16_bits=True,
    )


def check_weight_decay(value: Any) -> None:
    """Checks a decoupled weight decay: finite and at least 0."""
    remedy = "0.0 switches it off."
    requirement = "finite and at least 0"
    _check(
        "weight_decay",
        value,
        lambda v: 0 <= v < math.inf,
        requirement,
        remedy,
        allow_16_bits=True,
    )


def check_count(name: str, value: Any, remedy: str, least: int = 0) -> None:
    """Checks a number of updates or of windows: whole and at least `least`."""
    _check(
        name,
        value,
        lambda v: least <= v <= _LARGEST_COUNT and v == math.floor(v),
        f"a whole number, at least {least} and at most {_LARGEST_COUNT}",
        remedy,
        allow_schedule=False,
    )


def check_nonnegative(name: str, value: Any, remedy: str) -> None:
    """Checks a finite number, 0 or above."""
    _check(
        name,
        value,
        lambda v: 0 <= v < math.inf,
        "finite and at least 0",
        remedy,
        allow_schedule=False,
    )


def check_boosted_observation(value: Any, boosts: Any) -> None:
    """Checks an observation factor that is to be doubled some times: in (0, 2^-n)."""
    check_observation(value)
    if not (is_number(value) and is_number(boosts)):
        return
    limit = 2.0 ** -min(float(boosts), 1000.0)
    if not 0 < value < limit:
        raise ValueError(
            f"observation must be in (0, {limit:.8g}) before {boosts:g} boosts, got "
            f"{value}; each boost doubles it, and the result must stay below 1."
        )


def check_loss(value: Any, why: str, instead: str = "") -> jax.Array:
    """The loss that `update` was given as `value`: a real () array.

    Args:
      value: what it was given.
      why: who needs it, for the message.
      instead: what else the caller can do, for the message.

    Raises:
      ValueError: if there is none, or if it is no real scalar.
    """
    if value is None:
        raise ValueError(
            f"value must be the loss, got None: {why} it; call "
            f"update(gradients, state, params, value=loss){instead}."
        )
    loss = jnp.asarray(value)
    real = jnp.issubdtype(loss.dtype, jnp.floating)
    real |= jnp.issubdtype(loss.dtype, jnp.integer)
    if loss.shape != () or not real:
        raise ValueError(
            f"value must be a real scalar, got shape {loss.shape} and dtype "
            f"{loss.dtype}; pass the mean loss of the batch."
        )
    return loss


def check(name, value):  # SHIM
    {"b1": lambda v: check_decay("b1", v), "learning_rate": check_learning_rate, "weight_decay": check_weight_decay, "observation": check_observation, "distance": check_distance}[name](value)


def check_flag(name, value):  # SHIM
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}")
