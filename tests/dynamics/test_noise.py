"""The variance limit against Lyapunov's equation, eq. 15 and Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from arsg_optax.dynamics import (
    complex_region,
    convergence_bound,
    final_loss,
    simulate,
    variance_limit,
)
from tests.dynamics import reference

GRID = [
    (b1, mu)
    for b1 in (0.0, 0.3, 0.9, 0.999)
    for mu in (0.0, 1e-3, 0.05, 0.1, 0.4, 0.95)
]


def _taus(b1, mu):
    """Across the region of convergence, at and around the edges of the complex one."""
    bound = float(convergence_bound(b1, mu))
    edges = [float(edge) for edge in complex_region(b1, mu)]
    near = [e * (1 + x) for e in edges for x in (-1e-3, -1e-9, 0, 1e-9, 1e-3)]
    # Heavy ball's complex region ends just before the bound.
    near = [tau for tau in near if tau < bound]
    return [*np.geomspace(1e-9, 0.999, 25) * bound, *near]


@pytest.mark.parametrize(("b1", "mu"), GRID)
def test_variance_solves_lyapunovs_equation(x64, b1, mu):
    taus = _taus(b1, mu)
    got = variance_limit(np.array(taus), b1, mu)
    exact = np.array([reference.exact_variance(tau, b1, mu) for tau in taus])
    # Towards the bound the variance itself is sensitive to the last bit of tau.
    room = 1 - np.array(taus) / float(convergence_bound(b1, mu))
    assert (np.abs(got / exact - 1) < 2e-15 + 1e-15 / room).all()


@pytest.mark.parametrize(("b1", "mu"), GRID)
def test_variance_in_single_precision(b1, mu):
    b1, mu = np.float32(b1), np.float32(mu)
    # Closer to the bound than this, rounding of the inputs' products is felt.
    bound = float(convergence_bound(b1, mu))
    taus = np.array([t for t in _taus(b1, mu) if t < 0.9 * bound], np.float32)
    got = variance_limit(taus, b1, mu)
    assert got.dtype == jnp.float32
    exact = [reference.exact_variance(tau, b1, mu) for tau in taus]
    np.testing.assert_allclose(got, exact, rtol=3e-6)


def test_variance_agrees_with_scipys_solver(x64):
    for b1, mu in GRID:
        for fraction in (0.01, 0.2, 0.7, 0.95):
            tau = fraction * float(convergence_bound(b1, mu))
            b = reference.noise_vector(b1, mu)
            spread = solve_discrete_lyapunov(
                reference.matrix(tau, b1, mu), np.outer(b, b)
            )
            got = variance_limit(tau, b1, mu)
            np.testing.assert_allclose(got, tau**2 * spread[1, 1], rtol=1e-9)


@pytest.mark.parametrize(("b1", "mu"), [pair for pair in GRID if pair[0] > 0])
def test_variance_is_equation_15(x64, b1, mu):
    bound = float(convergence_bound(b1, mu))
    edges = np.array([float(edge) for edge in complex_region(b1, mu)])
    taus = [
        tau
        for tau in np.geomspace(1e-3, 0.98, 40) * bound
        if np.abs(tau / edges - 1).min() > 0.05
    ]
    printed = [reference.printed_variance(tau, b1, mu) for tau in taus]
    got = variance_limit(np.array(taus), b1, mu)
    np.testing.assert_allclose(got, printed, rtol=1e-9)


def test_variance_by_monte_carlo():
    """64 chains of 200,000 steps; the same noise drives every setting."""
    settings = np.array(
        [
            (0.5, 0.0, 0.1),
            (1.0, 0.9, 0.0),
            (1.0, 0.9, 0.1),
            (0.02, 0.9, 0.9),
            (0.37, 0.99, 0.1),
            (5.0, 0.99, 0.05),
            (15.0, 0.99, 0.1),
        ],
        np.float32,
    )
    tau, b1, mu = (column[:, None] for column in settings.T)
    block, blocks, burn_in = 2000, 100, 5

    @jax.jit
    def mean_square(key):
        def run(state, key):
            noise = jax.random.normal(key, (block, 1, 64), jnp.float32)
            path = simulate(tau, b1, mu, noise, momentum=state[0], deviation=state[1])
            square = jnp.mean(path.deviation[1:] ** 2, axis=(0, 2))
            return (path.momentum[-1], path.deviation[-1]), square

        start = jnp.zeros((2, len(settings), 64), jnp.float32)
        keys = jax.random.split(key, burn_in + blocks)
        _, squares = jax.lax.scan(run, (start[0], start[1]), keys)
        return jnp.mean(squares[burn_in:], axis=0)

    limits = variance_limit(*settings.T)
    np.testing.assert_allclose(mean_square(jax.random.key(0)), limits, rtol=0.02)


def test_outside_the_region_of_convergence_it_is_infinite(x64):
    for b1, mu in GRID:
        bound = float(convergence_bound(b1, mu))
        outside = np.array([-10.0, -1e-9, bound * (1 + 1e-12), 2 * bound, 1e6, np.inf])
        assert (variance_limit(outside, b1, mu) == np.inf).all()
        radius = reference.radius(outside[:-1], b1, mu)
        assert (radius > 1 - 1e-9).all()
        inside = variance_limit(bound * np.linspace(1e-9, 1 - 1e-9, 1000), b1, mu)
        assert jnp.isfinite(inside).all() and (inside > 0).all()
        assert (jnp.diff(inside) > 0).all()  # "increases with τ", ARSG section 3


def test_small_tau(x64):
    for b1, mu in GRID:
        assert variance_limit(0.0, b1, mu) == 0
        np.testing.assert_allclose(variance_limit(1e-12, b1, mu), 0.5e-12, rtol=1e-6)
        assert abs(jax.grad(variance_limit)(0.0, b1, mu) - 0.5) < 1e-12


def test_nan_stays_nan():
    assert jnp.isnan(variance_limit(jnp.asarray(jnp.nan), 0.9, 0.1))


def test_special_cases(x64):
    tau = np.linspace(0.01, 1.9, 20)
    # Gradient descent: s <- (1 - τ) s - τ δ.
    np.testing.assert_allclose(
        variance_limit(tau, 0.0, 0.3), tau**2 / (1 - (1 - tau) ** 2), rtol=1e-13
    )
    # Heavy ball as an AR(2) process: γ0 = (1+φ) / ((1-φ) ((1+φ)² - θ²)).
    b1 = 0.9
    theta, step = 1 + b1 - (1 - b1) * tau, (1 - b1) * tau
    expected = step**2 * (1 + b1) / ((1 - b1) * ((1 + b1) ** 2 - theta**2))
    np.testing.assert_allclose(variance_limit(tau, b1, 0.0), expected, rtol=1e-11)


def test_gradients_are_finite_up_to_the_edges(x64):
    derivative = jax.vmap(jax.grad(variance_limit, argnums=(0, 1, 2)))
    for b1, mu in GRID:
        bound = float(convergence_bound(b1, mu))
        tau = jnp.asarray([-1.0, 0.0, *_taus(b1, mu), bound, 2 * bound])
        for part in derivative(tau, jnp.full_like(tau, b1), jnp.full_like(tau, mu)):
            assert jnp.isfinite(part).all()


def test_final_loss_is_the_mean_loss(x64):
    curvature, rate, sigma = 3.0, 0.2, 0.7
    tau = rate * curvature
    expected = 0.5 * curvature * sigma**2 * reference.exact_variance(tau, 0.9, 0.1)
    got = final_loss(tau, 0.9, 0.1, curvature, sigma)
    np.testing.assert_allclose(got, expected, rtol=1e-13)
    path = simulate(tau, 0.9, 0.1, key=jax.random.key(1), steps=400_000, deviation=0.0)
    loss = 0.5 * curvature * jnp.mean((sigma * path.deviation[1000:]) ** 2)
    np.testing.assert_allclose(loss, got, rtol=0.03)
