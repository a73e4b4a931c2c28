"""RSG along one eigenvector of a quadratic: a linear system with a 2x2 matrix.

With curvature λ, learning rate α and tau = αλ, the scaled momentum v = αm and the
deviation s of the held parameters from the minimum follow (ARSG eq. 10)

    [v; s] <- A [v; s] + tau δ b,    b = [1 - b1, -(1 - b1 (1 - observation))]

where δ is the gradient's error divided by λ.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from arsg_optax.dynamics._arguments import (
    check_b1,
    check_observation,
    check_tau,
    common_arrays,
    safe_sqrt,
)


class Eigenvalues(NamedTuple):
    """Both eigenvalues of the gain matrix, complex, of the arguments' shape.

    Attributes:
      r1: the root with the plus sign in ARSG eq. 11: larger real or positive
        imaginary part.
      r2: the root with the minus sign.
    """

    r1: jax.Array
    r2: jax.Array


def gain_matrix(tau: ArrayLike, b1: ArrayLike, observation: ArrayLike) -> jax.Array:
    """The matrix A that multiplies [v, s] in each step without noise.

    Args:
      tau: learning rate times curvature, dimensionless, any sign.
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      Shape (..., 2, 2), where ... is the arguments' broadcast shape.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG eq. 10.
    """
    tau, b1, observation = _checked(tau, b1, observation)
    kick = _kick(b1, observation)
    first = jnp.stack([b1, (1 - b1) * tau], axis=-1)
    second = jnp.stack([-b1 * (1 - observation), 1 - kick * tau], axis=-1)
    return jnp.stack([first, second], axis=-2)


def eigenvalues(tau: ArrayLike, b1: ArrayLike, observation: ArrayLike) -> Eigenvalues:
    """Eigenvalues of the gain matrix.

    At the edges of the complex region, where they meet, their derivatives are
    infinite; there the derivative of the mean of the two is returned.

    Args:
      tau: learning rate times curvature, dimensionless, any sign.
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      :class:`Eigenvalues` of the arguments' broadcast shape: complex128 where x64 is
      on, else complex64.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG eq. 11.
    """
    return _eigenvalues(*_checked(tau, b1, observation))


def gain_factor(tau: ArrayLike, b1: ArrayLike, observation: ArrayLike) -> jax.Array:
    """Largest modulus of the eigenvalues: the error's factor per step in a long run.

    It is below 1 from tau = 0 to :func:`convergence_bound`; it falls up to
    :func:`fastest_tau` and rises after it, so its maximum over an interval of tau is
    at one of the ends. At the edges of the complex region, where one one-sided
    derivative is infinite, a finite derivative is returned.

    Args:
      tau: learning rate times curvature, dimensionless, any sign.
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).

    Returns:
      The factor per step, dimensionless, of the arguments' broadcast shape.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: ARSG after eq. 11.
    """
    return _gain_factor(*_checked(tau, b1, observation))


def _checked(tau, b1, observation):
    check_tau(tau)
    check_b1(b1)
    check_observation(observation)
    return common_arrays(tau, b1, observation)


def _kick(b1, observation):
    """The newest gradient's weight in a step; as a sum it loses no digits."""
    return (1 - b1) + b1 * observation


def _trace(tau, b1, observation):
    return 1 + b1 - tau * _kick(b1, observation)


def _determinant(tau, b1, observation):
    return b1 * (1 - observation * tau)


@jax.custom_jvp
def _discriminant(tau, b1, observation):
    """trace² - 4 determinant, from its roots in tau.

    Near the roots the difference has no correct digits: in float32 at b1 = 0.999 it is
    off by a quarter.
    """
    root = jnp.sqrt(b1) * jnp.sqrt(1 - observation)
    kick = _kick(b1, observation)
    lower = (1 + root) ** 2 * tau - (1 - b1)
    upper = (kick / (1 + root)) ** 2 * tau - (1 - b1)
    return lower * upper


@_discriminant.defjvp
def _discriminant_jvp(primals, tangents):
    # A polynomial in all arguments, but its factors have no derivative at b1 = 0.
    def polynomial(tau, b1, observation):
        trace = _trace(tau, b1, observation)
        return trace**2 - 4 * _determinant(tau, b1, observation)

    return _discriminant(*primals), jax.jvp(polynomial, primals, tangents)[1]


@jax.jit
def _eigenvalues(tau, b1, observation):
    trace = _trace(tau, b1, observation)
    determinant = _determinant(tau, b1, observation)
    discriminant = _discriminant(tau, b1, observation)
    positive = trace >= 0
    larger = (trace + jnp.where(positive, 1, -1) * safe_sqrt(discriminant)) / 2
    # Beside a large root the difference would lose the small one; beside a small root,
    # as where Nesterov's eigenvalues are both 0, the quotient is meaningless.
    is_large = jnp.abs(larger) > 1
    quotient = determinant / jnp.where(is_large, larger, 1)
    smaller = jnp.where(is_large, quotient, trace - larger)
    imaginary = safe_sqrt(-discriminant) / 2
    is_complex = discriminant < 0
    plus = jnp.where(positive, larger, smaller)
    minus = jnp.where(positive, smaller, larger)
    return Eigenvalues(
        lax.complex(jnp.where(is_complex, trace / 2, plus), imaginary),
        lax.complex(jnp.where(is_complex, trace / 2, minus), -imaginary),
    )


@jax.jit
def _gain_factor(tau, b1, observation):
    trace = _trace(tau, b1, observation)
    determinant = _determinant(tau, b1, observation)
    discriminant = _discriminant(tau, b1, observation)
    real = (jnp.abs(trace) + safe_sqrt(discriminant)) / 2
    return jnp.where(discriminant < 0, safe_sqrt(determinant), real)
