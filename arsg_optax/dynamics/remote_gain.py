"""NAMSG's expected logarithmic gain where noise multiplies the deviation."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from arsg_optax.dynamics._arguments import (
    check_b1,
    check_nonnegative,
    check_tau,
    common_arrays,
    safe_sqrt,
)

# Beyond nine standard deviations lies less than float64's eps of the normal density.
_CUT = 9.0
_NODES_PER_PANEL = 12
# Panel ends in log(1 / distance from the kink). They resolve a singularity at or near
# the kink, of whatever scale, with a number of nodes that does not depend on it.
_LOG_ENDS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 11.0, 14.0, 17.0)


def _graded_rule() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre on panels of [0, 1] that shrink towards 0: nodes and weights."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES_PER_PANEL)
    logs = np.asarray(_LOG_ENDS)
    middle, half = (logs[1:] + logs[:-1]) / 2, (logs[1:] - logs[:-1]) / 2
    # In the logarithm of the node; the last panel, down to 0, in the node itself.
    graded = np.exp(-(middle[:, None] + half[:, None] * nodes))
    last = np.exp(-logs[-1]) * (1 + nodes) / 2
    return (
        np.concatenate([graded.ravel(), last]),
        np.concatenate(
            [
                (graded * half[:, None] * weights).ravel(),
                np.exp(-logs[-1]) * weights / 2,
            ]
        ),
    )


_POINTS, _WEIGHTS = _graded_rule()


def max_gain_expectation(
    tau: ArrayLike, b1: ArrayLike, distance: ArrayLike, noise: ArrayLike
) -> jax.Array:
    r"""Expected logarithm of the larger eigenvalue's modulus under gradient noise.

    NAMSG's gradient error is proportional to the deviation, so it changes the
    eigenvalues:

    .. math::

      \Psi = E_{\delta\sim N(0,1)} \log|\xi|, \qquad
      \xi^2 - (1 + b_1 - (1+\eta)\tau)\,\xi + b_1 + \tau(r\delta - \eta) = 0

    with the root of larger modulus. Its modulus has a kink where the roots meet; the
    integral is split there. Its absolute error is below 1e-9 in float64 and about 1e-6
    in float32, also where the eigenvalues meet at 0 and the logarithm is singular.

    Note the unit: this tau is (1 - b1) times that of the other functions here. Without
    noise Ψ(tau) is the logarithm of `gain_factor(tau / (1 - b1), b1, observation)` with
    observation = distance (1 - b1) / b1.

    Args:
      tau: τ = (1 - b1) αλ, dimensionless, any sign.
      b1: momentum decay, dimensionless, in [0, 1).
      distance: observation distance η in momentum steps, at least 0.
      noise: r, standard deviation of the curvature's relative error, at least 0.

    Returns:
      The natural logarithm of the gain per step, dimensionless, of the arguments'
      broadcast shape; negative where the direction converges in expectation, -inf
      where both eigenvalues are 0 without noise.

    Raises:
      ValueError: if a number is out of range; arrays are not checked.

    Source: NAMSG eq. 12 and 13. **Choices**: the printed integral omits the normal
    density, and its sign ± is read as the larger modulus.
    """
    check_tau(tau)
    check_b1(b1)
    check_nonnegative("distance", distance, "it counts steps ahead of the iterate")
    check_nonnegative("noise", noise, "it is a standard deviation")
    return _expectation(*common_arrays(tau, b1, distance, noise))


@jax.jit
def _expectation(tau, b1, distance, noise):
    trace = jnp.abs(1 + b1 - (1 + distance) * tau)
    # The discriminant is level - slope δ. Expanded in tau it does not cancel at small
    # tau; the normal density is even, so the slope's sign does not matter.
    level = (1 - b1) ** 2 - 2 * tau * (1 + b1 - (1 - b1) * distance)
    level = level + ((1 + distance) * tau) ** 2
    slope = 4 * jnp.abs(tau * noise)
    beyond = jnp.abs(level) >= _CUT * slope
    inside_slope = jnp.where(beyond, 1, slope)
    kink = jnp.where(
        beyond,
        jnp.where(level >= 0, _CUT, -_CUT).astype(level.dtype),
        jnp.where(beyond, 0, level) / inside_slope,
    )

    def log_real(discriminant):
        return jnp.log((trace[..., None] + safe_sqrt(discriminant)) / 2)

    def log_complex(minus_discriminant):
        return jnp.log((trace[..., None] ** 2 + minus_discriminant) / 4) / 2

    left = _side(log_real, level, slope, kink, -1)
    return left + _side(log_complex, -level, slope, kink, 1)


def _side(log_gain, level, slope, kink, sign):
    """Integral over the δ on one side of the kink, where ±discriminant is positive."""
    axes = tuple(range(kink.ndim))  # ranks must be equal where promotion is refused
    points = jnp.expand_dims(jnp.asarray(_POINTS, kink.dtype), axes)
    weights = jnp.expand_dims(jnp.asarray(_WEIGHTS, kink.dtype), axes)
    width = _CUT - sign * kink
    offsets = width[..., None] * points
    delta = kink[..., None] + sign * offsets
    density = jnp.exp(-(delta**2) / 2) / np.sqrt(2 * np.pi).item()
    # Above 0 only where the kink lies outside the range of integration.
    least = jnp.maximum(level - _CUT * slope, 0)
    values = least[..., None] + slope[..., None] * offsets
    # An empty side may hold a logarithm of 0, which times its width would be NaN.
    empty = (width <= 0)[..., None]
    logs = jnp.where(empty, 0, log_gain(jnp.where(empty, 1, values)))
    return width * jnp.sum(weights * density * logs, axis=-1)
