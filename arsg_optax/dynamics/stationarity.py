r"""ARSG's bound on the gradient of a smooth non-convex function.

Units as in :mod:`arsg_optax.dynamics.regret`: losses in f, parameters in x.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from arsg_optax.dynamics._arguments import (
    check_b1,
    check_nonnegative,
    check_observation,
    check_positive,
    common_arrays,
)
from arsg_optax.dynamics._theorems import check_horizon, check_step_size


class Theorem2Coefficients(NamedTuple):
    """D₁ ... D₆ of ARSG eq. 17, scalars or arrays that broadcast."""

    d1: jax.Array
    d2: jax.Array
    d3: jax.Array
    d4: jax.Array
    d5: jax.Array
    d6: jax.Array


def arsg_theorem2_bound(
    horizon: ArrayLike,
    coefficients: Theorem2Coefficients,
    *,
    step_size: ArrayLike,
    eps: ArrayLike,
    dimension: ArrayLike,
) -> jax.Array:
    r"""ARSG's bound on the smallest expected squared gradient, O(1/√T).

    .. math::

      \min_{t \le T} E \|\nabla f(x_t)\|^2 \le D_1 \frac{\dot\alpha}{\sqrt T \epsilon}
      + D_2 \frac{1}{\dot\alpha \sqrt T} + (D_3 d + D_4) \frac{1}{T \sqrt\epsilon}
      + (D_5 d + D_6) \frac{\dot\alpha}{T^{3/2} \epsilon}

    Source: ARSG Theorem 2, eq. 17, without projection and under
    :func:`arsg_optax.dynamics.arsg_theorem2_schedules`.

    Args:
      horizon: T >= 1, any shape.
      coefficients: of :func:`arsg_theorem2_coefficients` or
        :func:`arsg_theorem2_derived_coefficients`.
      step_size: α̇, in x.
      eps: where v̂ starts, in (f/x)².
      dimension: d, the number of parameters.

    Returns:
      The bound in (f/x)², of the broadcast shape.

    Raises:
      ValueError: if a number is out of range.
    """
    check_horizon(horizon)
    check_step_size(step_size)
    check_positive("eps", eps, "it is where the maximum of the moment starts")
    horizon, rate, eps, dimension, *parts = common_arrays(
        horizon, step_size, eps, dimension, *coefficients
    )
    d1, d2, d3, d4, d5, d6 = parts
    return (
        (d1 * rate / eps + d2 / rate) / jnp.sqrt(horizon)
        + (d3 * dimension + d4) / (horizon * jnp.sqrt(eps))
        + (d5 * dimension + d6) * rate / (horizon**1.5 * eps)
    )


def arsg_theorem2_coefficients(
    *,
    b1: ArrayLike,
    observation: ArrayLike,
    smoothness: ArrayLike,
    gradient_l2: ArrayLike,
    gap: ArrayLike,
) -> Theorem2Coefficients:
    """The coefficients that the paper's supplement gives.

    They add terms of different units (smoothness squared, smoothness, a number), so the
    bound depends on the units chosen; and they assume eps <= gradient_l2².

    Source: ARSG, supplementary materials, eq. A94.

    Args:
      b1: β₁, in [0, 1).
      observation: μ, in [0, 1).
      smoothness: L, Lipschitz constant of the gradient, in f/x².
      gradient_l2: G₂, largest norm of a noisy gradient, in f/x.
      gap: f(x₁) less the smallest value of f, in f.

    Raises:
      ValueError: if a number is out of range.
    """
    _check(b1, observation, smoothness, gradient_l2, gap)
    b1, factor, smooth, g2, gap = common_arrays(
        b1, observation, smoothness, gradient_l2, gap
    )
    odds = b1 / (1 - b1)
    momentum, newest = odds * (1 - factor), odds * factor
    cube = g2**3
    quartic = odds**2 * (1 - factor) / (1 - b1) ** 2 + odds**2 * factor / 2
    linear = (1 + newest) * (9 * newest**2 + 6) + newest / 2
    return Theorem2Coefficients(
        d1=cube * (smooth**2 * quartic + smooth * linear + 0.5),
        d2=cube * momentum + g2 * gap,
        d3=cube * (momentum + 4),
        d4=cube * newest,
        d5=cube
        * (
            smooth**2 * odds**4 * (1 - factor) / (1 - b1) ** 2
            + 1.5 * smooth * (1 + newest) * odds**2
        ),
        d6=cube * (momentum + 1.5 * smooth * (1 + newest) * odds**2),
    )


def arsg_theorem2_derived_coefficients(
    *,
    b1: ArrayLike,
    observation: ArrayLike,
    smoothness: ArrayLike,
    gradient_l2: ArrayLike,
    gap: ArrayLike,
    largest_root: ArrayLike | None = None,
) -> Theorem2Coefficients:
    r"""Smaller coefficients of one unit each, with the same conditions.

    With :math:`\kappa = (1-\mu)\beta_1/(1-\beta_1)` and :math:`P_t = \hat v_t^{-1/2}`
    the sequence :math:`z_t = x_t - \alpha\kappa P_{t-1} m_{t-1}` moves by
    :math:`-\alpha P_t g_t - \alpha\kappa (P_t - P_{t-1}) m_{t-1}`. The descent lemma at
    z, with :math:`P_{t-1}`, which does not depend on the noise of step t, in place of
    :math:`P_t` in the first-order term, summed over t, gives eq. 17 with

    .. math::

      D_1 = G L G_2^2 (1+\kappa),\; D_2 = G (f(x_1) - f^*),\;
      D_3 = G G_2^2 (1+\kappa),\; D_5 = G L G_2^2 \kappa^2,\; D_4 = D_6 = 0

    where G bounds :math:`\hat v_T^{1/2}`. For :math:`G \le G_2` each is at most the
    supplement's.

    Args:
      b1: β₁, in [0, 1).
      observation: μ, in [0, 1).
      smoothness: L, Lipschitz constant of the gradient, in f/x².
      gradient_l2: G₂, largest norm of a noisy gradient, in f/x.
      gap: f(x₁) less the smallest value of f, in f.
      largest_root: G, in f/x: the run's largest √v̂; None is gradient_l2, which needs
        eps <= gradient_l2².

    Raises:
      ValueError: if a number is out of range.
    """
    _check(b1, observation, smoothness, gradient_l2, gap)
    root = gradient_l2 if largest_root is None else largest_root
    check_positive("largest_root", root, "it is the largest √v̂ of the run")
    b1, factor, smooth, g2, gap, root = common_arrays(
        b1, observation, smoothness, gradient_l2, gap, root
    )
    behind = (1 - factor) * b1 / (1 - b1)
    energy = root * g2**2
    return Theorem2Coefficients(
        d1=energy * smooth * (1 + behind),
        d2=root * gap,
        d3=energy * (1 + behind),
        d4=jnp.zeros_like(energy),
        d5=energy * smooth * behind**2,
        d6=jnp.zeros_like(energy),
    )


def _check(
    b1: ArrayLike,
    observation: ArrayLike,
    smoothness: ArrayLike,
    gradient_l2: ArrayLike,
    gap: ArrayLike,
) -> None:
    check_b1(b1)
    check_observation(observation)
    check_positive("smoothness", smoothness, "it bounds the curvature")
    check_positive("gradient_l2", gradient_l2, "it bounds the gradients")
    check_nonnegative("gap", gap, "no value lies below the smallest")
