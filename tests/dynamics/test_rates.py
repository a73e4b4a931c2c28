"""Theorem 1 and the optimum against the true worst gain and brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.dynamics import gain_factor, optimal_hyperparams, theorem1_rate
from tests.dynamics import reference

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize(
    ("c_alpha", "c_beta", "c_mu"),
    [
        (1.0, 1.0, 1.0),  # Nesterov, largest step
        (1.0, 1.0, 0.5),
        (0.1, 1.0, 1.0),  # 4 c_alpha < c_beta
        (0.01, 2.0, 3.0),
        (0.2, 1.0, 5.0),
        (0.5, 1.0, 0.0),  # heavy ball
        (0.05, 4.0, 0.2),
    ],
)
def test_theorem_1(c_alpha, c_beta, c_mu):
    errors = []
    for kappa in 10.0 ** np.arange(4, 9):
        root = np.sqrt(kappa)
        rate, b1, mu = c_alpha * root, 1 - c_beta / root, c_mu / root
        true = reference.worst_radius(1 / kappa, 1.0, rate, b1, mu)
        errors.append(abs(theorem1_rate(kappa, c_alpha, c_beta, c_mu) - true) * kappa)
    # The approximation leaves O(1/κ), with one constant for all κ.
    assert max(errors) < 3 * (c_alpha + c_beta + c_mu) ** 2


def test_theorem_1_at_small_steps_is_the_step():
    got = 1 - theorem1_rate(1e8, 1e-6, 1.0, 1.0)
    np.testing.assert_allclose(got, 1e-6 / 1e4, rtol=1e-5)


OPTIMA = [
    (kappa, mu)
    for kappa in (1.5, 10.0, 1e3, 1e6)
    for mu in (0.0, 1e-3, 0.1, 0.5, 0.9, 0.99)
]


@pytest.mark.parametrize(("kappa", "mu"), OPTIMA)
def test_both_ends_have_the_stated_gain_and_nothing_between_is_worse(kappa, mu):
    lambda_min = 0.3
    found = optimal_hyperparams(lambda_min, kappa * lambda_min, observation=mu)
    rate, b1 = float(found.learning_rate), float(found.b1)
    ends = gain_factor(rate * lambda_min * np.array([1, kappa]), b1, mu)
    # Eigenvalues meet at the lower end, with heavy ball at both.
    slack = 4 * np.sqrt(1e-16 / (1 - b1) if mu == 0 else 1e-16 * (1 - b1)) + 1e-13
    np.testing.assert_allclose(ends, found.gain, rtol=0, atol=slack)
    worst = reference.worst_radius(lambda_min, kappa * lambda_min, rate, b1, mu)
    assert worst < found.gain + 1e-7 * (1 - b1) + slack


@pytest.mark.parametrize(("kappa", "mu"), OPTIMA)
def test_no_other_decay_and_rate_is_better(kappa, mu):
    """For each of many b1 the best rate, by repeated grids of the spectral radius."""

    def best(b1):
        # The worst gain falls, then rises with the rate: each grid brackets the next.
        rates = np.geomspace(1e-2 / kappa, 1e4, 201)
        for _ in range(5):
            ends = rates[:, None] * np.array([1, kappa])
            gains = reference.radius(ends, b1, mu).max(axis=1)
            least = int(gains.argmin())
            rates = np.geomspace(
                rates[max(least - 1, 0)], rates[min(least + 1, 200)], 201
            )
        return gains.min()

    got = optimal_hyperparams(1.0, kappa, observation=mu)
    chosen = 1 - float(got.b1)
    weights = np.concatenate(
        [np.geomspace(1e-3 * chosen, 1, 40), chosen * np.linspace(0.9, 1.1, 11)]
    )
    gains = np.array([best(1 - weight) for weight in weights if weight <= 1])
    gap = (gains.min() - got.gain) / (1 - got.gain)
    assert -1e-6 < gap < 1e-3


@pytest.mark.parametrize("kappa", [1.0, 1.0001, 2.0, 100.0, 1e4, 1e8])
def test_observation_zero_is_polyaks_heavy_ball(kappa):
    lambda_min, lambda_max = 0.1, 0.1 * kappa
    got = optimal_hyperparams(lambda_min, lambda_max, observation=0.0)
    root = (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1)
    np.testing.assert_allclose(got.gain, root, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(got.b1, root**2, rtol=1e-11, atol=1e-15)
    ends = np.sqrt(lambda_max) + np.sqrt(lambda_min)
    rate = 4 / ((1 - root**2) * ends**2)
    np.testing.assert_allclose(got.learning_rate, rate, rtol=1e-11)


def test_heavy_ball_is_the_best_observation_for_exact_gradients():
    mu = np.linspace(0, 0.99, 100)
    gains = optimal_hyperparams(
        1.0, np.array([[1.1], [30.0], [1e5]]), observation=mu
    ).gain
    assert (jnp.diff(gains, axis=1) > 0).all()


def test_nearly_full_observation_is_gradient_descent():
    got = optimal_hyperparams(1.0, 20.0, observation=1 - 1e-10)
    np.testing.assert_allclose(got.gain, 19 / 21, rtol=1e-4)


def test_equal_curvatures_need_no_momentum():
    got = optimal_hyperparams(4.0, 4.0, observation=0.1)
    np.testing.assert_array_equal([got.learning_rate, got.b1, got.gain], [0.25, 0, 0])


@pytest.mark.parametrize("kappa", [1.0, 1.01, 50.0, 1e6])
@pytest.mark.parametrize("mu", [0.0, 0.3])
def test_derivatives_of_the_optimum(kappa, mu):
    def solve(lambda_max, mu):
        found = optimal_hyperparams(1.0, lambda_max, observation=mu)
        return jnp.stack([found.learning_rate, found.b1, found.gain])

    got = jax.jacobian(solve, argnums=(0, 1))(kappa, mu)
    assert all(jnp.isfinite(part).all() for part in got)
    if kappa > 1 and mu > 0:
        for index, size in enumerate((1e-5 * (kappa - 1), 1e-6)):
            shift = np.zeros(2)
            shift[index] = size
            point = np.array([kappa, mu])
            change = solve(*(point + shift)) - solve(*(point - shift))
            np.testing.assert_allclose(got[index], change / (2 * size), rtol=1e-4)


def test_single_precision():
    kappa = np.float32(100)
    got = optimal_hyperparams(np.float32(1), kappa, observation=np.float32(0.1))
    assert {part.dtype for part in got} == {np.dtype("float32")}
    exact = optimal_hyperparams(1.0, 100.0, observation=float(np.float32(0.1)))
    for one, other in zip(got, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=3e-6)
