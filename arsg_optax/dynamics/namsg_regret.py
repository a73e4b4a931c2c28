r"""NAMSG's regret bounds; units are those of :mod:`arsg_optax.dynamics.regret`."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from arsg_optax._validation import check_number
from arsg_optax.dynamics._arguments import check_magnitudes, common_arrays
from arsg_optax.dynamics._theorems import (
    check_b2,
    check_decays,
    check_horizon,
    check_rows,
    check_step_size,
    momentum_weight,
    step_numbers,
)


def namsg_theorem1_bound(
    roots: ArrayLike,
    gradients: ArrayLike,
    *,
    step_size: ArrayLike,
    b1: ArrayLike,
    b2: ArrayLike,
    diameter: ArrayLike,
) -> jax.Array:
    r"""NAMSG's data-dependent regret bound for convex losses, after every step.

    .. math::

      R_T \le \frac{D^2 \sqrt T}{2\alpha(1-\beta_1^2)} \sum_i \hat v_{T,i}^{1/2}
      + \frac{D^2}{2(1-\beta_1^2)} \sum_{t,i} \frac{\beta_{1t}^2 \hat v_{t,i}^{1/2}}
      {\alpha_t} + \left( \frac{3\beta_1^2}{2(1-\beta_1)(1-\gamma)} + 1 \right)
      \frac{\alpha \sqrt{1+\log T}}{(1-\beta_1^2)\sqrt{1-\beta_2}}
      \sum_i \| g_{1:T,i} \|_2

    Source: NAMSG Theorem 1, eq. 14. The paper's D bounds the Euclidean diameter; its
    proof needs only the largest extent of a coordinate, and ε only through v̂.

    Args:
      roots: (T, d), √v̂ after each step, in f/x.
      gradients: (T, d), in f/x.
      step_size: α, in x.
      b1: (T,), β₁ₜ at each step, nonincreasing, the first below √b2.
      b2: in [0, 1).
      diameter: largest extent of the feasible set in a coordinate, in x.

    Returns:
      (T,), the bound in f on the regret after 1 ... T steps.

    Raises:
      ValueError: if a number is out of range or a shape does not fit.
    """
    check_step_size(step_size)
    check_b2(b2)
    check_magnitudes(diameter=diameter)
    (roots,), (gradients,), (decay,) = map(common_arrays, (roots, gradients, b1))
    check_rows("roots", roots)
    check_rows("gradients", gradients)
    if not decay.shape == roots.shape[:1] == gradients.shape[:1]:
        raise ValueError(
            f"b1 must have the shape (T,) of the rows of roots and gradients, got "
            f"{decay.shape} with {roots.shape} and {gradients.shape}; evaluate the "
            "schedule by jax.vmap(schedule)(jnp.arange(T))."
        )
    root_sum = jnp.sum(roots, axis=1)
    squares = jnp.cumsum(jnp.square(gradients), axis=0)
    norm_sum = jnp.sum(jnp.sqrt(squares), axis=1)
    steps = step_numbers(roots)
    momentum = jnp.cumsum(jnp.square(decay) * root_sum * jnp.sqrt(steps))
    constants = (step_size, decay[0], b2, diameter)
    return _namsg_bound(steps, root_sum, norm_sum, momentum, *constants)


def namsg_corollary1_bound(
    horizon: ArrayLike,
    root_sum: ArrayLike,
    gradient_norm_sum: ArrayLike,
    *,
    step_size: ArrayLike,
    b1: ArrayLike,
    b2: ArrayLike,
    decay: ArrayLike,
    diameter: ArrayLike,
) -> jax.Array:
    r"""NAMSG's regret bound for :math:`\beta_{1t} = \beta_1 \lambda^{t-1}`, O(√T).

    Eq. 14 with its second term summed. From
    :math:`\sum_t \lambda^{2(t-1)} \sqrt t \le \sum_t t \lambda^{2(t-1)}
    \le (1-\lambda^2)^{-2}` and :math:`\hat v_t \le \hat v_T` that term is at most

    .. math::

      \frac{\beta_1^2 D^2}{2\alpha(1-\beta_1^2)(1-\lambda^2)^2}
      \sum_i \hat v_{T,i}^{1/2}

    where the sum is at most :math:`d\,G_\infty` for :math:`\epsilon \le G_\infty^2`.
    The paper's eq. 16 prints :math:`\beta_1 D^2 G_\infty / (2(1-\beta_1^2)
    (1-\lambda)^2)` instead, without d and 1/α. It is in the wrong units and does not
    follow from eq. 14: for a small step size or a large dimension it is too small.

    Source: NAMSG Corollary 1 with eq. 16 corrected.

    Args:
      horizon: T >= 1, any shape.
      root_sum: Σᵢ √v̂ of the run at T, in f/x; beforehand at most d max(G∞, √eps).
      gradient_norm_sum: Σᵢ ‖g_{1:T,i}‖₂, in f/x; beforehand at most d G∞ √T.
      step_size: α, in x.
      b1: β₁, in [0, 1) and below √b2.
      b2: in [0, 1).
      decay: λ, in [0, 1).
      diameter: largest extent of the feasible set in a coordinate, in x.

    Returns:
      The bound in f, of the broadcast shape.

    Raises:
      ValueError: if a number is out of range.
    """
    check_horizon(horizon)
    check_step_size(step_size)
    check_decays(b1, b2)
    check_number("decay", decay, 0, "[)", 1, "at 1 the sum does not converge")
    check_magnitudes(
        root_sum=root_sum, gradient_norm_sum=gradient_norm_sum, diameter=diameter
    )
    root_sum, first, decay = common_arrays(root_sum, b1, decay)
    weight = jnp.square(first / (1 - decay**2))
    constants = (step_size, b1, b2, diameter)
    return _namsg_bound(
        horizon, root_sum, gradient_norm_sum, weight * root_sum, *constants
    )


def namsg_harmonic_bound(
    horizon: ArrayLike,
    root_sum: ArrayLike,
    gradient_norm_sum: ArrayLike,
    *,
    step_size: ArrayLike,
    b1: ArrayLike,
    b2: ArrayLike,
    diameter: ArrayLike,
) -> jax.Array:
    r"""NAMSG's regret bound for :math:`\beta_{1t} = \beta_1 / t`, O(√T).

    Eq. 14 with its second term summed:
    :math:`\sum_{t \le T} t^{-3/2} \le 3 - 2/\sqrt T`, so that the term stays bounded.

    Source: NAMSG, the remark after Corollary 1, which gives no formula.

    Args:
      horizon, root_sum, gradient_norm_sum, step_size, b1, b2, diameter: see
        :func:`namsg_corollary1_bound`.

    Returns:
      The bound in f, of the broadcast shape.

    Raises:
      ValueError: if a number is out of range.
    """
    check_horizon(horizon)
    check_step_size(step_size)
    check_decays(b1, b2)
    check_magnitudes(
        root_sum=root_sum, gradient_norm_sum=gradient_norm_sum, diameter=diameter
    )
    horizon, root_sum, first = common_arrays(horizon, root_sum, b1)
    momentum = first**2 * root_sum * (3 - 2 / jnp.sqrt(horizon))
    constants = (step_size, b1, b2, diameter)
    return _namsg_bound(horizon, root_sum, gradient_norm_sum, momentum, *constants)


def _namsg_bound(
    horizon: ArrayLike,
    root_sum: ArrayLike,
    norm_sum: ArrayLike,
    momentum: ArrayLike,
    *constants: ArrayLike,
) -> jax.Array:
    """Eq. 14; `momentum` is the sum over t of β₁ₜ² √t and the sum of √v̂."""
    horizon, root_sum, norm_sum, momentum, rate, b1, b2, width = common_arrays(
        horizon, root_sum, norm_sum, momentum, *constants
    )
    distance = width**2 * (jnp.sqrt(horizon) * root_sum + momentum) / (2 * rate)
    noise = (1.5 * momentum_weight(b1, b2) + 1) * rate * norm_sum / jnp.sqrt(1 - b2)
    return (distance + noise * jnp.sqrt(1 + jnp.log(horizon))) / (1 - b1**2)
