"""Where RSG and ARSG meet other algorithms, the two must take the same steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import hyperparams
from tests.problems import constant, deviation, problem, run
from tests.reference import rsg
from tests.reference.relatives import qhm

STEPS = 200
pytestmark = pytest.mark.usefixtures("x64")


def _path(optimizer, task):
    return [params for params, _, _ in run(optimizer, task, jnp.float64)]


def _assert_same_path(one, *others):
    task = problem(0, "tree", 0.3, STEPS)
    expected = _path(one, task)
    for other in others:
        assert deviation(expected, _path(other, task), task.start) < 1e-12


@pytest.mark.parametrize("b1", [0.0, 0.9, 0.999])
def test_observation_zero_is_heavy_ball(b1):
    ours = arsg_optax.rsg(0.5, b1, observation=0.0)
    average = optax.chain(optax.ema(b1, debias=False), optax.scale(-0.5))
    _assert_same_path(ours, optax.sgd(0.5 * (1 - b1), momentum=b1), average)


@pytest.mark.parametrize("b1", [0.5, 0.9, 0.999])
def test_observation_one_minus_b1_is_nesterov(b1):
    ours = arsg_optax.rsg(0.5, b1, observation=1 - b1)
    theirs = optax.sgd(0.5 * (1 - b1), momentum=b1, nesterov=True)
    converted = arsg_optax.rsg(
        **hyperparams.from_nesterov(0.5 * (1 - b1), b1)._asdict()
    )
    _assert_same_path(ours, theirs, converted)


def test_rsg_is_qhm():
    task = problem(1, "tree", 0.3, STEPS)
    rate, nu, b1 = hyperparams.to_qhm(hyperparams.RSGParams(0.5, 0.99, 0.1))
    source = qhm(task.start, rate, nu, b1)
    y, expected = next(source), []
    for t in range(STEPS):
        y = source.send(task.gradient(t, y))
        expected.append(y)
    got = _path(arsg_optax.rsg(0.5, 0.99, 0.1), task)
    assert deviation(got, expected, task.start) < 1e-12


@pytest.mark.parametrize(("b1", "observation"), [(0.999, 0.1), (0.9, 0.5), (0.9, 0.0)])
def test_rsg_and_its_iterate_are_the_two_point_form(b1, observation):
    task = problem(2, "tree", 0.3, STEPS)
    optimizer = arsg_optax.rsg(0.5, b1, observation)
    held, iterates, _ = zip(*run(optimizer, task, jnp.float64), strict=True)
    distance = hyperparams.distance_from_observation(observation, b1)
    steps = rsg.two_point(
        task.gradient,
        task.start,
        constant(0.5),
        constant(b1),
        constant(distance),
        STEPS,
    )
    observed, expected = zip(*steps, strict=True)
    assert deviation(held, observed, task.start) < 1e-12
    assert deviation(iterates, expected, task.start) < 1e-12


def test_arsg_with_a_constant_preconditioner_is_rsg():
    # eps above every squared gradient: the maximum never moves.
    ours = arsg_optax.arsg(0.5 * 100, 0.99, eps=1e4, observation=0.1)
    task = problem(3, "tree", 0.3, STEPS)
    plain = arsg_optax.rsg(0.5, 0.99, 0.1)
    paths = [list(run(optimizer, task, jnp.float64)) for optimizer in (ours, plain)]
    for k in (0, 1):  # The held parameters and the iterate.
        one, other = ([each[k] for each in path] for path in paths)
        assert deviation(one, other, task.start) < 1e-12


@pytest.mark.parametrize("b1", [0.0, 0.9])
def test_observation_zero_is_amsgrad_without_bias_correction(b1):
    # The definitions meet where eps is below every second moment.
    theirs = optax.amsgrad(
        0.01,
        b1=b1,
        b2=0.99,
        eps=0.0,
        bias_correction_mu=False,
        bias_correction_nu=False,
    )
    _assert_same_path(arsg_optax.arsg(0.01, b1, eps=1e-37, observation=0.0), theirs)


def test_namsg_is_arsg_by_its_distance():
    observation = hyperparams.observation_from_distance(0.9, 0.9)
    _assert_same_path(
        arsg_optax.namsg(0.01), arsg_optax.arsg(0.01, b1=0.9, observation=observation)
    )


def test_resilience_zero_is_gradient_descent():
    _assert_same_path(arsg_optax.adarem(0.1, resilience=0.0), optax.sgd(0.1))


def test_debiased_iterate_moves_along_the_momentum_only():
    """The gradient's own part of a step cancels in x also with debias=True."""
    b1, observation, rate = 0.99, 0.1, 0.5
    task = problem(4, "tree", 1.0, STEPS)
    optimizer = arsg_optax.rsg(rate, b1, observation, debias=True)
    before = task.start
    for t, (_, x, state) in enumerate(run(optimizer, task, jnp.float64)):
        momentum = task.flat(optax.tree.get(state, "mu"))
        share = (1 - observation) / (1 - b1 ** (t + 1)) + observation
        np.testing.assert_allclose(
            x - before, -rate * share * momentum, rtol=0, atol=1e-12
        )
        before = x


def test_iterate_is_quieter_than_the_held_parameters():
    """Steady state of a noisy quadratic where learning rate times curvature is 1."""
    curvature, steps = 0.2, 20_000
    optimizer = arsg_optax.rsg(5.0, 0.999, 0.1)
    noise = jax.random.normal(jax.random.key(0), (steps, 64), jnp.float64)

    def step(carry, noisy):
        y, state = carry
        updates, state = optimizer.update(curvature * y + noisy, state, y)
        y = optax.apply_updates(y, updates)
        return (y, state), (y, arsg_optax.eval_params(state, y))

    start = jnp.zeros(64, jnp.float64)
    _, (held, iterate) = jax.lax.scan(step, (start, optimizer.init(start)), noise)
    late = slice(steps // 2, None)
    assert jnp.var(iterate[late]) < 0.15 * jnp.var(held[late])
