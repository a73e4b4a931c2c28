"""Averages of any optimizer's parameters, with gradients ahead of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import average_remotely, hyperparams, log_time_momentum
from tests.problems import constant, deviation, problem, run
from tests.reference import averaging

STEPS = 200


def _assert_follows(optimizer, task, steps, within=1e-12):
    held, iterates, _ = zip(*run(optimizer, task, jnp.float64), strict=True)
    expected_held, expected = zip(*steps, strict=True)
    assert deviation(held, expected_held, task.start) < within
    assert deviation(iterates, expected, task.start) < within


@pytest.mark.parametrize(("mu_x", "mu_y"), [(0.9967, 0.7), (0.9, 1.0), (0.0, 0.5)])
def test_around_sgd_it_is_gpa(mu_x, mu_y, x64):
    task = problem(0, "tree", 0.3, STEPS)
    optimizer = average_remotely(optax.sgd(0.3), mu_x, 1 - mu_y)
    steps = averaging.gpa(
        task.gradient, task.start, constant(0.3), constant(mu_x), mu_y, STEPS
    )
    _assert_follows(optimizer, task, steps)


def test_log_time_averaging_around_adam(x64, relaxed_promotion):
    task = problem(1, "tree", 0.3, STEPS)
    inner = optax.adamw(0.01, b1=0.0, b2=0.99, weight_decay=0.1)
    steps = averaging.adam_averaged(
        task.gradient, task.start, 0.01, 4.0, 0.2, STEPS, decay=0.1
    )
    _assert_follows(average_remotely(inner), task, steps)


def test_around_sgd_with_numbers_it_is_rsg(x64):
    task = problem(2, "tree", 0.3, STEPS)
    ours = average_remotely(optax.sgd(0.3), 0.9, 0.3)
    rsg = arsg_optax.rsg(0.3, 0.9, 0.3)
    pairs = zip(run(ours, task, jnp.float64), run(rsg, task, jnp.float64), strict=True)
    for (y, x, _), (other_y, other_x, _) in pairs:
        np.testing.assert_allclose(y, other_y, atol=1e-12)
        np.testing.assert_allclose(x, other_x, atol=1e-12)


def test_it_is_the_two_point_form_around_an_average_of_steps(x64, relaxed_promotion):
    """As observe_remotely writes it, with two more arrays."""
    b1, observation = 0.95, 0.3
    distance = hyperparams.distance_from_observation(observation, b1)
    task, base = problem(3, "tree", 0.3, STEPS), optax.adam(0.02, b1=0.0)
    other = arsg_optax.observe_remotely(
        optax.chain(base, optax.ema(b1, debias=False)), distance
    )
    ours = average_remotely(base, b1, observation)
    pairs = zip(
        run(ours, task, jnp.float64), run(other, task, jnp.float64), strict=True
    )
    for (y, x, _), (other_y, other_x, _) in pairs:
        np.testing.assert_allclose(y, other_y, atol=1e-12)
        np.testing.assert_allclose(x, other_x, atol=1e-12)


def test_one_average_apart_from_schedule_free(x64, relaxed_promotion):
    """With 1 / (t + 1) for b, where log_time_momentum(1) has 1 / (t + 2)."""
    task = problem(4, "tree", 0.3, STEPS)
    optimizer = average_remotely(optax.sgd(0.3), lambda t: t / (t + 1.0), 0.1)
    theirs = optax.contrib.schedule_free(optax.sgd(0.3), 0.3, b1=0.9)
    pairs = zip(
        run(optimizer, task, jnp.float64), run(theirs, task, jnp.float64), strict=True
    )
    for t, ((y, x, _), (other_y, other_x, _)) in enumerate(pairs):
        np.testing.assert_allclose(y, other_y, atol=1e-9, err_msg=str(t))
        np.testing.assert_allclose(x, other_x, atol=1e-9)


@pytest.mark.parametrize("inner", [arsg_optax.orsg(0.1), optax.contrib.muon(0.1)])
def test_any_optimizer_runs_on_z(inner, relaxed_promotion):
    """Fed with the same gradients it takes the steps that it takes alone."""
    params = {"w": jnp.eye(3), "b": jnp.ones(3)}
    optimizer = average_remotely(inner)
    state, alone, held, z = optimizer.init(params), inner.init(params), params, params
    for t in range(4):
        gradients = jax.tree.map(lambda p, t=t: jnp.cos(p + t), params)
        updates, state = optimizer.update(gradients, state, held)
        held = optax.apply_updates(held, updates)
        steps, alone = inner.update(gradients, alone, z)
        z = optax.apply_updates(z, steps)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.z, z)
    x = arsg_optax.eval_params(state, held)
    jax.tree.map(
        lambda y, x, z: np.testing.assert_allclose(y, 0.8 * x + 0.2 * z, rtol=1e-5),
        held,
        x,
        state.z,
    )


def test_wrappers_metrics_and_narrow_parameters(relaxed_promotion):
    params = {"w": jnp.eye(3, dtype=jnp.bfloat16), "f": None}
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), average_remotely(optax.adamw(0.1))
    )
    state = optimizer.init(params)
    updates, state = jax.jit(optimizer.update)(params, state, params)
    assert updates["w"].dtype == jnp.bfloat16
    assert state[1].z["w"].dtype == jnp.float32
    assert arsg_optax.eval_params(state, params)["w"].dtype == jnp.bfloat16
    assert float(arsg_optax.metrics(state)["observation"]) == pytest.approx(0.2)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="b1 must be in"):
        average_remotely(optax.sgd(0.1), 1.0)
    with pytest.raises(ValueError, match="observation must be in"):
        average_remotely(optax.sgd(0.1), 0.9, 1.0)
    optimizer, params = average_remotely(optax.sgd(0.1)), jnp.ones(3)
    with pytest.raises(ValueError, match=r"params must be given to update.*got None"):
        optimizer.update(params, optimizer.init(params))
    with pytest.raises(ValueError, match="updates must have the shape"):
        optimizer.update(jnp.ones(4), optimizer.init(params), params)


def test_any_schedule_is_a_valid_average():
    """x is a convex combination of the points z: it never leaves their range."""
    optimizer = average_remotely(optax.sgd(1.0), log_time_momentum(0.5), 0.9)
    params = jnp.zeros(())
    state, low, high = optimizer.init(params), 0.0, 0.0
    rng = np.random.default_rng(0)
    for _ in range(50):
        gradient = jnp.float32(rng.normal())
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        low, high = min(low, float(state.z)), max(high, float(state.z))
        x = float(arsg_optax.eval_params(state, params))
        assert low - 1e-4 <= x <= high + 1e-4
