"""Regret of NAMSG in a box: below eq. 14 and its corollaries, unless we break it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.dynamics import namsg_regret as namsg
from arsg_optax.dynamics import schedules
from tests.dynamics import online

ROUNDS = 20_000
HORIZONS = np.arange(1, ROUNDS + 1)
DIMENSION = 4
WIDTH = 2 * online.RADIUS
pytestmark = pytest.mark.usefixtures("x64")

NAMSG: dict[str, Any] = dict(step_size=0.3, b1=0.5, b2=0.9)


def _namsg_sums(played):
    norms = np.sqrt(np.cumsum(played.gradients**2, axis=0))
    return np.sum(played.roots, axis=1), np.sum(norms, axis=1)


def _theorem1(played, found):
    decay = jax.vmap(found.b1)(jnp.arange(ROUNDS))
    return np.asarray(
        namsg.namsg_theorem1_bound(
            played.roots,
            played.gradients,
            step_size=NAMSG["step_size"],
            b1=jnp.broadcast_to(decay, (ROUNDS,)),
            b2=NAMSG["b2"],
            diameter=WIDTH,
        )
    )


@pytest.mark.parametrize("make", online.CONVEX)
def test_corollary1(make):
    game = make(ROUNDS)
    found = schedules.namsg_corollary1_schedules(**NAMSG, decay=0.99)
    played = online.play(arsg_optax.namsg(**found._asdict()), game)
    eq14 = _theorem1(played, found)
    online.assert_below(online.regret(game, played), eq14)
    own = namsg.namsg_corollary1_bound(
        HORIZONS, *_namsg_sums(played), **NAMSG, decay=0.99, diameter=WIDTH
    )
    online.assert_below(eq14, own)
    # Beforehand: gradient elements are at most 1.
    ahead = namsg.namsg_corollary1_bound(
        HORIZONS,
        DIMENSION,
        DIMENSION * np.sqrt(HORIZONS),
        **NAMSG,
        decay=0.99,
        diameter=WIDTH,
    )
    online.assert_below(own, ahead)


@pytest.mark.parametrize("make", online.CONVEX)
def test_harmonic_momentum(make):
    game = make(ROUNDS)
    found = schedules.namsg_harmonic_schedules(**NAMSG)
    played = online.play(arsg_optax.namsg(**found._asdict()), game)
    eq14 = _theorem1(played, found)
    online.assert_below(online.regret(game, played), eq14)
    own = namsg.namsg_harmonic_bound(
        HORIZONS, *_namsg_sums(played), **NAMSG, diameter=WIDTH
    )
    online.assert_below(eq14, own)
    broken = online.ascending(arsg_optax.namsg(**found._asdict()))
    played = online.play(broken, game)
    own = namsg.namsg_harmonic_bound(
        HORIZONS, *_namsg_sums(played), **NAMSG, diameter=WIDTH
    )
    assert online.regret(game, played)[-1] > np.asarray(own)[-1]


def test_theorem1_with_a_growing_distance():
    game = online.adversarial_lines(ROUNDS)
    found = schedules.namsg_theorem1_schedules(
        NAMSG["step_size"],
        0.5,
        b2=0.9,
        horizon=ROUNDS,
        distance=optax.linear_schedule(0.5, 0.99, 1000),
    )
    played = online.play(arsg_optax.namsg(**found._asdict()), game)
    online.assert_below(online.regret(game, played), _theorem1(played, found))


def test_eq14_as_transcribed():
    rng = np.random.default_rng(0)
    roots = np.sort(rng.uniform(0.1, 2, (6, 3)), axis=0)
    gradients = rng.normal(size=(6, 3))
    alpha, b2, width = 0.7, 0.81, 3.0
    b1 = 0.6 * 0.8 ** np.arange(6)
    gamma = b1[0] / np.sqrt(b2)
    found = namsg.namsg_theorem1_bound(
        roots, gradients, step_size=alpha, b1=b1, b2=b2, diameter=width
    )
    for last in range(1, 7):
        first = np.sqrt(last) / alpha * np.sum(roots[last - 1])
        second = sum(
            b1[t] ** 2 * roots[t, i] * np.sqrt(t + 1) / alpha
            for t in range(last)
            for i in range(3)
        )
        third = 1.5 * b1[0] ** 2 / ((1 - b1[0]) * (1 - gamma)) + 1
        third *= alpha * np.sqrt(1 + np.log(last)) / np.sqrt(1 - b2)
        third *= np.sum(np.linalg.norm(gradients[:last], axis=0))
        expected = (width**2 / 2 * (first + second) + third) / (1 - b1[0] ** 2)
        np.testing.assert_allclose(found[last - 1], expected, rtol=1e-12)


def test_eq16s_second_term_is_below_eq14s():
    """As printed the corollary does not follow; with d and 1/α it does."""
    alpha, b1, decay, width, steps = 0.003, 0.9, 0.99, 2.0, 5000
    eq14, eq16 = online.second_terms(alpha, b1, decay, width, steps, DIMENSION)
    corrected = b1**2 * width**2 * DIMENSION / alpha
    corrected /= 2 * (1 - b1**2) * (1 - decay**2) ** 2
    assert eq16 < 0.1 * eq14
    assert eq14 < corrected
    with_gradients, without = (
        namsg.namsg_corollary1_bound(
            steps,
            DIMENSION,
            0.0,
            step_size=alpha,
            b1=b1,
            b2=0.99,
            decay=used,
            diameter=width,
        )
        for used in (decay, 0.0)
    )
    start = b1**2 * width**2 * DIMENSION / alpha / (2 * (1 - b1**2))
    np.testing.assert_allclose(with_gradients - without, corrected - start, rtol=1e-10)
