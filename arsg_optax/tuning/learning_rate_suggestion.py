"""A step size from curvature and noise, by the dynamics of the momentum."""

import math
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from arsg_optax._validation import check_number
from arsg_optax.dynamics import convergence_bound, gain_factor, variance_limit
from arsg_optax.tuning.curvature import Curvature


class LearningRateSuggestion(NamedTuple):
    """A step size, and the numbers that it follows from.

    Attributes:
      learning_rate: the smaller one of the two limits below.
      limited_by: "curvature" or "noise".
      curvature_limit: `safety` times the largest step size that converges.
      noise_limit: the step size at which noise keeps `noise_share` of the loss; at
        most the largest that converges.
      curvature: the largest curvature that counts, λ.
      tau: learning rate times this curvature, dimensionless.
      bound: tau from which on it diverges, of the momentum alone.
      variance: variance of the deviation along this curvature that noise keeps up in
        the long run, in units of the variance of one batch's own minimum.
      noise_loss: how far above its minimum noise keeps the loss in the long run, at
        most.
      loss: the loss that was measured.
      half_life: steps in which the error along this curvature halves in the long run.
      gradients: what the measurement took, in gradients of one batch.
    """

    learning_rate: float
    limited_by: Literal["curvature", "noise"]
    curvature_limit: float
    noise_limit: float
    curvature: float
    tau: float
    bound: float
    variance: float
    noise_loss: float
    loss: float
    half_life: float
    gradients: float

    def __str__(self) -> str:
        share = self.noise_loss / self.loss if self.loss > 0 else math.inf
        return "\n".join(
            (
                f"learning rate {self.learning_rate:.3g}, limited by "
                f"{self.limited_by} (curvature {self.curvature_limit:.3g}, noise "
                f"{self.noise_limit:.3g})",
                f"largest curvature {self.curvature:.4g}: tau {self.tau:.3g} of "
                f"{self.bound:.3g}, where it would diverge; its error halves in "
                f"{self.half_life:.3g} steps",
                f"noise keeps at most {self.noise_loss:.3g} of loss, {share:.0%} of "
                f"{self.loss:.4g} now",
                f"measured with {self.gradients:.0f} gradients",
            )
        )


def suggest_learning_rate(
    measured: Curvature,
    *,
    b1: float = 0.999,
    observation: float = 0.1,
    safety: float = 0.5,
    noise_share: float = 0.5,
    min_weight: float = 0.0,
) -> LearningRateSuggestion:
    r"""The step size of RSG or ARSG that curvature and noise allow.

    With the eigenvalues :math:`\lambda_j` that were measured, the noise
    :math:`\sigma_j^2` along each and :math:`\sigma_\perp^2` outside of them, the
    convergence bound :math:`\bar\tau` and the variance limit :math:`V` of
    :mod:`arsg_optax.dynamics`, it is the smaller one of two limits:

    .. math::

      \begin{align*}
        \alpha_\lambda &= s\,\bar\tau / \lambda \\
        \alpha_\sigma &: \quad \tfrac12 \sum_j \frac{\sigma_j^2}{\lambda_j}
          V(\alpha\lambda_j) + \tfrac14 \alpha\,\sigma_\perp^2 = r\,L
      \end{align*}

    with s = ``safety`` and r = ``noise_share`` of the loss :math:`L` measured. The left
    side is how far above the minimum the expected loss stays in the long run.
    Directions that were not resolved, those of negative curvature and those that
    ``min_weight`` leaves out are taken as flat, where V(τ)/τ is 1/2; with b1 >= 0.9 and
    an observation factor of 0.1 it is less up to half of the bound. There, for b1 =
    0.999 and τ well above 0.01, V is about x / (1 - x) at the share x of the bound: at
    one half, the default, the deviation along the sharpest direction varies as much as
    the minimum of a single batch does.

    Both limits hold at the point where they were measured. If the curvature grows in
    training, a smaller ``safety`` helps. The noise falls together with the loss as a
    network learns its data, so the share that it keeps in the end is smaller.

    Args:
      measured: the result of :func:`curvature`, for ARSG with a preconditioner;
        :func:`probe_learning_rate` does both steps.
      b1: momentum decay, in [0, 1).
      observation: observation factor, in [0, 1).
      safety: share of the convergence bound, in (0, 1).
      noise_share: which share of the measured loss noise may keep, positive;
        ``math.inf`` allows any noise, which losses that are not positive need.
      min_weight: λ is the largest curvature, leaving out those at the top that have
        less than this share of the squared gradient together; in [0, 1). 0 takes the
        largest one. Plain gradients need that: a single direction that diverges ruins
        everything. A running maximum divides by more where the gradient grows, so for
        ARSG rare directions may be left out: 0.01.

    Returns:
      The step size with its reasons; ``str()`` of it is readable.

    Raises:
      ValueError: if a number is out of range, if no curvature is positive, or if
        ``min_weight`` meets weights from a random start.

    References:
      ARSG sections 3.2 and 3.3, for the bound and the variance.
    """
    _check(measured, safety, noise_share, min_weight)
    curvature = _counting(measured, min_weight)
    if curvature <= 0:
        raise ValueError(
            f"measured must have a positive curvature, got {measured.eigenvalues}; "
            "measure where the loss has one, or with more iterations."
        )
    bound = float(convergence_bound(b1, observation))
    top = bound / curvature * (1 - 1e-6)

    def noise_loss(rate: float) -> float:
        return _noise_loss(measured, curvature, rate, b1, observation)

    noise_limit = top
    if noise_share < math.inf:
        noise_limit = _solve(noise_loss, noise_share * measured.loss, top)
    curvature_limit = safety * bound / curvature
    rate = min(curvature_limit, noise_limit)
    tau = rate * curvature
    gain = float(gain_factor(tau, b1, observation))
    return LearningRateSuggestion(
        learning_rate=rate,
        limited_by="curvature" if rate == curvature_limit else "noise",
        curvature_limit=curvature_limit,
        noise_limit=noise_limit,
        curvature=curvature,
        tau=tau,
        bound=bound,
        variance=float(variance_limit(tau, b1, observation)),
        noise_loss=noise_loss(rate),
        loss=measured.loss,
        half_life=_half_life(gain),
        gradients=measured.gradients,
    )


def _half_life(gain: float) -> float:
    if gain <= 0:
        return 0.0
    return math.log(0.5) / math.log(gain) if gain < 1 else math.inf


def _counting(measured: Curvature, min_weight: float) -> float:
    """The largest eigenvalue below what may be left out."""
    descending = measured.eigenvalues[::-1]
    shares = np.cumsum(measured.weights[::-1]) / np.sum(measured.weights)
    return float(descending[min(np.searchsorted(shares, min_weight), len(shares) - 1)])


def _noise_loss(
    measured: Curvature, top: float, rate: float, b1: float, observation: float
) -> float:
    """How far above the minimum noise keeps the expected loss in the long run.

    Directions beyond the top curvature were left out and count as flat.
    """
    values = np.where(measured.eigenvalues > top, 0.0, measured.eigenvalues)
    # V(τ)/τ at τ = 0 is 1/2; a tiny τ stands for flat directions.
    tau = np.maximum(rate * values, 1e-6)
    slope = np.asarray(variance_limit(jnp.asarray(tau), b1, observation)) / tau
    along = float(np.sum(measured.noise * slope))
    return rate * (along / 2 + measured.noise_outside / 4)


def _solve(noise_loss, target: float, top: float) -> float:
    """Where a growing function of the step size meets the target, at most the top."""
    low, high = 0.0, top
    if noise_loss(high) <= target:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if noise_loss(middle) <= target else (low, middle)
    return low


def _check(
    measured: Curvature, safety: float, noise_share: float, min_weight: float
) -> None:
    check_number("safety", safety, 0, "()", 1, "it is a share of the bound; try 0.5.")
    remedy = "it is a share of the loss; 0.5 is the default, math.inf for any noise."
    check_number("noise_share", noise_share, 0, "(]", math.inf, remedy)
    if measured.loss <= 0 and noise_share < math.inf:
        raise ValueError(
            f"measured must have a positive loss, got {measured.loss}; noise cannot "
            "be a share of it: pass noise_share=math.inf."
        )
    remedy = "it is a share of the squared gradient; 0.01 is usual for ARSG."
    check_number("min_weight", min_weight, 0, "[)", 1, remedy)
    if min_weight and measured.start != "gradient":
        raise ValueError(
            f"min_weight must be 0 for a random start, got {min_weight}; measure with "
            "start='gradient'."
        )
