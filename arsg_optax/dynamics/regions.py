"""Where RSG converges, oscillates and is fastest, in units of tau = αλ."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from arsg_optax._validation import check_number
from arsg_optax.dynamics._arguments import check_b1, check_observation, common_arrays


class ComplexRegion(NamedTuple):
    """The tau between which the eigenvalues are complex: the residual oscillates.

    Attributes:
      lower: dimensionless, of the arguments' broadcast shape.
      upper: the same.
    """

    lower: jax.Array
    upper: jax.Array


def convergence_bound(b1: ArrayLike, observation: ArrayLike) -> jax.Array:
    """The tau below which RSG converges: between 0 and it the gain factor is below 1.

    Divided by the learning rate it is the largest curvature that converges. At b1 = 0
    it is 2, as for gradient descent.

    Args:
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      tau, dimensionless, of the arguments' broadcast shape.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG eq. 11, an eigenvalue of -1.
    """
    b1, observation = _checked(b1, observation)
    return 2 * (1 + b1) / ((1 - b1) + 2 * b1 * observation)


def symmetric_point(b1: ArrayLike, observation: ArrayLike) -> jax.Array:
    """The tau where the eigenvalues are opposite: their sum is 0.

    Beyond it the eigenvalue nearer to -1 sets the gain factor.

    Args:
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      tau, dimensionless, of the arguments' broadcast shape.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG eq. 11, ρ = 0.
    """
    b1, observation = _checked(b1, observation)
    return (1 + b1) / ((1 - b1) + b1 * observation)


def complex_region(b1: ArrayLike, observation: ArrayLike) -> ComplexRegion:
    r"""The tau between which the eigenvalues are complex.

    With :math:`w = \sqrt{b_1(1-\mu)}` it reaches from :math:`(1-b_1)/(1+w)^2` to
    :math:`(1-b_1)/(1-w)^2`. At b1 = 0 it is the point 1, and its derivative by b1 is
    infinite there.

    Args:
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      :class:`ComplexRegion` in units of tau.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG eq. 11, the roots of the discriminant.
    """
    b1, observation = _checked(b1, observation)
    # Two roots: the derivative by observation stays finite at b1 = 0.
    above = 1 + jnp.sqrt(b1) * jnp.sqrt(1 - observation)
    below = ((1 - b1) + b1 * observation) / above  # 1 - w without cancellation
    return ComplexRegion((1 - b1) / above**2, (1 - b1) / below**2)


def fastest_tau(b1: ArrayLike, observation: ArrayLike) -> jax.Array:
    """The tau of the smallest gain factor: the right end of the complex region.

    This is the minimum over all tau for every b1 and observation in [0, 1): up to the
    complex region the gain factor falls, inside it is sqrt(b1 (1 - observation tau)),
    beyond it the eigenvalues part on the real line and the larger modulus grows. At
    observation = 0 (heavy ball) the whole complex region has the gain sqrt(b1), and
    this is its right end, the limit from observation > 0. At b1 = 0 it is 1.

    Args:
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      tau, dimensionless, of the arguments' broadcast shape.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG section 3, argmin over τ of r_g, which the paper leaves without a
    formula.
    """
    return complex_region(b1, observation).upper


def boost_ratio(b1: ArrayLike, observation: ArrayLike) -> jax.Array:
    """The learning rate's factor when the observation factor doubles.

    With this factor the curvature that converges fastest stays the same. For b1 = 0.999
    and observation = 0.05 it is 0.2483, the paper's "roughly divided by 4".

    Args:
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor before the boost, dimensionless, in [0, 0.5).

    Returns:
      The factor, dimensionless, at most 1, of the arguments' broadcast shape; NaN
      where an array's doubled observation exceeds 1.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG section 3, observation boost.
    """
    remedy = "a boost doubles it and the result must stay below 1"
    check_number("observation", observation, 0, "[)", 0.5, remedy)
    b1, observation = _checked(b1, observation)
    return fastest_tau(b1, 2 * observation) / fastest_tau(b1, observation)


def _checked(b1, observation):
    check_b1(b1)
    check_observation(observation)
    return common_arrays(b1, observation)
