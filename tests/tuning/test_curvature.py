"""Curvature and noise against dense Hessians, covariances and known distributions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.tuning.curvature import _trace_error, curvature
from tests.tuning.dense import BATCHES, PROBLEMS, Problem, dense, divisors, quadratic


@pytest.fixture(params=list(PROBLEMS))
def problem(request) -> Problem:
    return PROBLEMS[request.param]


@pytest.fixture(params=[False, True], ids=["plain", "preconditioned"])
def preconditioner(request, problem) -> Any:
    return divisors(problem.params) if request.param else None


@pytest.mark.parametrize("start", ["gradient", "random"])
def test_extreme_eigenvalues(problem, preconditioner, start):
    expected = np.linalg.eigvalsh(dense(problem, preconditioner).hessian)
    found = curvature(
        *problem,
        key=jax.random.key(0),
        preconditioner=preconditioner,
        iterations=100,
        start=start,
    )
    largest = np.max(np.abs(expected))
    np.testing.assert_allclose(found.largest, expected[-1], rtol=1e-4)
    np.testing.assert_allclose(found.smallest, expected[0], atol=1e-4 * largest)
    if len(found.eigenvalues) == len(expected):
        np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-4 * largest)
    else:  # Directions that the loss hardly depends on were left out.
        assert found.errors.max() < 1e-4 * largest


@pytest.mark.parametrize("iterations", [2, 6])
def test_errors_are_bounds(problem, preconditioner, iterations):
    expected = np.linalg.eigvalsh(dense(problem, preconditioner).hessian)
    found = curvature(*problem, preconditioner=preconditioner, iterations=iterations)
    assert found.eigenvalues.shape == (iterations,)
    distance = np.abs(expected[None] - found.eigenvalues[:, None]).min(axis=1)
    rounding = 1e-5 * np.max(np.abs(expected))
    assert np.all(distance <= found.errors + rounding)
    assert found.largest <= expected[-1] + rounding
    assert found.smallest >= expected[0] - rounding
    assert found.largest_error == found.errors[-1]
    assert found.smallest_error == found.errors[0]


# Two nodes suffice for the powers, not for the exponential.
FUNCTIONS = {
    "one": np.ones_like,
    "first": lambda x: x,
    "second": np.square,
    "exponential": lambda x: np.exp(-x),
}


def test_weights_are_a_quadrature(problem, preconditioner):
    exact = dense(problem, preconditioner)
    eigenvalues, vectors = np.linalg.eigh(exact.hessian)
    measure = (vectors.T @ exact.mean) ** 2
    found = curvature(*problem, preconditioner=preconditioner, iterations=8)
    for name, function in FUNCTIONS.items():
        got = np.sum(found.weights * function(found.eigenvalues))
        expected = np.sum(measure * function(eigenvalues))
        np.testing.assert_allclose(got, expected, rtol=1e-4, err_msg=name)


def test_the_quadrature_predicts_the_loss_after_a_step():
    problem = quadratic([1.0, 4.0, 9.0], [[0.0] * 3] * 2)
    preconditioner = jnp.array([0.5, 1.0, 3.0])
    found = curvature(*problem, preconditioner=preconditioner)
    rate = 0.1
    gradient = jnp.array([1.0, 4.0, 9.0])
    after = problem.params - rate * gradient / preconditioner
    decrease = found.loss - float(problem.loss(after, problem.batches[0]))
    predicted = rate * np.sum(found.weights * (1 - rate * found.eigenvalues / 2))
    np.testing.assert_allclose(predicted, decrease, rtol=1e-5)


def test_noise_is_the_covariance_of_the_batches(problem, preconditioner):
    exact = dense(problem, preconditioner)
    found = curvature(*problem, preconditioner=preconditioner, iterations=4)
    trace = np.trace(exact.covariance)
    np.testing.assert_allclose(found.noise_trace, trace, rtol=1e-5)
    np.testing.assert_allclose(found.noise.sum() + found.noise_outside, trace, 1e-5)
    assert found.noise_outside > 0.01 * trace
    square = exact.mean @ exact.mean - trace / BATCHES
    np.testing.assert_allclose(found.gradient_square, square, rtol=1e-4)
    np.testing.assert_allclose(found.noise_scale, trace / square, rtol=1e-4)
    losses = jax.vmap(problem.loss, (None, 0))(problem.params, problem.batches)
    np.testing.assert_allclose(found.loss, np.mean(losses), rtol=1e-6)


def test_noise_along_the_gradient(problem, preconditioner):
    """The one Ritz vector of one iteration is known."""
    exact = dense(problem, preconditioner)
    direction = exact.mean / np.linalg.norm(exact.mean)
    found = curvature(*problem, preconditioner=preconditioner, iterations=1)
    expected = direction @ exact.covariance @ direction
    np.testing.assert_allclose(found.noise, [expected], rtol=1e-4)
    expected = direction @ exact.hessian @ direction
    np.testing.assert_allclose(found.eigenvalues, [expected], rtol=1e-4)


def test_noise_along_eigenvectors():
    """Of the whole spectrum, whose eigenvalues all differ."""
    problem = PROBLEMS["logistic"]
    preconditioner = divisors(problem.params)
    exact = dense(problem, preconditioner)
    vectors = np.linalg.eigh(exact.hessian).eigenvectors
    found = curvature(*problem, preconditioner=preconditioner, iterations=9)
    assert found.eigenvalues.shape == (9,)
    expected = np.einsum("ij,ik,kj->j", vectors, exact.covariance, vectors)
    largest = expected.max()
    np.testing.assert_allclose(found.noise, expected, rtol=1e-2, atol=1e-3 * largest)
    np.testing.assert_allclose(found.noise_outside, 0, atol=1e-4 * largest)


def test_known_noise():
    """Estimates from many batches lie about their distributions' parameters."""
    deviations, n = np.array([0.5, 2.0, 1.0]), 400
    noise = np.random.default_rng(0).normal(size=(n, 3)) * deviations
    found = curvature(*quadratic([1.0, 3.0, 9.0], noise))
    # Of a variance from n normal numbers, the relative standard error is 0.07.
    np.testing.assert_allclose(found.noise, deviations**2, rtol=4 * (2 / n) ** 0.5)
    trace = np.sum(deviations**2)
    error = np.sqrt(2 * np.sum(deviations**4) / (n - 1))
    # The error's own relative error is about sqrt(12 / 4 / n), the kurtosis of a
    # chi-squared number with one degree of freedom being 15.
    np.testing.assert_allclose(found.noise_trace_error, error, rtol=0.4)
    assert abs(found.noise_trace - trace) < 4 * error
    # Of the squared norm, 1 + 9 + 81: twice the gradient times the mean's error.
    slope_error = 2 * np.sqrt(np.sum((deviations * [1.0, 3.0, 9.0]) ** 2) / n)
    assert abs(found.gradient_square - 91) < 4 * slope_error


@pytest.mark.parametrize("n", [3, 5, 40])
def test_trace_error_has_no_bias_for_normal_noise(n):
    noise = np.random.default_rng(n).normal(size=(20_000, n, 3)) * [0.5, 2.0, 1.0]
    _check_trace_error(noise, rtol=0.08)


def test_trace_error_with_heavy_tails():
    noise = np.random.default_rng(0).laplace(size=(5_000, 100, 3)) * [0.5, 2.0, 1.0]
    _check_trace_error(noise, rtol=0.08)


def _check_trace_error(noise, rtol):
    """Mean squared standard error against the variance, over (repetitions, n, size)."""
    deviations = noise - noise.mean(axis=1, keepdims=True)
    squares = np.sum(deviations**2, axis=2)
    variance = np.var(squares.sum(axis=1) / (noise.shape[1] - 1))
    errors = np.array([_trace_error(each) for each in squares])
    np.testing.assert_allclose(np.mean(errors**2), variance, rtol=rtol)


def test_two_batches_have_no_error():
    found = curvature(*quadratic([1.0, 2.0], [[0.5, 0.0], [-0.5, 0.0]]))
    np.testing.assert_allclose(found.noise_trace, 0.5, rtol=1e-6)
    assert found.noise_trace_error == np.inf


def test_a_gradient_of_noise_alone():
    """At a minimum; the squared norm without bias is 0 on average, here below."""
    noise = [[1.0, 0.0], [-1.0, 0.25]]
    found = curvature(*quadratic([1.0, 2.0], noise, jnp.zeros(2)))
    np.testing.assert_allclose(found.gradient_square, 0.125**2 - 2.03125 / 2)
    assert found.noise_scale == np.inf


def test_random_starts_follow_their_key(problem):
    def run(seed):
        key = jax.random.key(seed)
        return curvature(*problem, key=key, iterations=3, start="random")

    one, same, other = run(0), run(0), run(1)
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(one.eigenvalues, other.eigenvalues, rtol=1e-3)
    np.testing.assert_allclose(one.weights.sum(), 1, rtol=1e-6)
    assert one.noise_trace == other.noise_trace
    assert one.start == "random"


def test_random_starts_see_what_the_gradient_does_not():
    problem = quadratic([1.0, 5.0], [[0.0, 0.0]] * 2, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(curvature(*problem).eigenvalues, [1.0])
    found = curvature(*problem, key=jax.random.key(0), start="random")
    np.testing.assert_allclose(found.eigenvalues, [1.0, 5.0], rtol=1e-5)


@pytest.mark.parametrize("dead", [0.0, np.inf])
@pytest.mark.parametrize("start", ["gradient", "random"])
def test_parameters_without_divisor_are_fixed(dead, start):
    noise = [[1.0, 0.5, 2.0], [0.0, -0.5, 1.0], [0.25, 0.0, 1.0]]
    problem = quadratic([1.0, 100.0, 3.0], noise)
    preconditioner = jnp.array([2.0, dead, 4.0])
    found = curvature(
        *problem, key=jax.random.key(0), preconditioner=preconditioner, start=start
    )
    np.testing.assert_allclose(found.eigenvalues, [0.5, 0.75], rtol=1e-5)
    variances = np.var(np.array(noise), axis=0, ddof=1)[[0, 2]] / [2.0, 4.0]
    np.testing.assert_allclose(found.noise, variances, rtol=1e-4)
    np.testing.assert_allclose(found.noise_trace, variances.sum(), rtol=1e-5)


@pytest.mark.parametrize("start", ["gradient", "random"])
def test_a_loss_without_curvature(start):
    problem = quadratic([0.0, 0.0], [[1.0, 2.0], [3.0, 2.0]])
    found = curvature(*problem, key=jax.random.key(0), start=start)
    np.testing.assert_array_equal(found.eigenvalues, [0.0])
    np.testing.assert_array_equal(found.errors, [0.0])
    np.testing.assert_allclose(found.weights, [8.0 if start == "gradient" else 1.0])
    assert found.gradients == 2 * (2 + 2)


def test_one_parameter():
    problem = quadratic(3.0, [0.5, 1.5])
    found = curvature(*problem)
    np.testing.assert_allclose(found.eigenvalues, [3.0])
    np.testing.assert_allclose(found.weights, [16.0])
    np.testing.assert_allclose(found.noise, [0.5])
    np.testing.assert_allclose(found.noise_outside, 0, atol=1e-6)


def test_cost():
    """Each function is traced once, however many batches and iterations."""
    problem = PROBLEMS["network"]
    traced = []

    def loss(params, batch):
        traced.append(None)
        return problem.loss(params, batch)

    found = curvature(loss, problem.params, problem.batches, iterations=7)
    assert len(traced) == 3
    assert found.batches == BATCHES
    assert found.gradients == BATCHES * (2 + 2 * 7)


def test_reads_as_text():
    found = curvature(*quadratic([1.0, 4.0], [[0.5, 0.0], [-0.5, 0.0]]))
    found = found._replace(errors=np.array([0.25, 0.0]))
    assert str(found).splitlines() == [
        "loss 2.5, mean of 2 batches (cost: 12 gradients)",
        "eigenvalues 1 ± 0.25 to 4 ± 0 (2 from the gradient start)",
        "squared gradient 16.75, noise of one batch 0.5 ± inf (0% outside of these "
        "eigenvectors)",
    ]
