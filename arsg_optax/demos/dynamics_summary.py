"""What the theory says of one setting of RSG, as lines of a table."""

import math
from typing import NamedTuple

from arsg_optax.dynamics import (
    boost_ratio,
    convergence_bound,
    fastest_tau,
    gain_factor,
    variance_limit,
)
from arsg_optax.dynamics.plot import evaluate


class Setting(NamedTuple):
    """RSG's hyper-parameters and the curvatures of a problem.

    Attributes:
        learning_rate: α in parameter² per loss.
        b1: β, dimensionless.
        observation: μ, dimensionless.
        lambda_min: smallest curvature, in loss per parameter²; may be negative.
        lambda_max: largest curvature.
    """

    learning_rate: float
    b1: float
    observation: float
    lambda_min: float
    lambda_max: float

    def tau_range(self) -> tuple[float, float]:
        """Learning rate times smallest and largest curvature."""
        return (
            self.learning_rate * self.lambda_min,
            self.learning_rate * self.lambda_max,
        )


class Line(NamedTuple):
    """A quantity, its value, and one line that explains it."""

    name: str
    value: str
    meaning: str


def summarize(setting: Setting) -> list[Line]:
    """Bound, fastest curvature, gain and noise at both ends, and boost ratio."""
    alpha, b1, observation = setting[:3]
    bound = float(evaluate(convergence_bound, b1, observation))
    fastest = float(evaluate(fastest_tau, b1, observation))
    ends = (setting.lambda_min, setting.lambda_max)
    return [
        Line(
            "convergence bound λ",
            _digits(bound / alpha),
            "largest curvature that converges; the error grows beyond it",
        ),
        Line(
            "fastest curvature λ*",
            _digits(fastest / alpha),
            "curvature whose error shrinks most in a step"
            # Heavy ball has one gain for all complex eigenvalues.
            + (", the largest of many" if observation == 0 else ""),
        ),
        _gain("gain at λ*", fastest, setting),
        *(
            _gain(f"gain at λ = {curvature:g}", alpha * curvature, setting)
            for curvature in ends
        ),
        *(_noise(curvature, setting) for curvature in ends),
        _boost(setting),
    ]


def _gain(name: str, tau: float, setting: Setting) -> Line:
    gain = float(evaluate(gain_factor, tau, setting.b1, setting.observation))
    if gain < 1:
        steps = math.ceil(math.log(0.1) / math.log(gain)) if gain > 0 else 1
        fate = f"a tenth left every {steps:,} steps"
    elif gain > 1:
        fate = "diverges"
    else:
        fate = "stays"
    # Close to 1 the distance from 1 is what counts.
    value = f"{gain:.7f}" if 0.99 < gain < 1.01 else _digits(gain)
    return Line(name, value, f"in the long run its error times this each step: {fate}")


def _noise(curvature: float, setting: Setting) -> Line:
    tau = setting.learning_rate * curvature
    noise = float(evaluate(variance_limit, tau, setting.b1, setting.observation))
    meaning = "variance of its error that stays, per variance of (gradient error)/λ"
    if not math.isfinite(noise):
        meaning = "its error does not converge, the variance grows"
    return Line(f"noise at λ = {curvature:g}", _digits(noise), meaning)


def _boost(setting: Setting) -> Line:
    if setting.observation >= 0.5:
        return Line("boost ratio", "none", "μ = 0.5 and above cannot be doubled")
    ratio = float(evaluate(boost_ratio, setting.b1, setting.observation))
    meaning = "multiply α by it when μ is doubled, and λ* stays"
    return Line("boost ratio", _digits(ratio), meaning)


def _digits(value: float) -> str:
    if math.isinf(value):
        return "infinite"
    return f"{value:.4g}"
