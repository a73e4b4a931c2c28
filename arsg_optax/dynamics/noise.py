"""The noise that stays: variance of the deviation, and its share of the loss."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from arsg_optax.dynamics._arguments import (
    check_b1,
    check_nonnegative,
    check_observation,
    check_tau,
    common_arrays,
)


def variance_limit(tau: ArrayLike, b1: ArrayLike, observation: ArrayLike) -> jax.Array:
    r"""Variance of the deviation after many steps, per variance of the noise.

    It is the limit of Var(s) / Var(δ), where δ is the gradient's error divided by the
    curvature, independent from step to step. It is :math:`\tau^2 S_{22}` with
    :math:`S = ASA^\top + bb^\top`; solved, with :math:`p = b_1\mu` and
    :math:`q = 1-b_1`,

    .. math::

      \tau\,\frac{q(1+b_1) + p(2p+q)\tau}{(q+p\tau)(2(1+b_1) - (2p+q)\tau)}

    which has no cancellation except near the convergence bound. ARSG eq. 15 is the
    same in terms of eigenvectors and fails where these merge. The value grows with
    tau everywhere. For a fixed error of the gradient itself, divide by curvature².

    Args:
      tau: learning rate times curvature, dimensionless, any sign.
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      The ratio, dimensionless, of the arguments' broadcast shape. 0 at tau = 0, the
      limit from above (there it is tau / 2); infinite below 0 and from the convergence
      bound on.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG eq. 15.
    """
    check_tau(tau)
    check_b1(b1)
    check_observation(observation)
    return _variance_limit(*common_arrays(tau, b1, observation))


def final_loss(
    tau: ArrayLike,
    b1: ArrayLike,
    observation: ArrayLike,
    curvature: ArrayLike,
    noise: ArrayLike,
) -> jax.Array:
    """Expected loss along one eigenvector after many steps, λ σ² variance_limit / 2.

    Args:
      tau: learning rate times curvature, dimensionless.
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).
      curvature: λ in loss per parameter².
      noise: σ, standard deviation of the gradient's error divided by the curvature, in
        units of the parameter.

    Returns:
      The loss above the minimum, of the arguments' broadcast shape; infinite where
      :func:`variance_limit` is.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG section 3, final loss expectation; the printed δ² is σ².
    """
    check_nonnegative("curvature", curvature, "only a minimum has a final loss")
    check_nonnegative("noise", noise, "it is a standard deviation")
    check_tau(tau)
    check_b1(b1)
    check_observation(observation)
    tau, b1, observation, curvature, noise = common_arrays(
        tau, b1, observation, curvature, noise
    )
    variance = _variance_limit(tau, b1, observation)
    # Infinite also for a curvature or noise of 0, where the product is not a number.
    finite = jnp.isfinite(variance)
    loss = curvature * noise**2 * jnp.where(finite, variance, 0) / 2
    return jnp.where(finite, loss, jnp.inf)


@jax.jit
def _variance_limit(tau, b1, observation):
    p, q = b1 * observation, 1 - b1
    room = 2 * (1 + b1) - (2 * p + q) * tau
    outside = (tau < 0) | (room <= 0)
    # A harmless point stands in outside, where the quotient could be 0 / 0.
    inside_tau, inside_room = jnp.where(outside, 0, tau), jnp.where(outside, 1, room)
    excess = q * (1 + b1) + p * (2 * p + q) * inside_tau
    ratio = inside_tau * excess / ((q + p * inside_tau) * inside_room)
    return jnp.where(outside, jnp.inf, ratio)
