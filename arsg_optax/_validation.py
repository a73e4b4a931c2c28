"""Checks of arguments: each error names the argument, its value and the remedy.

What can be read is judged, whatever its type: Python and NumPy numbers, and arrays with
the shape () that hold a value. A traced value holds none, so ranges go unchecked under
`jit`, `vmap` and an injected hyper-parameter inside them; its dtype and its shape are
known while tracing and are always checked.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_MOST = int(np.iinfo(np.int32).max)
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


class Range(NamedTuple):
    """What an argument may be: a number from `low` to `high`, and what else."""

    remedy: str  # What to do instead, or what is usual.
    low: float = 0
    high: float = _HUGE  # The largest number of float32 stands for "finite".
    ends: str = "[]"  # "[)" for low <= value < high, and so on.
    schedule: bool = False  # A function of the number of updates may stand for it.
    optional: bool = False  # None may.
    narrow: bool = False  # 16 bits may: a relative error of 0.4 % does no harm.
    whole: bool = False


def _share(remedy: str, **fields: Any) -> Range:
    return Range(remedy, high=1, ends="[)", **fields)


def _count(remedy: str, least: int, **fields: Any) -> Range:
    return Range(remedy, low=least, high=_MOST, whole=True, **fields)


_DECAY = "1 - decay is the weight of the newest gradient; 0.9 to 0.999 are usual."
_UPDATE = "updates are counted from 0."

RANGES = {
    "b1": _share(_DECAY, schedule=True),
    "b2": _share(_DECAY),
    "boost_at": _count(_UPDATE, 0, optional=True),
    "confidence": Range("2.0 is the default."),
    "delta": Range("8.0 is ADana's, 2.0 schedule-free's.", low=_TINY),
    "distance": Range(
        "it counts momentum steps ahead of the iterate; NAMSG uses 0.9 to 3.",
        schedule=True,
    ),
    "eps": Range("1e-8 is the default; ARSG's fine mode has 1e-3.", low=_TINY),
    "eps_root": Range("0.0 leaves it out, as Adam does."),
    "iterations": _count(
        "each is one Hessian product of every batch; 16 is the default.", 1
    ),
    "learning_rate": Range(
        "0.0 stands still; to ascend, use scale_by_learning_rate(..., "
        "flip_sign=False).",
        schedule=True,
        narrow=True,
    ),
    "max_boosts": _count("1 is the paper's.", 1),
    "maximum": _share("None sets no limit.", optional=True),
    "min_steps": _count("it counts a round's updates.", 1),
    "observation": _share(
        "0 is heavy ball, 1 - b1 is Nesterov, 0.1 is the ARSG default; an observation "
        "distance is converted by hyperparams.observation_from_distance.",
        schedule=True,
    ),
    "power": _share("0.25 is the default, 0.15 is ADana's."),
    "radius": Range(
        "None takes the norm that the parameters have at the first update.",
        low=1e-12,  # Whose square float32 holds.
        high=1e18,
        optional=True,
        narrow=True,
    ),
    "refractory": _count("it counts windows.", 0),
    "resilience": Range(
        "a step is multiplied by 1 - resilience to 1 + resilience; 0.999 is usual.",
        high=1,
        schedule=True,
    ),
    "samples": _count("it counts draws from the ranges.", 1),
    "seeds": _count("it counts trainings of each candidate.", 1),
    "sharpness": Range("50.0 is SAdam's.", low=_TINY),
    "steps": _count("it counts updates of each training.", 1),
    "switch_at": _count(_UPDATE, 0),
    "threshold": Range(
        "up to 4 the rectification is not defined; 5.0 is the default.", low=4
    ),
    "weight_decay": Range("0.0 switches it off.", schedule=True, narrow=True),
    "window": _count("300 is the default.", 8),
}


def check(name: str, value: Any, **different: Any) -> None:
    """Checks an argument against the row of its name in `RANGES`.

    Fields of the row may be different for a caller.

    Raises:
      ValueError: if it is of a wrong kind, has a shape, is complex, has 16 bits where
        those do not do, or is out of range, as NaN is.
    """
    row = RANGES[name]._replace(**different)
    if (row.optional and value is None) or (row.schedule and callable(value)):
        return
    _check_value(name, value, row)


def check_scheduled(name: str, value: Any, count: Any) -> None:
    """Checks what a schedule gave at an update, as :func:`check` does a number."""
    counted = concrete(count)
    at = "" if counted is None else f" at update {int(counted)}"
    row = RANGES[name]._replace(schedule=False)
    _check_value(name, value, row, f" from its schedule{at}")


def check_flag(name: str, value: Any) -> None:
    """Refuses what is no bool: the string "False" would count as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}; pass a bool.")


def check_transforms(name: str, *values: Any) -> None:
    """Refuses what is no transformation, such as the function that makes one."""
    for value in values:
        if not (hasattr(value, "init") and hasattr(value, "update")):
            raise ValueError(
                f"{name} must be made of gradient transformations, got {value!r}; call "
                "what makes one, as in scale_by_adam_rms()."
            )


def check_number(
    name: str, value: Any, low: Any, ends: str, high: Any, remedy: str
) -> None:
    """Raises where a Python or NumPy number leaves a range that the caller computed.

    Arrays and traced values pass unread, as value or as an end: what takes arrays of
    any shape gives NaN where one of their elements is out of range. The ends are "[)"
    for low <= value < high, and so on.
    """
    if not (is_number(value) and is_number(low) and is_number(high)):
        return
    if not _inside(float(value), low, ends, high):
        interval = f"{ends[0]}{low:.8g}, {high:.8g}{ends[1]}"
        raise ValueError(f"{name} must be in {interval}, got {value}; {remedy}")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a Python or NumPy number, which may be compared."""
    numbers = isinstance(value, (int, float, np.number))
    return numbers and not isinstance(value, bool)


def concrete(value: Any) -> np.ndarray | None:
    """The value in float64; None if it cannot be read while tracing or on this host."""
    if isinstance(value, Tracer) or not getattr(value, "is_fully_addressable", True):
        return None
    try:
        return np.asarray(value).astype(np.float64)
    except OverflowError:  # A Python int beyond float64.
        return np.asarray(math.inf if value > 0 else -math.inf)


def _inside(number: float, low: float, ends: str, high: float) -> bool:
    above = low <= number if ends[0] == "[" else low < number
    below = number <= high if ends[1] == "]" else number < high
    return above and below  # False of NaN.


def _check_value(name: str, value: Any, row: Range, origin: str = "") -> None:
    """Checks what is no schedule and not None; `origin` says where it came from."""
    real = isinstance(value, (int, float, np.generic, np.ndarray, jax.Array))
    if real and not isinstance(value, (int, float)):
        real = _check_array(name, value, row.narrow, origin)
    if not real or isinstance(value, bool):
        kinds = "a number or a scalar array (no schedule)"
        if row.schedule:
            kinds = "a number, a scalar array or a schedule"
        raise ValueError(
            f"{name} must be {kinds}, got {value!r}{origin}; pass for example a float."
        )
    read = concrete(value)
    if read is None:
        return
    number = float(read)
    inside = _inside(number, row.low, row.ends, row.high)
    if not inside or (row.whole and number != math.floor(number)):
        wanted = _requirement(row, number)
        raise ValueError(
            f"{name} must be {wanted}, got {value!r}{origin}; {row.remedy}"
        )


def _check_array(name: str, value: Any, narrow: bool, origin: str) -> bool:
    """Whether an array or a tracer is real; refused for its shape or its dtype.

    In 16 bits bfloat16 turns 0.999 into 1, and float16 turns 1e-8 into 0.
    """
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape != ():
        raise ValueError(
            f"{name} must be a scalar, got an array of shape {shape}{origin}; "
            "use jax.vmap to run several values at once."
        )
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} must be real, got dtype {dtype}{origin}; pass its real part."
        )
    floating = jnp.issubdtype(dtype, jnp.floating)
    if floating and jnp.finfo(dtype).bits < 32 and not narrow:
        raise ValueError(
            f"{name} must have at least 32 bits, got dtype {dtype}{origin}: in 16 bits "
            "0.999 becomes 1 and 1e-8 becomes 0; pass a float32, or with injected "
            "hyper-parameters use "
            "inject_hyperparams(..., hyperparam_dtype=jnp.float32)."
        )
    return floating or jnp.issubdtype(dtype, jnp.integer)


def _requirement(row: Range, number: float) -> str:
    if row.whole:
        return f"a whole number, at least {row.low} and at most {row.high}"
    if row.high == _HUGE:
        most = f" and at most {_HUGE:.3g}" if _HUGE < number < math.inf else ""
        return f"finite and at least {row.low:.3g}{most}"
    return f"in {row.ends[0]}{row.low:.8g}, {row.high:.8g}{row.ends[1]}"


def check_loss(
    extra_args: Mapping[str, Any], why: str, instead: str = ""
) -> tuple[str, jax.Array]:
    """The loss among the extra arguments of `update`, and the name it came under.

    `value` is the name in Optax, `loss` the one in Levanter and MaxText. The loss comes
    back as a real () array; `why` says who needs it, `instead` what else can be done.
    """
    given = {
        name: extra_args[name]
        for name in ("value", "loss")
        if extra_args.get(name) is not None
    }
    if not given:
        raise ValueError(
            f"value must be the loss, got neither value= nor loss=: {why} it; call "
            f"update(gradients, state, params, value=loss){instead}."
        )
    if len(given) > 1:
        raise ValueError(
            f"value and loss must not both be given, got {given}: each names the loss; "
            "leave one of them out."
        )
    [(name, value)] = given.items()
    loss = jnp.asarray(value)
    real = jnp.issubdtype(loss.dtype, jnp.floating)
    real |= jnp.issubdtype(loss.dtype, jnp.integer)
    if loss.shape != () or not real:
        raise ValueError(
            f"{name} must be a real scalar, got shape {loss.shape} and dtype "
            f"{loss.dtype}; pass the mean loss of the batch."
        )
    return name, loss
