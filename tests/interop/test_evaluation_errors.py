"""What eval_params refuses and accepts between observation and step, and metrics."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.steps import iterate, tree

OBSERVATION = arsg_optax.remote_observation(0.9, 0.5)
RATE = arsg_optax.scale_by_learning_rate(0.1)


def _after_one_step(optimizer) -> tuple[Any, Any]:
    params = tree(0)
    state = optimizer.init(params)
    updates, state = optimizer.update(tree(1), state, params)
    return state, optax.apply_updates(params, updates)


REFUSED = {
    "Optax's learning rate": (
        optax.chain(OBSERVATION, optax.scale_by_learning_rate(0.1)),
        "end the chain with arsg_optax.scale_by_learning_rate",
    ),
    "learning rate in front": (
        optax.chain(RATE, OBSERVATION),
        "end the chain with arsg_optax.scale_by_learning_rate",
    ),
    "no learning rate": (optax.chain(OBSERVATION), "must record the learning rate"),
    "two learning rates": (
        optax.chain(OBSERVATION, RATE, RATE),
        "one learning rate behind an observation, got 2",
    ),
    "partitioned learning rates": (
        optax.chain(
            OBSERVATION,
            optax.partition({"one": RATE, "two": RATE}, {"b": "one", "w": "two"}),
        ),
        "partition whole optimizers",
    ),
    "learning rate of other leaves only": (
        optax.partition(
            {"one": optax.chain(OBSERVATION, optax.scale(-0.1)), "two": RATE},
            {"b": "one", "w": "two"},
        ),
        "end the chain with arsg_optax.scale_by_learning_rate",
    ),
    "masked learning rate": (
        optax.chain(OBSERVATION, optax.masked(RATE, {"b": True, "w": False})),
        "got a masked one",
    ),
    "momentum": (
        optax.chain(OBSERVATION, optax.trace(0.9), RATE),
        "got TraceState",
    ),
    "average": (
        optax.chain(OBSERVATION, optax.ema(0.9), RATE),
        "got EmaState",
    ),
    "schedule": (
        optax.chain(OBSERVATION, optax.scale_by_schedule(lambda count: 1.0), RATE),
        "got ScaleByScheduleState",
    ),
    "two observations": (
        optax.chain(arsg_optax.rsg(0.1), arsg_optax.rsg(0.1)),
        "one observation a leaf, got two for",
    ),
    "two observations before one learning rate": (
        optax.chain(OBSERVATION, OBSERVATION, RATE),
        "one observation a leaf, got two for",
    ),
    "rms": (
        optax.chain(OBSERVATION, optax.scale_by_rms(), RATE),
        r"got ScaleByRmsState at '\[1\]'.*denominator\(\)",
    ),
    "adam": (
        optax.chain(OBSERVATION, optax.scale_by_adam(), RATE),
        r"got ScaleByAdamState at '\[1\]'.*denominator\(\)",
    ),
    "adam in arsg": (
        arsg_optax.arsg(0.1, preconditioner=optax.scale_by_adam()),
        r"got ScaleByAdamState at '\[0\]\[1\]'",
    ),
    "masked rms": (
        optax.chain(OBSERVATION, optax.masked(optax.scale_by_rms(), True), RATE),
        "got ScaleByRmsState",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_iterate_is_not_known_for(name, relaxed_promotion):
    # Optax's Adam raises a float to an integer power.
    optimizer, message = REFUSED[name]
    state, params = _after_one_step(optimizer)
    with pytest.raises(ValueError, match=message):
        arsg_optax.eval_params(state, params)


@pytest.mark.parametrize(
    "change",
    [
        lambda params: {"b": params["b"]},
        lambda params: {**params, "w": params["w"][0]},
        lambda params: list(params.values()),
    ],
    ids=["missing leaf", "other shape", "other tree"],
)
def test_params_of_another_model(change):
    state, params = _after_one_step(arsg_optax.arsg(0.1))
    with pytest.raises(ValueError, match="params must be those that opt_state belongs"):
        arsg_optax.eval_params(state, change(params))


def test_two_observations_of_different_leaves_share_a_learning_rate():
    masks = {"b": True, "w": False}, {"b": False, "w": True}
    slow = arsg_optax.remote_observation(0.99, 0.1)
    optimizer = optax.chain(
        optax.masked(OBSERVATION, masks[0]), optax.masked(slow, masks[1]), RATE
    )
    state, params = _after_one_step(optimizer)
    point = iterate(state, params)
    # m_1 = (1 - b1) g and distance = observation b1 / (1 - b1).
    for name, offset in {"b": 0.5 * 0.9, "w": 0.1 * 0.99}.items():
        expected = params[name] + 0.1 * offset * tree(1)[name]
        np.testing.assert_allclose(point[name], expected, rtol=1e-5)


class _HalvedState(NamedTuple):
    like: Any

    def denominator(self):
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, 2.0), self.like)


def _halved():
    """A user's preconditioner, known by its state's `denominator`."""

    def update_fn(updates, state, params=None):
        del params
        return jax.tree.map(lambda u: u / 2, updates), state

    return optax.GradientTransformation(lambda params: _HalvedState(params), update_fn)


def test_a_users_preconditioner_with_a_denominator():
    optimizer = arsg_optax.arsg(0.1, 0.9, observation=0.5, preconditioner=_halved())
    state, params = _after_one_step(optimizer)
    point = iterate(state, params)
    # m_1 = 0.1 g, distance = 0.5 0.9 / 0.1 and all is halved.
    expected = jax.tree.map(lambda y, g: y + 4.5 * 0.1 * 0.1 * g / 2, params, tree(1))
    for name in params:
        np.testing.assert_allclose(point[name], expected[name], rtol=1e-5)


def test_a_declared_link_is_passed_by():
    link = optax.scale_by_schedule(lambda count: 0.9)
    plain = optax.chain(OBSERVATION, RATE)
    declared = optax.chain(OBSERVATION, arsg_optax.declare_elementwise(link), RATE)
    state, params = _after_one_step(declared)
    expected = iterate(_after_one_step(plain)[0], params)
    point = iterate(state, params)
    for name in params:
        np.testing.assert_array_equal(point[name], expected[name])
    updates, _ = declared.update(tree(1), declared.init(params), params)
    unscaled, _ = plain.update(tree(1), plain.init(params), params)
    np.testing.assert_allclose(updates["w"], 0.9 * unscaled["w"], rtol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(0.1), optax.sgd(0.1, momentum=0.9), arsg_optax.adarem(0.1)],
    ids=["adam", "sgd", "adarem"],
)
def test_identity_without_an_observation(optimizer, relaxed_promotion):
    # Optax's Adam raises a float to an integer power.
    state, params = _after_one_step(optimizer)
    point = arsg_optax.eval_params(state, params)
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, point, params))


def test_metrics_of_one_instance():
    state, _ = _after_one_step(arsg_optax.namsg(0.5, distance=2.0))
    found = arsg_optax.metrics(state)
    assert set(found) == {"learning_rate", "observation", "distance"}
    expected = {"learning_rate": 0.5, "observation": 2 / 9, "distance": 2.0}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)


def test_metrics_of_a_resilience():
    state, _ = _after_one_step(arsg_optax.adarem(0.5, 0.9))
    found = arsg_optax.metrics(state)
    assert set(found) == {"learning_rate", "momentum_max", "resilience"}
    largest = max(jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree(1)))
    np.testing.assert_allclose(found["momentum_max"], 0.1 * largest, rtol=1e-5)


def test_metrics_of_several_instances_have_their_paths():
    optimizer = optax.partition(
        {"encoder": arsg_optax.rsg(0.1), "decoder": arsg_optax.adarem(0.2)},
        {"b": "encoder", "w": "decoder"},
    )
    found = arsg_optax.metrics(jax.jit(_after_one_step, static_argnums=0)(optimizer)[0])
    prefix = "inner_states/{}/inner_state/2/learning_rate"
    assert set(found) == {
        "observation",
        "distance",
        "momentum_max",
        "resilience",
        prefix.format("encoder"),
        prefix.format("decoder"),
    }
    np.testing.assert_allclose(found[prefix.format("encoder")], 0.1, rtol=1e-6)
    np.testing.assert_allclose(found[prefix.format("decoder")], 0.2, rtol=1e-6)


def test_metrics_of_other_optimizers_are_empty():
    assert arsg_optax.metrics(optax.adam(0.1).init(tree(0))) == {}
