"""Each conversion against its source algorithm, run as its paper prints it.

A source runs beside the literal RSG on a noisy, ill-conditioned quadratic, and the
two must ask for the same gradients throughout.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arsg_optax import hyperparams as hp
from tests.reference.relatives import (
    Points,
    asgd,
    asgd_of_jain,
    pid,
    qhm,
    robust_momentum,
    rsg,
    synthesized_nesterov,
    two_state,
)

STEPS = 400
DIMENSION = 6


def two_state_of(params: hp.RSGParams, q: float, m: float) -> tuple[float, ...]:
    """RSG in the coordinates that q and m fix: the inverse of the conversion."""
    learning_rate, b1, observation = map(float, params[:3])
    h = 1 + b1 - q
    recent = -learning_rate * (1 - observation) * (1 - b1)
    z = recent - learning_rate * observation
    return h, (1 - h) * (1 - q) / m, (b1 * recent + (1 - q) * z) / m, m, q, z


class Quadratic:
    """Gradients H (y - optimum) + noise_t with eigenvalues of H from 1e-4 to 1."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))[0]
        self.hessian = basis @ np.diag(np.logspace(-4, 0, DIMENSION)) @ basis.T
        self.optimum = rng.normal(size=DIMENSION)
        self.start = self.optimum + 3 * rng.normal(size=DIMENSION)
        self.noise = rng.normal(size=(STEPS, DIMENSION))

    def points(self, algorithm: Callable[..., Points], *args: Any) -> np.ndarray:
        """Where the algorithm takes its gradients, one row a step."""
        run = algorithm(self.start, *args)
        points = [next(run)]
        for noise in self.noise:
            points.append(run.send(self.hessian @ (points[-1] - self.optimum) + noise))
        return np.stack(points)


def deviation(points: np.ndarray, reference: np.ndarray) -> float:
    """Largest distance at any step, relative to the reference's norm there."""
    distance = np.linalg.norm(points - reference, axis=1)
    return float(np.max(distance / np.linalg.norm(reference, axis=1)))


# One row a case: conversion, source algorithm, the source's arguments.
CASES = [
    (hp.from_qhm, qhm, (1.0, 0.7, 0.999)),
    (hp.from_qhm, qhm, (0.5, 1.0, 0.9)),
    (hp.from_qhm, qhm, (0.5, 0.3, 0.0)),
    (hp.from_asgd, asgd, (0.1, 1000.0, 10.0)),
    (hp.from_asgd, asgd, (0.3, 20.0, 1.5)),
    (hp.from_asgd, asgd, (0.3, 0.49 * 3, 3.0)),
    (hp.from_asgd, asgd_of_jain, (0.1, 1000.0, 10.0)),
    (hp.from_asgd, asgd_of_jain, (0.3, 20.0, 1.5)),
    (hp.from_synthesized_nesterov, synthesized_nesterov, (0.1, 0.9, 0.9)),
    (hp.from_synthesized_nesterov, synthesized_nesterov, (0.05, 0.99, 10.0)),
    (hp.from_synthesized_nesterov, synthesized_nesterov, (0.1, 0.9, 0.0)),
    (hp.from_robust_momentum, robust_momentum, (1.0, 1e4)),
    (hp.from_robust_momentum, robust_momentum, (1.0, 1e4, 0.999)),
    (hp.from_robust_momentum, robust_momentum, (2.0, 4.0, 0.7)),
    (hp.from_pid, pid, (-2.0, 0.5, 18.0)),
    (hp.from_pid, pid, (-1.8, 0.2, 16.2)),
    (hp.from_pid, pid, (-0.25, 1.0, 0.25)),
    (hp.from_two_state, two_state, (0.95, 0.003, -0.1, 0.5, 0.97, -0.2)),
    (hp.from_two_state, two_state, (0.6, 0.06, -0.05, 2.0, 0.7, -0.3)),
    (hp.from_two_state, two_state, (0.9, 0.0, 0.1, -0.45, 1.0, -0.05)),
]
# The filter of a PID controller is its fourth argument; the gains must fit it.
PID_FILTERS = {-2.0: 0.9, -1.8: 0.9, -0.25: 0.5}


def distance_to_source(convert: Any, source: Any, args: tuple, seed: int) -> float:
    """Of the points where RSG and the source take gradients."""
    task = Quadratic(seed)
    filtered = (*args, PID_FILTERS[args[0]]) if source is pid else args
    reference = task.points(source, *filtered)
    return deviation(task.points(rsg, *convert(*args)[:3]), reference)


@pytest.mark.parametrize(("convert", "source", "args"), CASES)
def test_takes_the_gradients_of_the_source(convert, source, args):
    assert distance_to_source(convert, source, args, seed=0) < 1e-10


def sgd_points(task: Quadratic, optimizer: optax.GradientTransformation) -> np.ndarray:
    def step(carry, noise):
        theta, state = carry
        gradient = jnp.asarray(task.hessian) @ (theta - task.optimum) + noise
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(theta, updates), state), theta

    theta = jnp.asarray(task.start)
    _, points = jax.lax.scan(step, (theta, optimizer.init(theta)), task.noise)
    return np.asarray(points)


@pytest.mark.parametrize(
    ("convert", "learning_rate", "momentum"),
    [
        (hp.from_heavy_ball, 0.1, 0.9),
        (hp.from_heavy_ball, 0.002, 0.999),
        (hp.from_heavy_ball, 0.5, 0.0),
        (hp.from_nesterov, 0.1, 0.9),
        (hp.from_nesterov, 0.01, 0.999),
    ],
)
@pytest.mark.usefixtures("x64")
def test_takes_the_gradients_of_optax_sgd(convert, learning_rate, momentum):
    task, nesterov = Quadratic(0), convert is hp.from_nesterov
    optimizer = optax.sgd(learning_rate, momentum, nesterov=nesterov)
    points = task.points(rsg, *convert(learning_rate, momentum)[:3])[:-1]
    assert deviation(points, sgd_points(task, optimizer)) < 1e-10


def numbers(value: Any) -> np.ndarray:
    """The values of a result; of `RSGParams` without its distance and form."""
    return np.asarray(value[:3] if isinstance(value, hp.RSGParams) else value)


def assert_close(result: Any, expected: Any, rtol: float, atol: float = 0.0) -> None:
    np.testing.assert_allclose(numbers(result), numbers(expected), rtol, atol)


unit = st.floats(0.01, 0.99)


@given(st.floats(1e-4, 1e4), unit, unit)
def test_qhm_round_trip(learning_rate, b1, observation):
    params = hp.RSGParams(learning_rate, b1, observation)
    assert hp.to_qhm(params)._fields == ("learning_rate", "nu", "b1")
    assert_close(hp.from_qhm(*hp.to_qhm(params)), params, rtol=1e-13)
    distance = hp.distance_from_observation(observation, b1)
    by_distance = hp.RSGParams(learning_rate, b1, distance=distance, exact=True)
    assert_close(hp.to_qhm(by_distance), hp.to_qhm(params), rtol=1e-10, atol=1e-13)


@given(st.floats(0, 0.99), unit)
def test_distance_round_trip(observation, b1):
    distance = hp.distance_from_observation(observation, b1)
    assert hp.observation_from_distance(distance, b1) == pytest.approx(observation)


def test_distances_of_the_papers():
    assert hp.distance_from_observation(0.1, 0.999) == pytest.approx(99.9)
    assert hp.observation_from_distance(0.9, 0.9) == pytest.approx(0.1)
    assert hp.distance_from_observation(0.1, 0.0) == 0
    # Nesterov: the distance is b1.
    assert hp.observation_from_distance(0.7, 0.7) == pytest.approx(0.3)


@given(unit, unit, st.floats(0, 0.99), unit, st.sampled_from([-3.0, 0.2, 50.0]))
def test_two_state_round_trip(learning_rate, b1, observation, share, m):
    params = hp.RSGParams(learning_rate, b1, observation)
    coefficients = two_state_of(params, 1 - share * (1 - b1), m)
    assert_close(hp.from_two_state(*coefficients), params, rtol=1e-9, atol=1e-11)


def test_heavy_ball_in_any_coordinates_has_observation_zero():
    for b1 in np.linspace(0.01, 0.99, 99).tolist():
        heavy_ball = hp.RSGParams(0.3, b1, 0.0)
        k_p, k_d = -0.3 * b1 / (1 - b1), 0.3 * (b1 / (1 - b1)) ** 2
        for params in (
            hp.from_pid(k_p, 0.3, k_d),
            hp.from_two_state(*two_state_of(heavy_ball, 1.0, -0.7)),
        ):
            assert_close(params, heavy_ball, rtol=1e-10, atol=1e-12)
            assert params.observation is not None and params.observation >= 0


def test_robust_momentum_spans_triple_momentum_to_gradient_descent():
    rate = 1 - 1 / np.sqrt(50.0)
    triple = (1 + rate) / 2, rate**2 / (2 - rate), rate**2 / (1 + rate) / (2 - rate)
    expected = hp.from_synthesized_nesterov(*triple)
    assert_close(hp.from_robust_momentum(2.0, 50.0), expected, rtol=1e-12)
    end = hp.from_robust_momentum(2.0, 50.0, 1 - 1 / 50 - 1e-9)
    assert_close((end.learning_rate, end.observation), (0.5, 1.0), rtol=1e-5)


# Two points in the domain of each function.
DOMAIN = [
    (hp.observation_from_distance, (0.9, 0.9), (99.9, 0.999)),
    (hp.distance_from_observation, (0.1, 0.9), (0.0, 0.0)),
    (hp.from_heavy_ball, (0.1, 0.9), (0.0, 0.0)),
    (hp.from_nesterov, (0.1, 0.9), (0.2, 0.1)),
    (hp.from_qhm, (1.0, 0.7, 0.999), (0.0, 1.0, 0.0)),
    (hp.from_asgd, (0.1, 1000.0, 10.0), (0.0, 20.0, 1.5)),
    (hp.from_synthesized_nesterov, (0.1, 0.9, 0.9), (0.2, 0.5, 0.0)),
    (hp.from_robust_momentum, (1.0, 100.0, 0.95), (2.0, 4.0, 0.7)),
    (hp.from_pid, (-2.0, 0.5, 18.0), (-0.25, 1.0, 0.25)),
    (hp.from_two_state, CASES[-3][2], CASES[-2][2]),
    (lambda *p: hp.to_qhm(hp.RSGParams(*p)), (0.1, 0.9, 0.2), (0.0, 0.0, 0.0)),
]


@pytest.mark.parametrize(("convert", "first", "second"), DOMAIN)
@pytest.mark.usefixtures("x64")
def test_arrays_and_tracers_give_what_numbers_give(convert, first, second):
    expected = np.stack([numbers(convert(*each)) for each in (first, second)], axis=-1)
    columns = np.stack([first, second], axis=-1)
    for evaluate in (convert, jax.jit(convert), jax.vmap(convert)):
        result = evaluate(*(columns if evaluate is convert else jnp.asarray(columns)))
        assert_close(result, expected, rtol=1e-12, atol=1e-15)


def test_numpy_arguments_broadcast():
    params = hp.from_qhm(np.ones((3, 1)), np.full(4, 0.7), 0.9)
    assert np.broadcast_shapes(*map(np.shape, params[:3])) == (3, 4)
    sweep = hp.from_heavy_ball(0.1, np.array([0.5, 0.9]))
    assert all(np.shape(field) == (2,) for field in sweep[:3])


def test_tracers_are_never_compared():
    params = jax.jit(hp.from_qhm)(0.1, 1.5, 0.9)
    assert_close(params.observation, -0.5, rtol=1e-6)
    assert np.isinf(jax.jit(hp.from_pid)(-1.0, 0.0, 1.0).observation)


NAN, INF = float("nan"), float("inf")
QHM, ASGD, SNV = hp.from_qhm, hp.from_asgd, hp.from_synthesized_nesterov
ROBUST, PID, TWO_STATE = hp.from_robust_momentum, hp.from_pid, hp.from_two_state
# Function, arguments, what the message names, the value it gives (None: a derived one).
ERRORS = [
    (hp.observation_from_distance, (0.5, 0.0), "b1", 0.0),
    (hp.observation_from_distance, (9.5, 0.9), "distance", 9.5),
    (hp.observation_from_distance, (-0.1, 0.9), "distance", -0.1),
    (hp.distance_from_observation, (0.1, 1.0), "b1", 1.0),
    (hp.distance_from_observation, (1.5, 0.9), "observation", 1.5),
    (hp.from_heavy_ball, (0.1, 1), "momentum", 1),
    (hp.from_heavy_ball, (0.1, -0.5), "momentum", -0.5),
    (hp.from_heavy_ball, (INF, 0.9), "learning_rate", INF),
    (hp.from_nesterov, (0.1, 0), "momentum", 0),
    (hp.from_nesterov, (0.1, np.float32(1)), "momentum", 1.0),
    (hp.from_nesterov, (NAN, 0.9), "learning_rate", NAN),
    (QHM, (0.1, 0.0, 0.9), "nu", 0.0),
    (QHM, (0.1, 1.5, 0.9), "nu", 1.5),
    (QHM, (0.1, 1e-20, 0.9), "observation", 1.0),
    (QHM, (0.1, 0.7, np.float64(1.0)), "b1", 1.0),
    (QHM, (-0.1, 0.7, 0.9), "learning_rate", -0.1),
    (lambda *p: hp.to_qhm(hp.RSGParams(*p)), (0.1, 0.9, 1.0), "observation", 1.0),
    (ASGD, (0.1, 1000.0, 10 / 7), "xi", 10 / 7),
    (ASGD, (0.1, 1.0, 10.0), "kappa", 1.0),
    (ASGD, (-0.1, 1000.0, 10.0), "delta", -0.1),
    (SNV, (0.1, 0.0, 0.0), "b1", 0.0),
    (SNV, (0.1, 1.0, 0.5), "b1", 1.0),
    (SNV, (0.1, 0.5, 1.0), "b2", 1.0),
    (SNV, (0.1, 0.5, -0.1), "b2", -0.1),
    (SNV, (-0.1, 0.5, 0.1), "learning_rate", -0.1),
    (ROBUST, (1.0, 1), "kappa", 1),
    (ROBUST, (0.0, 10.0), "smoothness", 0.0),
    (ROBUST, (1.0, 100.0, 0.5), "rho", 0.5),
    (ROBUST, (1.0, 100.0, 0.99), "rho", 0.99),
    (PID, (-1.0, 1.0, 0), "k_d", 0),
    (PID, (-1.0, 0.0, 1.0), "k_i", 0.0),
    (PID, (0.0, 1.0, 1.0), "k_p", 0.0),
    (PID, (-3.0, 1.0, 4.0), "k_p", -3.0),
    (TWO_STATE, (0.9, 0.0, 0.1, 0.0, 1.0, -0.05), "m", 0.0),
    (TWO_STATE, (1.0, 0.0, 0.1, -0.45, 1.0, -0.05), "h + q", 2.0),
    (TWO_STATE, (0.0, 0.0, 0.1, -0.45, 1.0, -0.05), "h + q", 1.0),
    (TWO_STATE, (0.9, 0.5, 0.1, -0.5, 1.0, -0.05), "k * m", -0.25),
    (TWO_STATE, (0.9, 0.0, -0.1, -0.45, 1.0, 0.05), "learning_rate", None),
    (TWO_STATE, (0.9, 0.0, 0.1, -0.45, 1.0, -0.04), "observation", None),
    (TWO_STATE, (0.9, 0.0, 0.0, 0.5, 1.0, -0.05), "observation", None),
]


@pytest.mark.parametrize(("convert", "args", "name", "value"), ERRORS)
def test_errors_name_argument_value_and_remedy(convert, args, name, value):
    number = r"\S+" if value is None else re.escape(str(value))
    with pytest.raises(
        ValueError, match=rf"^{re.escape(name)} must .*, got {number}; ."
    ):
        convert(*args)
