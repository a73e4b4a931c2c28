r"""The papers' regret bounds, as functions of their constants.

The regret after T steps is :math:`R_T = \sum_{t \le T} f_t(x_t) - f_t(x^*)` with the
parameters :math:`x_t` held by the training loop, where the gradients are taken, and
:math:`x^*` the best fixed point of a convex feasible set that the parameters are
projected onto after every update. The proofs weight the projection's norm by
:math:`\sqrt{\hat v}` (AdaRem: by the inverse step sizes); onto a box that is the
Euclidean projection. The bounds hold under the schedules of
:mod:`arsg_optax.dynamics.schedules`.

Everything is in the caller's units: with losses in f and parameters in x, gradients
and :math:`\sqrt{\hat v}` are in f/x, diameters in x, the bounds in f. Functions are
pure and jittable. Results have the arrays' dtype, float32 at least, or for Python
numbers JAX's default. A horizon may be an array: a bound after each of many steps.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from arsg_optax._validation import check_number
from arsg_optax.dynamics._arguments import (
    check_b1,
    check_magnitudes,
    check_observation,
    check_positive,
    common_arrays,
)
from arsg_optax.dynamics._theorems import (
    check_decays,
    check_horizon,
    check_nesterov_or_beyond,
    check_rows,
    check_step_size,
    momentum_weight,
    step_numbers,
)


def arsg_theorem3_bound(
    horizon: ArrayLike,
    *,
    step_size: ArrayLike,
    b1: ArrayLike,
    b2: ArrayLike,
    observation: ArrayLike,
    diameter: ArrayLike,
    gradient_l1: ArrayLike,
    eps: ArrayLike | None = None,
    largest_root: ArrayLike | None = None,
) -> jax.Array:
    r"""ARSG's regret bound for strongly convex losses, O(log T).

    .. math::

      R_T \le \left( \frac{\alpha G_1}{\sqrt{1-\beta_2}} \left( \frac{3}{2}
      \frac{\beta_1^2}{(1-\beta_1)(1-\gamma)} + \mu^2 \right)
      + \frac{(1-\mu)\beta_1 D^2}{2\alpha} w \right)
      \frac{1+\log T}{1-\beta_1(1-\mu)}

    with :math:`\gamma = \beta_1/\sqrt{\beta_2}`. The paper prints
    :math:`w = 1/\sqrt\epsilon`, in the wrong units: its proof bounds
    :math:`\hat v^{1/2} \le 1/\sqrt\epsilon` where only
    :math:`\hat v^{1/2} \ge \sqrt\epsilon` is known (supplement, A108). What the proof
    gives is :math:`w = \max \hat v_T^{1/2}`, ``largest_root``. As printed the bound
    follows only where that is below :math:`1/\sqrt\epsilon`.

    Source: ARSG Theorem 3, eq. 18. It holds where the step size is at least
    :func:`arsg_theorem3_step_size` at every step.

    Args:
      horizon: T >= 1, any shape.
      step_size: α, in x.
      b1: β₁ of the schedule β₁ / t², in [0, 1) and below √b2.
      b2: in [0, 1).
      observation: μ, in [1 - b1, 1).
      diameter: of the feasible set, Euclidean, in x.
      gradient_l1: largest 1-norm of a gradient in the set, in f/x.
      eps: evaluates the bound as printed; in (f/x)².
      largest_root: evaluates it with this √v̂, in f/x: of the run, or the larger of √eps
        and the largest gradient element. Exactly one of the two.

    Returns:
      The bound in f, of the broadcast shape.

    Raises:
      ValueError: if a number is out of range or not one of eps and largest_root given.
    """
    check_horizon(horizon)
    check_step_size(step_size)
    check_decays(b1, b2)
    check_nesterov_or_beyond(b1, observation)
    check_magnitudes(diameter=diameter, gradient_l1=gradient_l1)
    if (eps is None) == (largest_root is None):
        raise ValueError(
            "exactly one of eps and largest_root must be given, got "
            f"{eps!r} and {largest_root!r}; eps is the bound as printed, largest_root "
            "what its proof gives."
        )
    root: ArrayLike = 0.0 if largest_root is None else largest_root
    check_magnitudes(largest_root=root)
    if eps is not None:
        check_positive("eps", eps, "it is where the maximum of the moment starts")
        root = eps**-0.5
    horizon, rate, b1, b2, factor, width, g1, root = common_arrays(
        horizon, step_size, b1, b2, observation, diameter, gradient_l1, root
    )
    noise = rate * g1 / jnp.sqrt(1 - b2) * (1.5 * momentum_weight(b1, b2) + factor**2)
    start = (1 - factor) * b1 * width**2 * root / (2 * rate)
    return (noise + start) * (1 + jnp.log(horizon)) / (1 - b1 * (1 - factor))


def arsg_theorem3_step_size(
    roots: ArrayLike,
    *,
    b1: ArrayLike,
    observation: ArrayLike,
    strong_convexity: ArrayLike,
) -> jax.Array:
    r"""The smallest step size that Theorem 3 allows, at every step of a run.

    .. math::

      \max_i \left( t \hat v_{t,i}^{1/2} - (t-1) \hat v_{t-1,i}^{1/2} \right)
      / \left( (1-\beta_1(1-\mu)) \lambda \right)

    The paper does not say for which t its condition is meant; the proof uses it at
    each. Whether α reaches the largest entry is known only after the run: a second
    moment that still grows at a late t demands a step size proportional to t. Where
    eps is at least the largest squared gradient element, every entry is
    √eps / ((1 - b1 (1 - observation)) strong_convexity).

    Source: ARSG Theorem 3.

    Args:
      roots: (T, d), √v̂ after each step, in f/x.
      b1: β₁ of the schedule β₁ / t², in [0, 1).
      observation: μ, in [0, 1).
      strong_convexity: λ of every loss, in f/x².

    Returns:
      (T,), in x.

    Raises:
      ValueError: if a number is out of range or roots is not a matrix.
    """
    check_b1(b1)
    check_observation(observation)
    check_positive("strong_convexity", strong_convexity, "else use NAMSG's bounds")
    (roots,) = common_arrays(roots)
    check_rows("roots", roots)
    weighted = roots * step_numbers(roots)[:, None]
    before = jnp.concatenate([jnp.zeros_like(weighted[:1]), weighted[:-1]])
    growth = jnp.max(weighted - before, axis=1)
    growth, b1, observation, modulus = common_arrays(
        growth, b1, observation, strong_convexity
    )
    return growth / ((1 - b1 * (1 - observation)) * modulus)


def adarem_theorem1_bound(
    horizon: ArrayLike,
    *,
    step_size: ArrayLike,
    resilience: ArrayLike,
    diameter: ArrayLike,
    gradient_l2: ArrayLike,
    dimension: ArrayLike,
) -> jax.Array:
    r"""AdaRem's regret bound for convex losses as printed, O(√T).

    .. math::

      R_T \le \frac{D^2 d}{\eta(1-\lambda)^3} \left( (5-4\lambda)\sqrt T
      + 2\lambda - 1 \right) + \frac{D^2 d}{2\eta(1-\lambda)}
      + G_2^2 d \eta (2\sqrt T - 1)

    It holds, for it is nowhere below :func:`adarem_derived_bound`; the appendix that
    the paper refers to was not available. Above λ = 0.5 it is nearly vacuous.

    Source: AdaRem Theorem 1, for the resilience λ^t at step t and no weight decay.

    Args:
      horizon: T >= 1, any shape.
      step_size: η, in x²/f.
      resilience: λ, in [0, 1).
      diameter: largest extent of the feasible set in a coordinate, in x.
      gradient_l2: largest Euclidean norm of a gradient in the set, in f/x.
      dimension: d, the number of parameters.

    Returns:
      The bound in f, of the broadcast shape.

    Raises:
      ValueError: if a number is out of range.
    """
    horizon, rate, share, width, norm, size = _adarem_constants(
        horizon, step_size, resilience, diameter, gradient_l2, dimension
    )
    root = jnp.sqrt(horizon)
    spread = width**2 * size / (rate * (1 - share))
    tail = ((5 - 4 * share) * root + 2 * share - 1) / (1 - share) ** 2
    return spread * (tail + 0.5) + norm**2 * size * rate * (2 * root - 1)


def adarem_derived_bound(
    horizon: ArrayLike,
    *,
    step_size: ArrayLike,
    resilience: ArrayLike,
    diameter: ArrayLike,
    gradient_l2: ArrayLike,
    dimension: ArrayLike,
) -> jax.Array:
    r"""A much lower bound that AdaRem's regret satisfies under the same conditions.

    .. math::

      R_T \le \frac{D^2 d}{2\eta(1-\lambda)} \left( \sqrt T
      + \frac{2\lambda(2-\lambda)}{(1-\lambda)^2} \right)
      + \frac{1+\lambda}{2} G_2^2 \eta (2\sqrt T - 1)

    The weights :math:`w_t = \sqrt t/(\eta a_t)` of the telescoping sum grow by at most
    :math:`(\sqrt t - \sqrt{t-1} + 2\lambda^{t-1}\sqrt t)/(\eta(1-\lambda))`, since
    :math:`1-\lambda^t \le a_t \le 1+\lambda^t`, and
    :math:`\sum_{t \ge 2} \lambda^{t-1}\sqrt t \le \lambda(2-\lambda)/(1-\lambda)^2`.
    No dimension is needed with the squared gradients, whose sum the Euclidean norm
    bounds already.

    Source: the proof's outline in AdaRem section 3.3, derived here.

    Args:
      horizon, step_size, resilience, diameter, gradient_l2, dimension: see
        :func:`adarem_theorem1_bound`.

    Returns:
      The bound in f, of the broadcast shape.

    Raises:
      ValueError: if a number is out of range.
    """
    horizon, rate, share, width, norm, size = _adarem_constants(
        horizon, step_size, resilience, diameter, gradient_l2, dimension
    )
    root = jnp.sqrt(horizon)
    growth = root + 2 * share * (2 - share) / (1 - share) ** 2
    distance = width**2 * size / (2 * rate * (1 - share)) * growth
    return distance + (1 + share) / 2 * norm**2 * rate * (2 * root - 1)


def _adarem_constants(
    horizon: ArrayLike,
    step_size: ArrayLike,
    resilience: ArrayLike,
    diameter: ArrayLike,
    gradient_l2: ArrayLike,
    dimension: ArrayLike,
) -> list[jax.Array]:
    check_horizon(horizon)
    check_step_size(step_size)
    check_number("resilience", resilience, 0, "[)", 1, "the bound is infinite at 1")
    constants = (diameter, gradient_l2, dimension)
    check_magnitudes(diameter=diameter, gradient_l2=gradient_l2)
    check_number("dimension", dimension, 1, "[)", float("inf"), "count the parameters")
    return common_arrays(horizon, step_size, resilience, *constants)
