"""RSG's arguments for primal averaging: schedule-free learning and GPA.

They keep a fast point z and its average x, and take gradients g between them,

    y = (1 - b1) z + b1 x,    z <- z - learning_rate g,    x <- (1 - c) x + c z.

With w = x - z_new and its weight W, both of which decay by the last 1 - c,

    w <- (1 - c_last) w + learning_rate g,    W <- (1 - c_last) W + learning_rate,

m = w / W is RSG's momentum, and x <- x - c W m, y = x - (1 - b1) (1 - c) W m is its
exact form: x is the iterate, with the learning rate c W, the momentum decay
1 - learning_rate / W and the distance (1 - b1) (1 - c) / c.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._hyperparameters import as_scalar, default_float
from arsg_optax._validation import check_number
from arsg_optax.hyperparams._params import INF, STEP, Numeric, RSGParams, rsg_params

_BETWEEN = "0 takes gradients at the fast point, 1 at the average"
_FAST = "for gradients at the fast point use from_primal_averaging(..., b1=0)"
# Sums of powers are tabulated up to here; beyond, three terms of a series do.
_TABLE = 64
_SERIES = (1 / 12, -1 / 720, 1 / 30240)


def from_gpa(
    learning_rate: Numeric, mu_x: Numeric = 0.9967, mu_y: Numeric = 0.7
) -> RSGParams:
    """RSG's arguments for GPA, generalized primal averaging, around SGD (Defazio 2025).

    The conversion is learning_rate, b1 = mu_x, observation = 1 - mu_y, and RSG's
    iterate is GPA's x. GPA around another optimizer, whose learning rate may move, is

    `observe_remotely(optax.chain(inner, optax.ema(mu_x, debias=False)), distance)`

    with the distance (1 - mu_y) mu_x / (1 - mu_x). Source: arXiv 2512.17131.

    Args:
      learning_rate: step size of z, in units of parameter / gradient, >= 0.
      mu_x: weight of the old average in the new one, dimensionless, in [0, 1).
      mu_y: weight of the average where gradients are taken, dimensionless, in (0, 1].

    Raises:
      ValueError: if a number is out of range.
    """
    _check_constant(learning_rate)
    check_number("mu_x", mu_x, 0, "[)", 1, "1 - mu_x is the share of the newest point")
    check_number("mu_y", mu_y, 0, "(]", 1, _FAST)
    return rsg_params(learning_rate, mu_x, 1 - mu_y)


def from_schedule_free(
    learning_rate: Numeric, b1: Numeric = 0.9, power: float = 0.0
) -> RSGParams:
    """RSG's arguments for schedule-free SGD without warm-up (Defazio et al. 2024).

    They take the exact form. The point after update t, counted from 1, has the weight
    t^power in the average, which is RSG's iterate. For power = 0, with t updates so
    far, the conversion is learning_rate / 2 (at the first update learning_rate), the
    momentum decay 1 - 2 / (t + 1) (at first 0), and the distance (1 - b1) t. For a
    warm-up use `from_primal_averaging`. Schedule-free AdamW divides each gradient
    before it is averaged and is not RSG. Source: arXiv 2405.15682.

    Args:
      learning_rate: step size of z, in units of parameter / gradient, >= 0.
      b1: weight of the average where gradients are taken, dimensionless, in [0, 1].
      power: r of schedule-free, dimensionless, in [0, 10], not traced.

    Raises:
      ValueError: if a number is out of range.
    """
    _check_constant(learning_rate)
    check_number("learning_rate", learning_rate, *STEP)
    check_number("b1", b1, 0, "[]", 1, _BETWEEN)
    check_number("power", power, 0, "[]", 10, "0 weights all points alike")
    sums, further = _mean_power(power), _mean_power(power + 1)

    def weight(count: Any) -> tuple[jax.Array, jax.Array]:
        """W of a learning rate of 1, and 1 / c."""
        t = as_scalar(jnp.asarray(count))
        # W = (sum of S_1 to S_t) / S_t, with S_n = 1^power + ... + n^power.
        n = jnp.maximum(t, 1)
        later = t + 1 - n * further(n) / sums(n)
        return jnp.where(t > 0, later, 1), (t + 1) * sums(t + 1)

    def rate(count: Any) -> jax.Array:
        total, inverse_share = weight(count)
        return as_scalar(learning_rate) * total / inverse_share

    return RSGParams(
        learning_rate=rate,
        b1=lambda count: 1 - 1 / weight(count)[0],
        distance=lambda count: (1 - as_scalar(b1)) * (weight(count)[1] - 1),
        exact=True,
    )


def from_primal_averaging(
    learning_rates: Any, shares: Any, b1: Numeric = 0.9
) -> RSGParams:
    """RSG's arguments for SGD and an average with any weights, exact form.

    It covers GPA and schedule-free learning with a warm-up or another schedule. A share
    is the weight of the newest fast point in the average, divided by the sum of all
    weights so far: 1, 1/2, 1/3 for equal weights, 1 - mu_x for GPA. Schedule-free
    learning takes the square of the largest learning rate so far as a weight. Beyond
    the last entry the schedules keep their last values.

    Args:
      learning_rates: step sizes of z, one per update, in units of parameter / gradient,
        > 0. Shape (steps,), not traced.
      shares: c, dimensionless, in (0, 1]. Shape (steps,), not traced.
      b1: weight of the average where gradients are taken, dimensionless, in [0, 1].

    Raises:
      ValueError: if a number is out of range or if shapes differ.
    """
    check_number("b1", b1, 0, "[]", 1, _BETWEEN)
    rates, c = (np.asarray(each, np.float64) for each in (learning_rates, shares))
    if rates.ndim != 1 or rates.shape != c.shape or not len(rates):
        raise ValueError(
            "learning_rates must have the shape (steps,) of shares, got "
            f"{rates.shape} and {c.shape}; give one number per update."
        )
    remedy = "at 0 nothing moves; leave out such updates"
    for rate, share in ((rates.min(), c.min()), (rates.max(), c.max())):
        check_number("learning_rates", rate, 0, "()", INF, remedy)
        check_number("shares", share, 0, "(]", 1, remedy)
    totals, total = np.empty_like(rates), 0.0
    for t, rate in enumerate(rates):
        total = total * (1 - c[t - 1]) + rate
        totals[t] = total
    distances = (1 - c) / c
    return RSGParams(
        learning_rate=_table(c * totals),
        b1=_table(1 - rates / totals),
        distance=lambda count: (1 - as_scalar(b1)) * _table(distances)(count),
        exact=True,
    )


def _check_constant(learning_rate: Any) -> None:
    """Refuses a schedule: the momentum would have to weigh its gradients by it."""
    if callable(learning_rate):
        raise ValueError(
            f"learning_rate must be a number, got {learning_rate!r}; for a schedule "
            "use from_primal_averaging with the learning rate of each update."
        )


def _table(values: np.ndarray) -> optax.Schedule:
    """The value at the count, or the last one."""

    def schedule(count: Any) -> jax.Array:
        return jnp.asarray(values, default_float())[jnp.minimum(count, len(values) - 1)]

    return schedule


def _mean_power(power: float) -> Callable[[jax.Array], jax.Array]:
    """(1^power + ... + n^power) / n^(power + 1) as a function of n >= 1, () float."""
    first = np.arange(1.0, _TABLE + 1)
    table = np.cumsum(first**power) / first ** (power + 1)
    coefficients, falling = [], power
    for k, coefficient in enumerate(_SERIES):
        coefficients.append(coefficient * falling)
        falling = falling * (power - 2 * k - 1) * (power - 2 * k - 2)

    def series(n):
        # Euler and Maclaurin, without the constant.
        sums = 1 / (power + 1) + 1 / (2 * n)
        return sums + sum(a / n ** (2 * k) for k, a in enumerate(coefficients, start=1))

    constant = float((table[-1] - series(float(_TABLE))) * _TABLE ** (power + 1))

    def mean(n):
        place = jnp.minimum(n, _TABLE).astype(jnp.int32) - 1
        beyond = series(n) + constant * n ** -(power + 1.0)
        return jnp.where(n > _TABLE, beyond, jnp.asarray(table, n.dtype)[place])

    return mean
