"""The worst rate over a range of curvatures, and the hyper-parameters that help it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from arsg_optax._validation import check_number, is_number
from arsg_optax.dynamics._arguments import (
    check_nonnegative,
    check_observation,
    check_positive,
    common_arrays,
    safe_sqrt,
)

# Halvings of an interval of at most 700 in log(1 - sqrt(b1)): below float64's eps.
_HALVINGS = 64


class OptimalHyperparams(NamedTuple):
    """Fastest RSG on a range of curvatures, all of the arguments' broadcast shape.

    Attributes:
      learning_rate: in units of 1 / curvature.
      b1: momentum decay, dimensionless.
      observation: the observation factor that was asked for.
      gain: largest gain factor over the range, dimensionless.
    """

    learning_rate: jax.Array
    b1: jax.Array
    observation: jax.Array
    gain: jax.Array


def theorem1_rate(
    condition_number: ArrayLike,
    c_alpha: ArrayLike,
    c_beta: ArrayLike,
    c_mu: ArrayLike,
) -> jax.Array:
    """Worst gain factor over all curvatures, for large condition numbers κ.

    It is for learning_rate = c_alpha sqrt(κ) / λmax, b1 = 1 - c_beta / sqrt(κ) and
    observation = c_mu / sqrt(κ). The error is O(1/κ), but O(κ^-3/4) where 4 c_alpha is
    within 1/sqrt(κ) of c_beta. c_mu enters only the condition on c_alpha, which keeps
    λmax below `symmetric_point`; it is sufficient, not necessary.

    Args:
      condition_number: κ, dimensionless, at least 1 and meant to be large.
      c_alpha: dimensionless, in (0, 2 / (c_beta + c_mu)].
      c_beta: dimensionless, in (0, sqrt(κ)].
      c_mu: dimensionless, in [0, sqrt(κ)).

    Returns:
      The factor per step, dimensionless, of the arguments' broadcast shape.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG Theorem 1, eq. 16.
    """
    _check_theorem1(condition_number, c_alpha, c_beta, c_mu)
    kappa, c_alpha, c_beta, _ = common_arrays(condition_number, c_alpha, c_beta, c_mu)
    is_real = 4 * c_alpha < c_beta
    root = safe_sqrt(c_beta * (c_beta - 4 * c_alpha))
    # c_beta - root, which would cancel for small steps.
    real = 4 * c_alpha * c_beta / (c_beta + root)
    return 1 - jnp.where(is_real, real, c_beta) / (2 * jnp.sqrt(kappa))


def optimal_hyperparams(
    lambda_min: ArrayLike, lambda_max: ArrayLike, *, observation: ArrayLike
) -> OptimalHyperparams:
    r"""Learning rate and momentum decay of the smallest worst gain factor.

    The gain factor falls and then rises with the curvature, so its worst value is at an
    end of the range. At the optimum both ends are equal: the eigenvalues meet at the
    smallest curvature (r, r), and one is -r at the largest. With
    :math:`v = \sqrt{b_1}`, :math:`s = \sqrt{1-\mu}` the condition number is then

    .. math::

      \kappa = \frac{(1+2sv+v^2)(1+2v/s+v^2)}{(1-v^2)(1-v^2+2\mu v/s)}

    which grows with v. It is solved by bisection in log(1 - v) to rounding error and
    one Newton step, which also carries the derivatives. At observation = 0 it is heavy
    ball, sqrt(b1) = (sqrt(κ) - 1) / (sqrt(κ) + 1), the best of all observation factors;
    for exact gradients the gain only grows with the factor. Where eigenvalues meet the
    gain follows the square root of a change: rounding b1 alone moves what is reached
    by about sqrt(eps (1 - b1)), with heavy ball, whose eigenvalues also meet at the
    largest curvature, by sqrt(eps / (1 - b1)). In float32 the result may diverge there
    for condition numbers above about 1e6: use x64 for such problems.

    Args:
      lambda_min: smallest curvature, above 0.
      lambda_max: largest curvature, at least lambda_min, in the same unit.
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      :class:`OptimalHyperparams`; the learning rate is in 1 / the unit of curvature.
      Equal curvatures give b1 = 0, learning_rate = 1 / lambda_min and gain 0.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG after Theorem 1, solved for a given observation factor.
    """
    check_positive("lambda_min", lambda_min, "only positive curvatures converge")
    check_positive("lambda_max", lambda_max, "only positive curvatures converge")
    if is_number(lambda_min):
        remedy = "exchange lambda_min and lambda_max"
        inf = float("inf")
        check_number("lambda_max", lambda_max, float(lambda_min), "[)", inf, remedy)
    check_observation(observation)
    lambda_min, lambda_max, mu = common_arrays(lambda_min, lambda_max, observation)
    short = _solve(lambda_max / lambda_min, mu)
    v, s, weight = 1 - short, jnp.sqrt(1 - mu), short * (2 - short)  # weight is 1 - b1
    return OptimalHyperparams(
        learning_rate=weight / (1 + s * v) ** 2 / lambda_min,
        b1=v**2,
        observation=mu,
        gain=1 - weight / (1 + s * v),
    )


def _log_condition(short, mu):
    """log κ of the optimum, where short = 1 - sqrt(b1); nothing cancels."""
    v, s, weight = 1 - short, jnp.sqrt(1 - mu), short * (2 - short)
    ends = jnp.log1p(v * (2 * s + v)) + jnp.log1p(v * (2 / s + v))
    return ends - jnp.log(weight) - jnp.log(weight + 2 * mu * v / s)


@jax.jit
def _solve(kappa, mu):
    """The value of short whose optimum has the condition number kappa."""
    target = jnp.log(kappa)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        too_low = _log_condition(jnp.exp(middle), mu) > target
        return jnp.where(too_low, middle, low), jnp.where(too_low, high, middle)

    # κ >= 1 / (weight (1 + 2 mu / s)) and weight <= 2 short bound short from below.
    lowest = -target - jnp.log(2 + 4 * mu / jnp.sqrt(1 - mu))
    bracket = lax.stop_gradient((lowest, jnp.zeros_like(target)))
    low, high = lax.fori_loop(0, _HALVINGS, halve, bracket)
    short = lax.stop_gradient(jnp.exp((low + high) / 2))

    def residual(short):
        return _log_condition(short, mu) - target

    value, slope = jax.jvp(residual, (short,), (jnp.ones_like(short),))
    return short - value / slope


def _check_theorem1(condition_number, c_alpha, c_beta, c_mu):
    inf = float("inf")
    check_number(
        "condition_number", condition_number, 1, "[)", inf, "it is λmax / λmin"
    )
    check_positive("c_alpha", c_alpha, "it scales the learning rate")
    check_positive("c_beta", c_beta, "it scales 1 - b1")
    check_nonnegative("c_mu", c_mu, "it scales the observation factor; 0 is heavy ball")
    numbers = [condition_number, c_alpha, c_beta, c_mu]
    if not all(is_number(value) for value in numbers):
        return
    root = float(condition_number) ** 0.5
    check_number("c_beta", c_beta, 0, "(]", root, "b1 = 1 - c_beta / sqrt(κ) is >= 0")
    check_number("c_mu", c_mu, 0, "[)", root, "observation = c_mu / sqrt(κ) is < 1")
    remedy = "Theorem 1 needs c_alpha <= 2 / (c_beta + c_mu); lower the learning rate"
    check_number("c_alpha", c_alpha, 0, "(]", 2 / (c_beta + c_mu), remedy)
