"""Prints how far the theory strays from independent computations.

python -m scripts.report_dynamics
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import arsg_optax
from arsg_optax import dynamics
from tests.dynamics.reference import (
    exact_variance,
    printed_variance,
    radius,
    responses,
)

DECAYS, FACTORS = (0.0, 0.5, 0.9, 0.99, 0.999), (0.0, 0.001, 0.05, 0.1, 0.4)
SHARES = np.linspace(0.013, 0.9, 23)  # of the convergence bound


def grid() -> list[tuple[float, float, float]]:
    """Settings (tau, b1, observation) inside the region of convergence."""
    return [
        (float(share * dynamics.convergence_bound(b1, mu)), b1, mu)
        for b1, mu, share in itertools.product(DECAYS, FACTORS, SHARES)
    ]


def away_from_edges(tau: float, b1: float, mu: float) -> bool:
    """Whether eq. 15 can be trusted: 5 % from the ends of the complex region."""
    ends = np.asarray(dynamics.complex_region(b1, mu))
    return bool(np.all(np.abs(ends - tau) > 0.05 * tau))


def relative(function, reference, settings) -> float:
    """Largest relative difference of two functions of (tau, b1, observation)."""
    pairs = [(float(function(*s)), float(reference(*s))) for s in settings]
    return max(abs(a - b) / abs(b) for a, b in pairs)


def against_the_optimizer(steps: int = 300) -> float:
    """RSG and its iterate on a quadratic beside `simulate`, same noise, absolute."""
    tau, b1, mu = 0.7, 0.99, 0.1
    noise = jax.random.normal(jax.random.key(0), (steps,))
    optimizer = arsg_optax.rsg(tau, b1, mu)

    def step(carry: Any, error: jax.Array):
        y, state = carry
        updates, state = optimizer.update(y + error, state, y)
        y = optax.apply_updates(y, updates)
        return (y, state), (y, arsg_optax.eval_params(state, y))

    start = jnp.ones(())
    held: Any
    iterate: Any
    _, (held, iterate) = jax.lax.scan(step, (start, optimizer.init(start)), noise)
    theory = dynamics.simulate(tau, b1, mu, noise)
    errors = held - theory.deviation[1:], iterate - theory.iterate[1:]
    return max(float(jnp.max(jnp.abs(error))) for error in errors)


def under_schedules(steps: int = 300) -> float:
    """`gain_and_noise` beside the update, impulse by impulse, over each maximum."""
    curvature, counts = np.geomspace(1e-3, 3.0, 12), np.arange(steps + 1)

    def observation(t):
        return 1 / (1 + (t + 2.0) ** 0.25)

    def b1(t):
        return (t + 1.0) / (t + 9.0)

    def distance(t):
        return observation(t) * b1(t) / (1 - b1(t))

    def rate(t):
        return 1 / (1 + 0.01 * t)

    errors = []
    for exact in (False, True):
        literal = (rate, b1, observation, distance, exact, steps)
        held, iterate = responses(curvature, *literal)
        found = dynamics.gain_and_noise(
            curvature, rate, b1, observation, exact=exact, counts=counts
        )
        for points, pair in ((held, found[:2]), (iterate, found[2:])):
            expected = points[:, 0], np.sum(points[:, 1:] ** 2, axis=1)
            for one, other in zip(pair, expected, strict=True):
                errors.append(np.max(np.abs(one - other)) / np.max(np.abs(other)))
    return float(max(errors))


def main() -> None:
    """Prints a Markdown table."""
    jax.config.update("jax_enable_x64", True)
    settings = grid()
    clear = [s for s in settings if s[1] > 0 and away_from_edges(*s)]
    gain, variance = dynamics.gain_factor, dynamics.variance_limit
    rows = {
        "gain_factor against numpy.linalg": relative(gain, radius, clear),
        "variance_limit against exact fractions": relative(
            variance, exact_variance, settings
        ),
        "variance_limit against eq. 15 as printed": relative(
            variance, printed_variance, clear
        ),
        "rsg and eval_params against simulate": against_the_optimizer(),
        "gain_and_noise under schedules against impulses": under_schedules(),
    }
    print("| | largest deviation |\n|---|---|")
    for pair, value in rows.items():
        print(f"| {pair} | {value:.1e} |")
    print(f"boost ratio at b1=0.999, 0.05: {dynamics.boost_ratio(0.999, 0.05):.5f}")


if __name__ == "__main__":
    main()
