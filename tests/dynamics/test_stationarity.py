"""ARSG Theorem 2: expected squared gradients of a smooth non-convex function."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.dynamics import schedules, stationarity
from tests.dynamics import online

DIMENSION = 4
NOISE = 0.1
EPS = 1.0
STEP_SIZE = 0.7
B1, OBSERVATION = 0.5, 0.5
HORIZONS = (64, 1024, 16_384)
RUNS = 16
pytestmark = pytest.mark.usefixtures("x64")

# f(x) = sum_i c_i h(z_i), z = Q x, h(z) = sqrt(1 + z²) + 0.3 cos 2z: |h'| <= 1.6,
# |h''| <= 2.2, and h''(0) < 0, so that there are two minima a coordinate.
_RNG = np.random.default_rng(0)
ROTATION = np.linalg.qr(_RNG.normal(size=(DIMENSION, DIMENSION)))[0]
WEIGHTS = np.linspace(0.5, 1, DIMENSION)
START = ROTATION.T @ np.linspace(2, 4, DIMENSION)


def _profile(z):
    return jnp.sqrt(1 + jnp.square(z)) + 0.3 * jnp.cos(2 * z)


def _loss(x):
    return jnp.sum(jnp.asarray(WEIGHTS) * _profile(jnp.asarray(ROTATION) @ x))


def _constants() -> dict[str, Any]:
    lowest = jnp.min(_profile(jnp.linspace(-3, 3, 60_001)))
    gap = _loss(jnp.asarray(START)) - np.sum(WEIGHTS) * lowest
    steepest = 1.6 * np.linalg.norm(WEIGHTS) + NOISE * DIMENSION**0.5
    return dict(
        b1=B1,
        observation=OBSERVATION,
        smoothness=2.2 * float(np.max(WEIGHTS)),
        gradient_l2=float(steepest),
        gap=float(gap),
    )


class Outcome(NamedTuple):
    smallest: float  # min over t of the mean over runs of |grad f|².
    largest_root: float  # √v̂ of all runs.


def _run(horizon: int, broken: bool = False) -> Outcome:
    found = schedules.arsg_theorem2_schedules(
        STEP_SIZE, horizon, b1=B1, observation=OBSERVATION
    )
    optimizer: Any = arsg_optax.arsg(**found._asdict(), eps=EPS)
    if broken:
        optimizer = online.ascending(optimizer)

    def turn(carry, key):
        x, state = carry
        gradient = jax.vmap(jax.grad(_loss))(x)
        noise = NOISE * jax.random.uniform(key, x.shape, x.dtype, -1, 1)
        updates, state = optimizer.update(gradient + noise, state, x)
        squares = jnp.sum(jnp.square(gradient), axis=1)
        return (optax.apply_updates(x, updates), state), jnp.mean(squares)

    @jax.jit
    def run(keys):
        # One array of all runs: the preconditioner is elementwise.
        start = jnp.broadcast_to(jnp.asarray(START), (RUNS, DIMENSION))
        return jax.lax.scan(turn, (start, optimizer.init(start)), keys)

    (_, state), squares = run(jax.random.split(jax.random.key(horizon), horizon))
    root = jnp.sqrt(jnp.max(optax.tree.get(state, "nu_max")))
    return Outcome(float(jnp.min(squares)), float(root))


def _bound(horizon, coefficients):
    return stationarity.arsg_theorem2_bound(
        horizon, coefficients, step_size=STEP_SIZE, eps=EPS, dimension=DIMENSION
    )


def _bounds(horizon, largest_root):
    """With the run's own root, with G₂ instead, and with the paper's coefficients."""
    constants = _constants()
    derived = stationarity.arsg_theorem2_derived_coefficients
    return (
        _bound(horizon, derived(**constants, largest_root=largest_root)),
        _bound(horizon, derived(**constants)),
        _bound(horizon, stationarity.arsg_theorem2_coefficients(**constants)),
    )


def test_smallest_gradient_is_below_the_bound_and_falls_as_fast():
    outcomes = [_run(horizon) for horizon in HORIZONS]
    for horizon, outcome in zip(HORIZONS, outcomes, strict=True):
        own, derived, printed = _bounds(horizon, outcome.largest_root)
        assert outcome.smallest <= own <= derived <= printed
    smallest = np.log([outcome.smallest for outcome in outcomes])
    slope = np.polyfit(np.log(HORIZONS), smallest, 1)[0]
    assert slope < -0.45


def test_ascent_violates_the_bound():
    outcome = _run(HORIZONS[-1], broken=True)
    own, _, _ = _bounds(HORIZONS[-1], outcome.largest_root)
    assert outcome.smallest > own


def test_eq17_as_transcribed():
    alpha, eps, d, horizon = 0.7, 1e-3, 11.0, 50.0
    parts = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0]
    d1, d2, d3, d4, d5, d6 = parts
    expected = (
        d1 * alpha / (np.sqrt(horizon) * eps)
        + d2 / (alpha * np.sqrt(horizon))
        + (d3 * d + d4) / (horizon * np.sqrt(eps))
        + (d5 * d + d6) * alpha / (horizon**1.5 * eps)
    )
    found = stationarity.arsg_theorem2_bound(
        horizon,
        stationarity.Theorem2Coefficients(*map(jnp.asarray, parts)),
        step_size=alpha,
        eps=eps,
        dimension=d,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_supplements_coefficients_as_transcribed():
    b, m, lip, g, gap = 0.7, 0.4, 2.5, 1.7, 3.3
    found = stationarity.arsg_theorem2_coefficients(
        b1=b, observation=m, smoothness=lip, gradient_l2=g, gap=gap
    )
    q = 1 - b
    expected = [
        lip**2 * g**3 * (b**2 * (1 - m) / q**4 + b**2 * m / (2 * q**2))
        + lip
        * g**3
        * ((q + b * m) / q * (9 * b**2 * m**2 / q**2 + 6) + b * m / (2 * q))
        + g**3 / 2,
        b * (1 - m) / q * g**3 + g * gap,
        g**3 * (b * (1 - m) / q + 4),
        b * m / q * g**3,
        lip**2 * g**3 * b**4 * (1 - m) / q**6
        + 1.5 * lip * g**3 * (q + b * m) / q * b**2 / q**2,
        (b * (1 - m) / q + 1.5 * lip * (1 + b * m / q) * (b / q) ** 2) * g**3,
    ]
    np.testing.assert_allclose(np.stack(found), expected, rtol=1e-12)


def test_derived_coefficients_are_the_smaller_ones_everywhere():
    rng = np.random.default_rng(1)
    shape = (1000,)
    arguments = dict(
        b1=rng.uniform(0, 0.9999, shape),
        observation=rng.uniform(0, 0.9999, shape),
        smoothness=10 ** rng.uniform(-4, 4, shape),
        gradient_l2=10 ** rng.uniform(-4, 4, shape),
        gap=10 ** rng.uniform(-4, 4, shape),
    )
    derived = stationarity.arsg_theorem2_derived_coefficients(**arguments)
    printed = stationarity.arsg_theorem2_coefficients(**arguments)
    for ours, theirs in zip(derived, printed, strict=True):
        assert np.all(ours <= theirs)


def test_a_wrong_argument_is_named():
    with pytest.raises(ValueError, match="smoothness must be in \\(0, inf\\), got -1"):
        stationarity.arsg_theorem2_coefficients(**{**_constants(), "smoothness": -1.0})
