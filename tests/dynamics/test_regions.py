"""Borders of convergence and oscillation against NumPy's eigenvalues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.dynamics import (
    boost_ratio,
    complex_region,
    convergence_bound,
    fastest_tau,
    symmetric_point,
)
from tests.dynamics import reference

pytestmark = pytest.mark.usefixtures("x64")

GRID = [
    (b1, mu)
    for b1 in (0.0, 1e-6, 0.01, 0.3, 0.9, 0.99, 0.999)
    for mu in (0.0, 1e-6, 1e-3, 0.05, 0.1, 0.4, 0.9, 0.999)
]


@pytest.mark.parametrize(("b1", "mu"), GRID)
def test_convergence_bound_is_where_the_radius_passes_one(b1, mu):
    bound = convergence_bound(b1, mu)
    inside = bound * np.linspace(1e-3, 1 - 1e-6, 500)
    assert (reference.radius(inside, b1, mu) < 1).all()
    outside = np.array([-1.0, -1e-3, *(bound * np.array([1 + 1e-6, 1.5, 10]))])
    assert (reference.radius(outside, b1, mu) > 1).all()


def test_convergence_bound_is_that_of_qhm():
    """Gitman et al. 2019: α λ < 2 (1+β) / (1 + β (1 - 2ν)), ν = 1 - μ."""
    b1, nu = 0.97, 0.6
    expected = 2 * (1 + b1) / (1 + b1 * (1 - 2 * nu))
    np.testing.assert_allclose(convergence_bound(b1, 1 - nu), expected, rtol=1e-13)


@pytest.mark.parametrize(("b1", "mu"), GRID)
def test_symmetric_point_has_opposite_eigenvalues(b1, mu):
    tau = symmetric_point(b1, mu)
    trace = np.trace(reference.matrix(tau, b1, mu))
    assert abs(trace) < 1e-14 * max(1, tau)


@pytest.mark.parametrize(("b1", "mu"), [pair for pair in GRID if pair[0] > 0])
def test_complex_region_is_where_numpy_finds_complex_eigenvalues(b1, mu):
    lower, upper = complex_region(b1, mu)
    margin = 1e-6 * (upper - lower) + 1e-12 * upper

    def is_complex(tau):
        eigenvalues = np.linalg.eigvals(reference.matrix(tau, b1, mu))
        return eigenvalues.imag.any(axis=-1)

    assert is_complex(np.linspace(lower + margin, upper - margin, 300)).all()
    outside = [np.linspace(0, lower - margin, 300)]
    outside.append(np.linspace(upper + margin, 3 * upper, 300))
    assert not is_complex(np.concatenate(outside)).any()


def test_complex_region_without_momentum_is_a_point():
    np.testing.assert_array_equal(complex_region(0.0, 0.3), [1.0, 1.0])


@pytest.mark.parametrize(("b1", "mu"), GRID)
def test_fastest_tau_has_the_smallest_gain_of_a_dense_grid(b1, mu):
    tau = float(fastest_tau(b1, mu))
    bound = float(convergence_bound(b1, mu))
    grid = np.concatenate(
        [
            np.linspace(-0.1 * bound, 1.1 * bound, 20_001),
            tau * (1 + np.linspace(-0.01, 0.01, 20_001)),
            np.geomspace(1e-8 * tau, bound, 20_001),
        ]
    )
    gains = reference.radius(grid, b1, mu)
    # NumPy splits equal eigenvalues by sqrt(eps).
    assert reference.radius(tau, b1, mu) <= gains.min() + 1e-7
    if mu >= 0.05 and b1 >= 0.3:  # elsewhere the gain hardly depends on tau
        assert abs(grid[gains.argmin()] / tau - 1) < 1e-5


def test_heavy_ball_has_the_limit_of_small_observation():
    for b1 in (0.1, 0.9, 0.999):
        np.testing.assert_allclose(
            fastest_tau(b1, 0.0), fastest_tau(b1, 1e-12), rtol=1e-8
        )


def test_boost_ratio_of_the_paper():
    assert abs(boost_ratio(0.999, 0.05) - 0.2483) < 5e-5
    np.testing.assert_allclose(fastest_tau(0.999, 0.05), 1.5014, atol=5e-5)
    np.testing.assert_allclose(fastest_tau(0.999, 0.1), 0.3728, atol=5e-5)


@pytest.mark.parametrize(("b1", "mu"), [(0.9, 0.1), (0.999, 0.2), (0.99, 0.01)])
def test_boost_keeps_the_fastest_curvature(b1, mu):
    """Minimised numerically on both sides, without the closed form."""
    fastest = []
    for factor in (mu, 2 * mu):
        tau, width = float(fastest_tau(b1, factor)), 0.5
        for _ in range(6):  # a grid around the grid's minimum
            grid = tau * (1 + np.linspace(-width, width, 2001))
            tau = grid[reference.radius(grid, b1, factor).argmin()]
            width /= 20
        fastest.append(tau)
    np.testing.assert_allclose(boost_ratio(b1, mu), fastest[1] / fastest[0], rtol=1e-6)


def test_gradients_by_observation_are_finite_without_momentum():
    for function in (fastest_tau, convergence_bound, symmetric_point, boost_ratio):
        assert jnp.isfinite(jax.grad(function, argnums=1)(0.0, 0.1))
        assert jnp.isfinite(jax.grad(function, argnums=1)(0.9, 0.0))


def test_arrays_beyond_the_range_give_nan():
    assert jnp.isnan(boost_ratio(0.9, jnp.asarray([0.6]))).all()
