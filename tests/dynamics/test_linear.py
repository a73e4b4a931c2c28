"""Eigenvalues and gain factor against NumPy's solver and known special cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.dynamics import (
    complex_region,
    convergence_bound,
    eigenvalues,
    fastest_tau,
    gain_factor,
    gain_matrix,
    symmetric_point,
)
from tests.dynamics import reference

pytestmark = pytest.mark.usefixtures("x64")

B1 = np.array([0.0, 0.3, 0.9, 0.999])[:, None, None]
OBSERVATION = np.array([0.0, 1e-3, 0.1, 0.4, 0.95])[:, None]
TAU = np.concatenate([np.linspace(-1, 20, 106), np.linspace(-0.003, 0.01, 53)])


def test_gain_matrix_is_the_update():
    got = gain_matrix(TAU, B1, OBSERVATION)
    assert got.shape == (4, 5, 159, 2, 2)
    np.testing.assert_allclose(
        got, reference.matrix(TAU, B1, OBSERVATION), rtol=1e-13, atol=1e-14
    )


def test_eigenvalues_are_numpys():
    """NumPy's own error grows to sqrt(eps) where the eigenvalues meet."""
    got = np.stack(eigenvalues(TAU, B1, OBSERVATION), axis=-1)
    expected = np.linalg.eigvals(reference.matrix(TAU, B1, OBSERVATION))
    # Either order; the plus sign of eq. 11 is checked apart.
    straight = np.abs(got - expected).max(axis=-1)
    crossed = np.abs(got - expected[..., ::-1]).max(axis=-1)
    apart = np.abs(expected[..., 0] - expected[..., 1])
    scale = np.abs(reference.matrix(TAU, B1, OBSERVATION)).max(axis=(-1, -2))
    allowed = np.minimum(1e-13 * scale**2 / np.maximum(apart, 1e-300), 1e-7 * scale)
    assert (np.minimum(straight, crossed) <= allowed + 1e-13 * scale).all()


def test_first_eigenvalue_has_the_plus_sign():
    r1, r2 = eigenvalues(TAU, B1, OBSERVATION)
    assert r1.dtype == r2.dtype == jnp.complex128
    assert (r1.real >= r2.real).all() and (r1.imag >= r2.imag).all()


def test_gain_factor_is_the_spectral_radius():
    got = gain_factor(TAU, B1, OBSERVATION)
    expected = reference.radius(TAU, B1, OBSERVATION)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)
    away = np.abs(np.subtract(*np.moveaxis(_numpy(TAU), -1, 0))) > 1e-3
    np.testing.assert_allclose(got[away], expected[away], rtol=1e-12)


def _numpy(tau):
    return np.linalg.eigvals(reference.matrix(tau, B1, OBSERVATION))


@pytest.mark.parametrize("b1", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("mu", [0.0, 0.05, 0.4])
def test_single_precision_keeps_the_rate_near_the_complex_region(b1, mu):
    b1, mu = np.float32(b1), np.float32(mu)

    def exact_gain(*point):
        return float(gain_factor(*point))

    lower, upper = complex_region(float(b1), float(mu))
    around = np.array([1 - 1e-3, 1 - 1e-5, 1 + 1e-5, 1 + 1e-3])
    tau = np.outer([lower, upper], around).astype(np.float32)
    got = gain_factor(tau, b1, mu)
    assert got.dtype == jnp.float32
    # The inputs are exact in both. At the lower edge, where small curvatures converge,
    # the plain difference in eq. 11 would be off by up to 1e-3.
    expected = [
        [exact_gain(*map(float, (value, b1, mu))) for value in row] for row in tau
    ]
    np.testing.assert_allclose(got[0], expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(got[1], expected[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("b1", [0.0, 0.5, 0.999])
def test_tau_zero_does_not_move(b1):
    r1, r2 = eigenvalues(0.0, b1, 0.1)
    np.testing.assert_allclose([r1, r2], [1, b1], rtol=1e-15)
    assert gain_factor(0.0, b1, 0.1) == 1


def test_without_momentum_it_is_gradient_descent():
    np.testing.assert_allclose(
        gain_factor(TAU, 0.0, OBSERVATION),
        np.abs(1 - TAU) + 0 * OBSERVATION,
        rtol=1e-14,
    )


def test_heavy_ball_gain_is_sqrt_b1_in_its_complex_region():
    b1 = np.array([0.1, 0.9, 0.999])[:, None]
    lower, upper = complex_region(b1, 0.0)
    root = np.sqrt(b1)
    # Polyak: complex for (1 - √β)² < (1 - β) τ < (1 + √β)².
    np.testing.assert_allclose((1 - b1) * lower, (1 - root) ** 2, rtol=1e-10)
    np.testing.assert_allclose((1 - b1) * upper, (1 + root) ** 2, rtol=1e-10)
    tau = lower + (upper - lower) * jnp.linspace(0.01, 0.99, 50)[None]
    np.testing.assert_allclose(
        gain_factor(tau, b1, 0.0), root + np.zeros(50), rtol=1e-14
    )


@pytest.mark.parametrize("b1", [0.3, 0.9, 0.999])
def test_nesterov(b1):
    """Textbook: r² - (1+β)(1-γλ) r + β(1-γλ) = 0 with step γ = α(1-β)."""
    tau = np.linspace(-1, 20, 211)
    left = 1 - (1 - b1) * tau
    expected = [max(abs(np.roots([1, -(1 + b1) * x, b1 * x]))) for x in left]
    got = gain_factor(tau, b1, 1 - b1)
    np.testing.assert_allclose(got, expected, rtol=1e-7)


@pytest.mark.parametrize("compiled", [True, False])  # they round differently
def test_nesterov_kills_both_eigenvalues_at_its_fastest_tau(compiled):
    """Rounding moves them by sqrt(eps), and must not bring one back to b1."""
    b1 = np.linspace(0.5, 0.999, 500)[:, None]
    tau = np.asarray(fastest_tau(b1, 1 - b1)) * (1 + 1e-16 * np.arange(-9, 10))
    with jax.disable_jit(not compiled):
        r1, r2 = eigenvalues(tau, b1, 1 - b1)
    assert max(jnp.abs(r1).max(), jnp.abs(r2).max()) < 1e-6


def test_qhm():
    """Ma & Yarats' recursion with ν = 1 - μ, as matrix on (buffer, parameter)."""
    b1, nu, rate = 0.95, 0.7, 0.8
    for curvature in np.linspace(-0.5, 30, 62):
        rows = []
        for buffer, theta in [(1.0, 0.0), (0.0, 1.0)]:
            gradient = curvature * theta
            buffer = b1 * buffer + (1 - b1) * gradient
            rows.append(
                [buffer, theta - rate * ((1 - nu) * gradient + nu * buffer)],
            )
        expected = max(abs(np.linalg.eigvals(np.array(rows))))
        got = gain_factor(rate * curvature, b1, 1 - nu)
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def _points():
    for b1 in (0.0, 0.5, 0.999):
        for mu in (0.0, 0.1):
            edges = complex_region(b1, mu)
            special = [symmetric_point(b1, mu), convergence_bound(b1, mu)]
            for tau in (0.0, 1.0, 10.0, *edges, *special):
                yield float(tau), b1, mu


def test_gradients_are_finite_everywhere():
    def both(tau, b1, mu):
        r1, r2 = eigenvalues(tau, b1, mu)
        return jnp.stack([r1.real, r1.imag, r2.real, r2.imag, gain_factor(tau, b1, mu)])

    derivative = jax.jit(jax.vmap(jax.jacrev(both, argnums=(0, 1, 2))))
    for part in derivative(
        *(jnp.asarray(column) for column in zip(*_points(), strict=True))
    ):
        assert jnp.isfinite(part).all()


@pytest.mark.parametrize(
    ("tau", "b1", "mu"),
    [
        (0.5, 0.0, 0.1),
        (0.0, 0.9, 0.1),
        (0.3, 0.9, 0.0),
        (5.0, 0.99, 0.2),
        (-0.1, 0.9, 0.1),
    ],
)
def test_gradients_are_those_of_numpy(tau, b1, mu):
    got = jax.grad(gain_factor, argnums=(0, 1, 2))(tau, b1, mu)
    for index, derivative in enumerate(got):
        shift = np.zeros(3)
        shift[index] = 1e-6
        ends = [
            reference.radius(*(np.array([tau, b1, mu]) + s)) for s in (shift, -shift)
        ]
        np.testing.assert_allclose(derivative, (ends[0] - ends[1]) / 2e-6, atol=2e-7)
