"""ARSG Theorem 2: expected squared gradients of a smooth non-convex function."""

import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.dynamics import stationarity
from tests.dynamics import nonconvex

pytestmark = pytest.mark.usefixtures("x64")


def test_smallest_gradient_is_below_the_bound_and_falls_as_fast():
    outcomes = [nonconvex.run(horizon) for horizon in nonconvex.HORIZONS]
    for horizon, outcome in zip(nonconvex.HORIZONS, outcomes, strict=True):
        own, derived, printed = nonconvex.bounds(horizon, outcome.largest_root)
        assert outcome.smallest <= own <= derived <= printed
    smallest = np.log([outcome.smallest for outcome in outcomes])
    slope = np.polyfit(np.log(nonconvex.HORIZONS), smallest, 1)[0]
    assert slope < -0.45


def test_ascent_violates_the_bound():
    outcome = nonconvex.run(nonconvex.HORIZONS[-1], broken=True)
    own, _, _ = nonconvex.bounds(nonconvex.HORIZONS[-1], outcome.largest_root)
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
        stationarity.arsg_theorem2_coefficients(
            **{**nonconvex.constants(), "smoothness": -1.0}
        )
