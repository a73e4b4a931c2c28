"""NAMSG's Ψ against adaptive quadrature of the printed matrix's eigenvalues."""

import cmath
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from arsg_optax.dynamics import gain_factor, max_gain_expectation

pytestmark = pytest.mark.usefixtures("x64")


def _modulus(delta, tau, b1, distance, noise):
    """Larger eigenvalue of NAMSG's eq. 11 with α = τ, λ = 1, error noise·delta."""
    matrix = [[1, -tau], [1 + noise * delta, b1 - tau * (1 + distance)]]
    trace = matrix[0][0] + matrix[1][1]
    determinant = matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0]
    root = cmath.sqrt(trace**2 - 4 * determinant)
    return max(abs(trace + root), abs(trace - root)) / 2


def _quadrature(*setting):
    """Split where the two eigenvalues meet, found by the sign of the discriminant."""
    tau, b1, distance, noise = setting

    def integrand(delta):
        density = math.exp(-(delta**2) / 2) / math.sqrt(2 * math.pi)
        return math.log(_modulus(delta, *setting)) * density

    slope = tau * noise
    trace = 1 + b1 - (1 + distance) * tau
    kink = (trace**2 / 4 - b1 + tau * distance) / slope if slope else math.inf
    points = [-10.0, *([kink] if abs(kink) < 10 else []), 10.0]
    return sum(
        quad(integrand, low, high, epsabs=1e-10, epsrel=1e-10, limit=400)[0]
        for low, high in itertools.pairwise(points)
    )


def _assert_agrees(settings, tolerance):
    got = max_gain_expectation(*np.array(settings).T)
    expected = [_quadrature(*setting) for setting in settings]
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("tau", [0.4, 0.04, 1e-3, 1e-4, -2e-4, -2e-5, -5e-4, -5e-5])
def test_figure_1_of_namsg(tau):
    """The figure's αλ, read as τ and as τ / (1 - β)."""
    settings = [
        (tau, 0.9, distance, noise)
        for distance in (0.0, 0.9, 3.0, 6.0)
        for noise in (0.1, 1.0, 10.0, 100.0)
    ]
    _assert_agrees(settings, 1e-9)


def test_random_settings():
    rng = np.random.default_rng(0)
    settings = [
        (
            rng.choice([-1, 1]) * 10 ** rng.uniform(-4, 0.5),
            rng.uniform(0, 0.999),
            rng.uniform(0, 10),
            10 ** rng.uniform(-3, 2),
        )
        for _ in range(80)
    ]
    _assert_agrees(settings, 1e-9)


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-6, 1e-3])
def test_at_the_logarithmic_singularity(gap):
    """The sum of the eigenvalues is `gap`: both are about 0 at the kink."""
    tau = (1.9 - gap) / 1.9
    _assert_agrees([(tau, 0.9, 0.9, noise) for noise in (0.05, 0.5, 5.0)], 1e-6)


@pytest.mark.parametrize("b1", [0.5, 0.9, 0.99])
def test_without_noise_it_is_the_gain_of_arsg(b1):
    tau = np.linspace(-0.5, 3, 71)
    distance = 0.7 * b1
    got = max_gain_expectation(tau, b1, distance, 0.0)
    expected = jnp.log(gain_factor(tau / (1 - b1), b1, distance * (1 - b1) / b1))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)
    away = np.abs(got - expected) < 1e-12
    assert away.mean() > 0.9


def test_zero_tau_is_neutral():
    for distance, noise in [(0.0, 0.0), (2.0, 5.0)]:
        np.testing.assert_allclose(
            max_gain_expectation(0.0, 0.9, distance, noise), 0, atol=1e-15
        )


def test_both_eigenvalues_zero_without_noise():
    # tau (1 + η) = 1 + β and β = τη: here η = 0 = β, τ = 1.
    assert max_gain_expectation(1.0, 0.0, 0.0, 0.0) == -jnp.inf


def test_single_precision():
    setting = np.array([0.4, 0.9, 0.9, 1.0], np.float32)
    got = max_gain_expectation(*setting)
    assert got.dtype == jnp.float32
    expected = max_gain_expectation(*setting.astype(float))
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "setting",
    [
        (0.4, 0.9, 0.9, 1.0),
        (0.001, 0.9, 3.0, 50.0),
        (-0.0005, 0.9, 1.0, 10.0),
        (0.3, 0.5, 1.0, 0.2),
    ],
)
def test_gradients(setting):
    got = jax.grad(max_gain_expectation, argnums=(0, 1, 2, 3))(*setting)
    for index, derivative in enumerate(got):
        size = 1e-4 * abs(setting[index])
        shift = np.zeros(4)
        shift[index] = size
        ends = [_quadrature(*(np.array(setting) + s)) for s in (shift, -shift)]
        expected = (ends[0] - ends[1]) / (2 * size)
        np.testing.assert_allclose(derivative, expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_finite_at_degenerate_points():
    for setting in [
        (0.0, 0.9, 0.9, 1.0),
        (0.4, 0.9, 0.9, 0.0),
        (0.4, 0.0, 0.0, 1.0),
        (1.0, 0.9, 0.9, 0.5),
        (0.0, 0.0, 0.0, 0.0),
    ]:
        got = jax.grad(max_gain_expectation, argnums=(0, 1, 2, 3))(*setting)
        assert all(jnp.isfinite(part) for part in got), setting
