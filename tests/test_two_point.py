"""The two-point form around other optimizers, and the evaluation inside it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import arsg_optax
from tests.interop.steps import advance, assert_close, gradients, iterate, tree
from tests.interop.table import TABLE
from tests.problems import deviation, problem, run
from tests.reference import arsg

ROW = TABLE[0]


def _train(optimizer, params, steps=4):
    return advance(ROW, optimizer, params, gradients(steps))


@pytest.mark.parametrize("scheduled", [False, True])
def test_arsg_in_two_points(scheduled, x64):
    """x_{t+1} = x_t - α m/√v̂, y_{t+1} = x_t - (1+η) α m/√v̂, line by line."""
    task = problem(0, "tree", 0.3, 200)

    def rate(t):
        return 0.02 / (1 + 0.01 * t) if scheduled else 0.02

    def distance(t):
        return 9.0 + 0.1 * t if scheduled else 9.0

    inner = arsg_optax.arsg(
        _schedule(rate) if scheduled else 0.02, 0.99, observation=0.0
    )
    optimizer = arsg_optax.observe_remotely(
        inner, _schedule(distance) if scheduled else 9.0
    )
    x, m = task.start, np.zeros_like(task.start)
    v, v_max, y = np.zeros_like(x), np.full_like(x, 1e-8), x
    held, points = [], []
    for t in range(200):
        g = task.gradient(t, y)
        m = 0.99 * m + 0.01 * g
        v = 0.99 * v + 0.01 * g**2
        v_max = np.maximum(v_max, v)
        step = rate(t) * m / np.sqrt(v_max)
        x, y = x - step, x - (1 + distance(t)) * step
        held.append(y)
        points.append(x)
    got = list(run(optimizer, task, jnp.float64))
    assert deviation([y for y, _, _ in got], held, task.start) < 1e-12
    assert deviation([x for _, x, _ in got], points, task.start) < 1e-12


def _schedule(function):
    return lambda count: function(jnp.asarray(count, jnp.float64))


def test_concise_and_two_point_arsg_agree_while_v_max_stands_still(x64):
    task = problem(1, "tree", 0.3, 50)
    observation = arsg_optax.hyperparams.observation_from_distance(4.0, 0.9)
    # Above every second moment, so the preconditioner is constant.
    concise = arsg_optax.arsg(0.5, 0.9, eps=1e4, observation=float(observation))
    two_point = arsg_optax.observe_remotely(
        arsg_optax.arsg(0.5, 0.9, eps=1e4, observation=0.0), 4.0
    )
    steps = arsg.arsg(
        task.gradient,
        task.start,
        lambda t: 0.5,
        lambda t: 0.9,
        0.99,
        lambda t: float(observation),
        1e4,
        50,
    )
    triples = zip(
        run(concise, task, jnp.float64),
        run(two_point, task, jnp.float64),
        steps,
        strict=True,
    )
    for (y, x, _), (y_2, x_2, _), (expected, _, _) in triples:
        np.testing.assert_allclose(y, expected, rtol=1e-11)
        np.testing.assert_allclose(y_2, expected, rtol=1e-11)
        np.testing.assert_allclose(x, x_2, rtol=1e-11)


def test_the_inner_decay_acts_on_the_iterate():
    optimizer = arsg_optax.observe_remotely(
        optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1)), 3.0
    )
    params, trees = (
        {"w": jnp.array([1.0, -2.0])},
        [
            {"w": jnp.array([1.0, 1.0])},
            {"w": jnp.array([-2.0, 0.5])},
        ],
    )
    x = y = np.array([1.0, -2.0])
    for each in trees:
        u = -0.1 * (np.asarray(each["w"]) + 0.5 * x)
        x, y = x + u, x + 4 * u
    held, state = advance(ROW, optimizer, params, trees)
    np.testing.assert_allclose(held["w"], y, rtol=1e-5)
    np.testing.assert_allclose(iterate(state, held)["w"], x, rtol=1e-5)


def test_distance_zero_is_the_inner_optimizer():
    plain, state = _train(optax.sgd(0.1, momentum=0.9), tree(0))
    held, state = _train(
        arsg_optax.observe_remotely(optax.sgd(0.1, momentum=0.9), 0.0), tree(0)
    )
    assert_close(held, plain, 1e-6)
    assert_close(arsg_optax.eval_params(state, held), plain, 1e-6)


def _nested(inner):
    return optax.chain(optax.identity(), optax.masked(inner, {"b": True, "w": True}))


@pytest.mark.parametrize("around", [lambda o: o, _nested], ids=["bare", "nested"])
def test_schedule_free_is_evaluated_at_its_average(around, relaxed_promotion):
    inner = optax.contrib.schedule_free(optax.sgd(0.1), 0.1, b1=0.9)
    held, state = _train(
        around(arsg_optax.observe_remotely(_nested(inner), 2.0)), tree(0)
    )
    # Beside it, by hand: the inner optimizer at its own parameters.
    x, inner_state = tree(0), inner.init(tree(0))
    for each in gradients(4):
        updates, inner_state = inner.update(each, inner_state, x)
        x = optax.apply_updates(x, updates)
    expected = optax.contrib.schedule_free_eval_params(inner_state, x)
    assert_close(arsg_optax.eval_params(state, held), expected, 1e-5)
    y = jax.tree.map(lambda p, u: p + 2 * u, x, updates)
    assert_close(held, y, 1e-5)


def test_muon_is_evaluated_at_its_iterate(relaxed_promotion):
    inner = optax.contrib.muon(0.1)
    held, state = _train(arsg_optax.observe_remotely(inner, 2.0), tree(0))
    expected, _ = _train(inner, tree(0))
    # The gradients are given, so the inner optimizer is where it would be alone.
    assert_close(arsg_optax.eval_params(state, held), expected, 1e-5)


def test_an_observation_inside_is_evaluated_too():
    inner = arsg_optax.rsg(0.1, 0.9, observation=0.5)
    held, state = _train(arsg_optax.observe_remotely(inner, 2.0), tree(0))
    params, inner_state = _train(inner, tree(0))
    expected = arsg_optax.eval_params(inner_state, params)
    assert_close(arsg_optax.eval_params(state, held), expected, 1e-5)


def test_two_in_a_row_are_refused():
    one = arsg_optax.observe_remotely(optax.sgd(0.1), 2.0)
    held, state = _train(optax.chain(one, one), tree(0))
    with pytest.raises(ValueError, match="one observation per leaf, got two"):
        arsg_optax.eval_params(state, held)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sixteen_bit_parameters_follow_float32(dtype):
    optimizer = arsg_optax.observe_remotely(optax.sgd(0.01, momentum=0.9), 5.0)
    start, trees = tree(0, dtype), gradients(4, dtype)
    held, state = advance(ROW, optimizer, start, trees)
    exact, exact_state = advance(
        ROW, optimizer, *jax.tree.map(lambda x: x.astype(jnp.float32), (start, trees))
    )
    assert_close(held, exact, 0.02)
    assert_close(iterate(state, held), iterate(exact_state, exact), 0.02)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.previous)} == {
        jnp.dtype(jnp.float32)
    }


def test_multi_steps_inside_falls_back_onto_the_iterate(relaxed_promotion):
    """As documented, so MultiSteps goes around."""
    optimizer = arsg_optax.observe_remotely(optax.MultiSteps(optax.sgd(0.1), 2), 1.0)
    ahead, _ = _train(optimizer, tree(0), 2)
    back, _ = _train(optimizer, tree(0), 3)
    x, _ = advance(
        ROW, optax.MultiSteps(optax.sgd(0.1), 2), tree(0), gradients(2), compiled=True
    )
    u = jax.tree.map(lambda a, b: a - b, x, tree(0))
    assert_close(ahead, jax.tree.map(lambda p, d: p + d, x, u), 1e-5)
    assert_close(back, x, 1e-5)


def test_an_observation_inside_schedule_free_is_refused(relaxed_promotion):
    inner = optax.contrib.schedule_free(arsg_optax.rsg(0.1, 0.9, observation=0.5), 0.1)
    held, state = _train(arsg_optax.observe_remotely(inner, 2.0), tree(0))
    with pytest.raises(ValueError, match="only inside wrappers that leave"):
        arsg_optax.eval_params(state, held)


@pytest.mark.parametrize("distance", [-1.0, float("nan"), float("inf")])
def test_distances_out_of_range(distance):
    with pytest.raises(ValueError, match="distance must be finite and at least 0"):
        arsg_optax.observe_remotely(optax.sgd(0.1), distance)
