"""Regret of ARSG and AdaRem in a box: below the papers' bounds, unless we break it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.dynamics import regret as bounds
from arsg_optax.dynamics import schedules
from tests.dynamics import online

ROUNDS = 20_000
HORIZONS = np.arange(1, ROUNDS + 1)
DIMENSION = 4
WIDTH = 2 * online.RADIUS
pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("make", [online.strongly_convex, *online.CONVEX])
def test_the_comparator_is_the_best_fixed_point(make):
    game = make(500)
    played = online.play(optax.sgd(0.1), game)
    best = online.best_losses(game, played)
    for rounds in (1, 2, 10, 500):
        on_grid = online.best_loss_on_grid(game, played, rounds)
        assert -1e-10 <= on_grid - best[rounds - 1] <= 2e-6 * rounds


def _theorem3(b1, b2, observation, step_size) -> dict[str, Any]:
    return dict(step_size=step_size, b1=b1, b2=b2, observation=observation)


THEOREM3 = [_theorem3(0.9, 0.99, 0.1, 20.0), _theorem3(0.5, 0.9, 0.5, 10.0)]
# Curvatures up to 2 and targets up to 1 from any point.
STEEPEST = dict(diameter=WIDTH * DIMENSION**0.5, gradient_l1=4.0 * DIMENSION)


def _theorem3_optimizer(constants: Mapping[str, Any], eps: float):
    found = schedules.arsg_theorem3_schedules(**constants)
    return arsg_optax.arsg(**found._asdict(), eps=eps)


@pytest.mark.parametrize("eps", [1e-8, 1e-3])
@pytest.mark.parametrize("constants", THEOREM3)
def test_theorem3(constants, eps):
    game = online.strongly_convex(ROUNDS)
    played = online.play(_theorem3_optimizer(constants, eps), game)
    regret = online.regret(game, played)
    needed = bounds.arsg_theorem3_step_size(
        played.roots,
        b1=constants["b1"],
        observation=constants["observation"],
        strong_convexity=1.0,
    )
    assert np.max(needed) <= constants["step_size"]
    largest = np.max(played.roots, axis=1)
    own = bounds.arsg_theorem3_bound(
        HORIZONS, **constants, **STEEPEST, largest_root=largest
    )
    online.assert_below(regret, own)
    printed = bounds.arsg_theorem3_bound(HORIZONS, **constants, **STEEPEST, eps=eps)
    online.assert_below(regret, printed)
    assert np.all(own <= printed)


def test_theorem3_catches_ascent():
    constants, eps = THEOREM3[1], 1e-8
    game = online.strongly_convex(ROUNDS)
    broken = online.ascending(_theorem3_optimizer(constants, eps))
    played = online.play(broken, game)
    regret = online.regret(game, played)
    largest = np.max(played.roots, axis=1)
    arguments = dict(**constants, **STEEPEST)
    own = bounds.arsg_theorem3_bound(HORIZONS, **arguments, largest_root=largest)
    printed = bounds.arsg_theorem3_bound(HORIZONS, **arguments, eps=eps)
    assert regret[-1] > own[-1]
    assert regret[-1] > printed[-1]


def test_regret_grows_logarithmically_under_theorem3():
    game = online.strongly_convex(100_000)
    played = online.play(_theorem3_optimizer(THEOREM3[0], 1e-8), game)
    at = np.unique(np.geomspace(100, 100_000, 200).astype(int))
    regret = online.regret(game, played)[at - 1]

    slope, rest = online.unexplained(np.log(at), regret)
    _, rest_of_root = online.unexplained(np.sqrt(at), regret)
    assert rest < 0.01
    assert rest < 0.1 * rest_of_root
    assert 0 < slope < 20


def test_a_late_jump_of_the_second_moment_violates_theorem3s_condition():
    """With a step size chosen at t = 1 the condition fails at a late t."""
    roots = np.ones((1000, 2))
    needed = bounds.arsg_theorem3_step_size(
        roots, b1=0.9, observation=0.1, strong_convexity=2.0
    )
    np.testing.assert_allclose(needed, 1 / (0.19 * 2), rtol=1e-10)
    roots[700:, 1] = 1.5
    needed = bounds.arsg_theorem3_step_size(
        roots, b1=0.9, observation=0.1, strong_convexity=2.0
    )
    assert np.argmax(needed) == 700
    np.testing.assert_allclose(needed[700], (1 + 701 * 0.5) / (0.19 * 2), rtol=1e-10)


def test_eps_above_every_square_meets_theorem3s_condition_beforehand():
    game = online.strongly_convex(1000)
    optimizer = _theorem3_optimizer(_theorem3(0.9, 0.99, 0.1, 4 / 0.19), 16.0)
    needed = bounds.arsg_theorem3_step_size(
        online.play(optimizer, game).roots,
        b1=0.9,
        observation=0.1,
        strong_convexity=1.0,
    )
    np.testing.assert_allclose(needed, 4 / 0.19, rtol=1e-9)


def test_eq18_as_transcribed_and_in_its_units():
    alpha, b1, b2, mu, d_f, g1, eps = 2.0, 0.6, 0.81, 0.45, 3.0, 5.0, 1e-4
    gamma = b1 / np.sqrt(b2)
    noise = alpha * g1 / np.sqrt(1 - b2)
    noise *= 1.5 * b1**2 / ((1 - b1) * (1 - gamma)) + mu**2
    start = (1 - mu) * b1 * d_f**2 / (2 * alpha * np.sqrt(eps))
    expected = (noise + start) * (1 + np.log(70)) / (1 - b1 * (1 - mu))
    constants: dict[str, Any] = dict(step_size=alpha, b1=b1, b2=b2, observation=mu)
    found = bounds.arsg_theorem3_bound(
        70, **constants, diameter=d_f, gradient_l1=g1, eps=eps
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)

    def scaled(unit, **root):
        return bounds.arsg_theorem3_bound(
            70, **constants, diameter=d_f, gradient_l1=g1 * unit, **root
        )

    # Losses in another unit scale a regret, and so must its bound; as printed the
    # second term goes the wrong way.
    np.testing.assert_allclose(
        scaled(1e3, largest_root=2e3), 1e3 * scaled(1, largest_root=2.0), rtol=1e-12
    )
    assert scaled(1e3, eps=eps * 1e6) < 0.99 * 1e3 * scaled(1, eps=eps)


@pytest.mark.parametrize("resilience", [0.1, 0.5])
@pytest.mark.parametrize("make", online.CONVEX)
def test_adarem(make, resilience):
    game = make(ROUNDS)
    found = schedules.adarem_theorem1_schedules(3.0, resilience=resilience)
    played = online.play(arsg_optax.adarem(**found._asdict()), game)
    constants: dict[str, Any] = dict(
        step_size=3.0,
        resilience=resilience,
        diameter=WIDTH,
        gradient_l2=DIMENSION**0.5,
        dimension=DIMENSION,
    )
    assert np.max(np.linalg.norm(played.gradients, axis=1)) <= 2
    derived = bounds.adarem_derived_bound(HORIZONS, **constants)
    online.assert_below(online.regret(game, played), derived)
    online.assert_below(derived, bounds.adarem_theorem1_bound(HORIZONS, **constants))
    broken = online.ascending(arsg_optax.adarem(**found._asdict()))
    regret = online.regret(game, online.play(broken, game))
    assert regret[-1] > np.asarray(derived)[-1]


def test_adarem_printed_bound_catches_ascent():
    game = online.adversarial_lines(ROUNDS)
    found = schedules.adarem_theorem1_schedules(3.0, resilience=0.5)
    broken = online.ascending(arsg_optax.adarem(**found._asdict()))
    regret = online.regret(game, online.play(broken, game))
    printed = bounds.adarem_theorem1_bound(
        ROUNDS,
        step_size=3.0,
        resilience=0.5,
        diameter=WIDTH,
        gradient_l2=2.0,
        dimension=DIMENSION,
    )
    assert regret[-1] > printed


def test_adarem_as_transcribed_and_above_the_derived_bound():
    eta, d_inf, g2, d = 0.7, 3.0, 5.0, 6
    shares = np.linspace(0, 0.999, 40)[:, None]
    horizons = np.geomspace(1, 1e9, 30)[None, :]
    printed = d_inf**2 * d / (eta * (1 - shares) ** 3)
    printed = printed * ((5 - 4 * shares) * np.sqrt(horizons) + 2 * shares - 1)
    printed = printed + d_inf**2 * d / (2 * eta * (1 - shares))
    printed = printed + g2**2 * d * eta * (2 * np.sqrt(horizons) - 1)
    constants: dict[str, Any] = dict(
        step_size=eta, diameter=d_inf, gradient_l2=g2, dimension=d
    )
    grid = np.broadcast_arrays(horizons, shares)
    found, derived = (
        bound(grid[0], resilience=grid[1], **constants)
        for bound in (bounds.adarem_theorem1_bound, bounds.adarem_derived_bound)
    )
    np.testing.assert_allclose(found, printed, rtol=1e-11)
    assert np.all(np.asarray(derived) <= printed)
