"""Lanczos and Gauss quadrature on matrices whose eigenvalues are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.tuning.lanczos import Tridiagonal, lanczos, ritz

SIZE = 40


def symmetric(eigenvalues, seed=0):
    """A float64 matrix with these eigenvalues, and its eigenvectors as columns."""
    rng = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))
    return (vectors * eigenvalues) @ vectors.T, vectors


def run(matrix, start, iterations) -> Tridiagonal:
    matrix = jnp.asarray(matrix, jnp.float32)
    start = jnp.asarray(start, jnp.float32)
    return lanczos(lambda vector: matrix @ vector, start, iterations)


def start_vector(size=SIZE):
    return np.random.default_rng(1).normal(size=size)


SPECTRA = {
    "even": np.linspace(-1, 3, SIZE),
    # Found after a few products, after which copies would appear without
    # orthogonalisation against all vectors.
    "outliers": np.concatenate([np.linspace(0, 1, SIZE - 3), [20.0, 300.0, 1000.0]]),
    "negative": -np.geomspace(0.1, 10, SIZE),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_the_whole_space_gives_the_whole_spectrum(name):
    eigenvalues = np.sort(SPECTRA[name])
    found = ritz(run(symmetric(eigenvalues)[0], start_vector(), SIZE))
    assert found.values.shape == (SIZE,)
    largest = np.max(np.abs(eigenvalues))
    np.testing.assert_allclose(found.values, eigenvalues, atol=1e-5 * largest)


@pytest.mark.parametrize("name", SPECTRA)
def test_the_basis_is_orthonormal_and_holds_the_tridiagonal_matrix(name):
    matrix, _ = symmetric(SPECTRA[name])
    found = run(matrix, start_vector(), 30)
    basis = np.asarray(found.basis, float)
    assert basis.shape == (30, SIZE)
    np.testing.assert_allclose(basis @ basis.T, np.eye(30), atol=2e-6)
    start = start_vector()
    np.testing.assert_allclose(basis[0], start / np.linalg.norm(start), atol=1e-6)
    inner = np.diag(found.alpha) + np.diag(found.beta[:-1], 1)
    inner += np.diag(found.beta[:-1], -1)
    scale = np.max(np.abs(SPECTRA[name]))
    np.testing.assert_allclose(basis @ matrix @ basis.T, inner, atol=1e-5 * scale)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("iterations", [1, 2, 5, 12])
def test_residuals_are_bounds(name, iterations):
    matrix, _ = symmetric(SPECTRA[name])
    krylov = run(matrix, start_vector(), iterations)
    found = ritz(krylov)
    vectors = np.asarray(krylov.basis, float).T @ found.vectors
    residuals = np.linalg.norm(matrix @ vectors - vectors * found.values, axis=0)
    rounding = 2e-6 * np.max(np.abs(SPECTRA[name]))
    np.testing.assert_allclose(found.residuals, residuals, rtol=1e-3, atol=rounding)
    distance = np.abs(SPECTRA[name][None, :] - found.values[:, None]).min(axis=1)
    assert np.all(distance <= found.residuals + rounding)
    assert np.all(found.values <= np.max(SPECTRA[name]) + rounding)
    assert np.all(found.values >= np.min(SPECTRA[name]) - rounding)


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_quadrature_is_exact_up_to_its_degree_and_no_further(iterations):
    eigenvalues = SPECTRA["even"]
    matrix, vectors = symmetric(eigenvalues)
    start = start_vector()
    found = ritz(run(matrix, start, iterations))
    measure = (vectors.T @ start) ** 2 / np.sum(start**2)
    np.testing.assert_allclose(np.sum(found.weights), 1, rtol=1e-12)
    for degree in range(2 * iterations):
        got = np.sum(found.weights * found.values**degree)
        np.testing.assert_allclose(got, np.sum(measure * eigenvalues**degree), 1e-4)
    degree = 2 * iterations
    got = np.sum(found.weights * found.values**degree)
    assert got < 0.998 * np.sum(measure * eigenvalues**degree)


def test_weights_are_the_density_on_average():
    """Of 4 equal eigenvalues and 1 other, the mean of chi-squared shares is 4 to 1."""
    rng = np.random.default_rng(0)
    matrix = np.diag([2.0, 2.0, 5.0, 2.0, 2.0])
    found = [ritz(run(matrix, rng.normal(size=5), 5)) for _ in range(100)]
    shares = np.array([np.sum(each.weights[each.values > 3.5]) for each in found])
    # One squared normal number's share of five has a deviation of 0.21.
    assert abs(np.mean(shares) - 0.2) < 4 * 0.21 / 100**0.5
    assert np.std(shares) > 0.1


def test_ends_where_the_start_has_no_more_eigenvectors():
    matrix, vectors = symmetric(SPECTRA["even"])
    chosen, parts = [3, 17, 30], np.array([1.0, 2.0, -0.5])
    krylov = run(matrix, vectors[:, chosen] @ parts, 20)
    found = ritz(krylov)
    assert krylov.basis.shape == (3, SIZE)
    np.testing.assert_allclose(found.values, SPECTRA["even"][chosen], atol=1e-5)
    np.testing.assert_allclose(found.weights, parts**2 / np.sum(parts**2), atol=1e-5)
    assert np.all(found.residuals < 2e-5)


@pytest.mark.parametrize("value", [0.0, 2.0, -1e-20])
def test_multiples_of_the_identity_end_at_once(value):
    krylov = run(value * np.eye(SIZE), start_vector(), 5)
    found = ritz(krylov)
    np.testing.assert_allclose(found.values, [value], rtol=1e-6)
    assert found.weights == [1.0]
    assert found.residuals <= 1e-6 * abs(value)


def test_one_entry():
    found = ritz(run([[-3.0]], [0.5], 1))
    np.testing.assert_allclose(found.values, [-3.0])
    assert found.residuals == [0.0]


def test_a_product_a_row():
    calls = []

    def matvec(vector):
        calls.append(vector)
        return jnp.arange(10.0) * vector

    lanczos(matvec, jnp.ones(10), 4)
    assert len(calls) == 4


def test_float64(x64):
    eigenvalues = SPECTRA["even"]
    matrix = jnp.asarray(symmetric(eigenvalues)[0])
    found = ritz(lanczos(lambda v: matrix @ v, jnp.asarray(start_vector()), SIZE))
    np.testing.assert_allclose(found.values, eigenvalues, atol=1e-12)


@pytest.mark.parametrize("iterations", [0, 4])
def test_iterations_out_of_range(iterations):
    with pytest.raises(ValueError, match=r"^iterations must be in \[1, 3\], got .;"):
        lanczos(lambda v: v, jnp.ones(3), iterations)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_starts_without_direction(value):
    with pytest.raises(ValueError, match=r"^start must have a finite length .*; pass"):
        lanczos(lambda v: v, jnp.full(3, value), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_products_that_are_not_finite(value):
    with pytest.raises(FloatingPointError, match=r"^product 0 of the operator"):
        lanczos(lambda v: v * value, jnp.ones(3), 2)
