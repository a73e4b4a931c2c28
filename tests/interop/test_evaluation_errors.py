"""What eval_params and remote_chain refuse and accept, and metrics."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
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


INNER = arsg_optax.rsg(0.1, 0.9, 0.5)
W_ONLY = {"b": False, "w": True}
B_ONLY = {"b": True, "w": False}

# Behind an observed optimizer, or around it: what could rescale its steps.
RESCALED = {
    "scale": (optax.chain(INNER, optax.scale(0.1)), r"got EmptyState at '\[1\]'"),
    "clip": (optax.chain(INNER, optax.clip(0.1)), r"got EmptyState at '\[1\]'"),
    "schedule": (
        optax.chain(INNER, optax.scale_by_schedule(lambda count: 0.5)),
        "got ScaleByScheduleState",
    ),
    "named": (
        optax.named_chain(("all", INNER), ("half", optax.scale(0.5))),
        r"got EmptyState at '\['half'\]'",
    ),
    "outer chain": (
        optax.chain(optax.chain(INNER), optax.scale(0.1)),
        r"got EmptyState at '\[1\]'",
    ),
    "momentum": (optax.chain(INNER, optax.trace(0.9)), "got TraceState"),
    "another rate": (
        optax.chain(INNER, arsg_optax.scale_by_learning_rate(1.0)),
        "got ScaleByLearningRateState",
    ),
    "masked scale": (
        optax.chain(INNER, optax.masked(optax.scale(0.1), W_ONLY)),
        "got MaskedState",
    ),
    "masked on other leaves, but nothing shows it": (
        optax.chain(
            optax.masked(INNER, W_ONLY), optax.masked(optax.scale(0.1), B_ONLY)
        ),
        "got MaskedState",
    ),
    "masked on other leaves, but only a mask inside shows it": (
        optax.chain(
            optax.masked(INNER, W_ONLY),
            optax.masked(
                optax.chain(optax.scale(0.1), optax.masked(optax.trace(0.5), B_ONLY)),
                lambda params: {"b": True, "w": True},
            ),
        ),
        "got MaskedState",
    ),
    "schedule-free": (
        optax.contrib.schedule_free(INNER, 0.1),
        "only inside wrappers that leave its steps alone, got RemoteChainState",
    ),
    "mechanize": (
        optax.contrib.mechanize(INNER),
        "only inside wrappers that leave its steps alone, got MechanicState",
    ),
    "two of one leaf": (
        optax.chain(INNER, INNER),
        r"one observation per leaf, got two for '\['b'\]', the second at '\[1\]'",
    ),
}
REMEDY = "clip in front of the optimizer"


@pytest.mark.parametrize("name", RESCALED)
def test_what_may_rescale_the_steps_is_refused(name, relaxed_promotion):
    # Mechanize mixes dtypes.
    optimizer, message = RESCALED[name]
    state, params = _after_one_step(optimizer)
    with pytest.raises(ValueError, match=message) as caught:
        arsg_optax.eval_params(state, params)
    assert REMEDY in str(caught.value) or "split the leaves" in str(caught.value)


def test_reduce_on_plateau_behind_it_is_refused(relaxed_promotion):
    optimizer = optax.chain(INNER, optax.contrib.reduce_on_plateau())
    params = tree(0)
    state = optimizer.init(params)
    _, state = optimizer.update(tree(1), state, params, value=1.0)
    with pytest.raises(ValueError, match="got ReduceLROnPlateauState"):
        arsg_optax.eval_params(state, params)


def test_masked_members_for_provably_other_leaves_may_follow():
    optimizer = optax.chain(
        optax.masked(INNER, W_ONLY),
        optax.masked(optax.trace(0.5), B_ONLY),
        optax.masked(arsg_optax.rsg(0.3, 0.9, 0.5), B_ONLY),
        arsg_optax.track_oscillation(),
    )
    state, params = _after_one_step(optimizer)
    point = iterate(state, params)
    # m_1 = 0.1 g and the distance is 4.5.
    for name, rate in {"b": 0.3, "w": 0.1}.items():
        expected = params[name] + rate * 4.5 * 0.1 * tree(1)[name]
        np.testing.assert_allclose(point[name], expected, rtol=1e-5)


def test_a_constraint_between_two_masks_is_refused():
    ball = arsg_optax.project(optax.masked(INNER, W_ONLY), arsg_optax.L2Ball(1.0))
    optimizer = optax.masked(ball, {"b": True, "w": True})
    state, params = _after_one_step(optimizer)
    with pytest.raises(ValueError, match="got one between two masks"):
        arsg_optax.eval_params(state, params)


PLAIN = {
    "rsg": (
        optax.chain(OBSERVATION, RATE),
        r"write arsg_optax\.remote_chain\(learning_rate=\.\.\., b1=",
    ),
    "arsg": (
        optax.chain(
            arsg_optax.chain_on_gradient(
                OBSERVATION, arsg_optax.scale_by_nonincreasing_rms()
            ),
            RATE,
        ),
        r"remote_chain\(scale_by_nonincreasing_rms\(\.\.\.\), learning_rate=",
    ),
    "behind a mask": (
        optax.masked(optax.chain(OBSERVATION, RATE), True),
        "plain chain",
    ),
    "inside two points": (
        arsg_optax.observe_remotely(optax.chain(OBSERVATION, RATE), 1.0),
        "plain chain",
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_chain_is_told_what_to_write_instead(name):
    optimizer, message = PLAIN[name]
    state, params = _after_one_step(optimizer)
    with pytest.raises(ValueError, match=message):
        arsg_optax.eval_params(state, params)


LINKS = {
    "Optax's rms": (optax.scale_by_rms(), r"got ScaleByRmsState at links\[0\]"),
    "Optax's adam": (optax.scale_by_adam(), "got ScaleByAdamState"),
    "clip": (optax.clip(1.0), "got EmptyState"),
    "masked": (optax.masked(optax.scale_by_rms(), True), "got ScaleByRmsState"),
    "chained": (
        optax.chain(arsg_optax.scale_by_adam_rms(), optax.trace(0.9)),
        r"got TraceState at links\[0\]\[1\]",
    ),
}


@pytest.mark.parametrize("name", LINKS)
def test_links_that_do_not_say_what_they_do_are_refused_at_init(name):
    link, message = LINKS[name]
    optimizer = arsg_optax.arsg(0.1, preconditioner=link)
    with pytest.raises(ValueError, match=message) as caught:
        optimizer.init(tree(0))
    assert "scale_by_adam_rms" in str(caught.value)


class _SignState(NamedTuple):
    makes_direction = True


def _sign():
    return optax.GradientTransformation(
        lambda params: _SignState(),
        lambda updates, state, params=None: (jax.tree.map(jnp.sign, updates), state),
    )


def test_a_direction_has_an_iterate_in_the_exact_form_only():
    concise, exact = (
        arsg_optax.remote_chain(_sign(), learning_rate=0.1, b1=0.9, exact=exact)
        for exact in (False, True)
    )
    state, params = _after_one_step(concise)
    jax.tree.map(np.testing.assert_array_equal, iterate(state, params), params)
    with pytest.raises(ValueError, match="observation with strict=True"):
        arsg_optax.eval_params(state, params, strict=True)
    state, params = _after_one_step(exact)
    point, start = iterate(state, params), tree(0)
    for name in params:
        expected = start[name] - 0.1 * np.sign(tree(1)[name])
        np.testing.assert_allclose(point[name], expected, rtol=1e-5, atol=1e-6)


def test_swapped_arguments_and_other_trees_are_refused():
    state, params = _after_one_step(arsg_optax.arsg(0.1))
    with pytest.raises(ValueError, match=r"got a RemoteChainState; call eval_params"):
        arsg_optax.eval_params(params, state)
    other = optax.sgd(0.1, momentum=0.9).init(params)
    with pytest.raises(ValueError, match=r"got a TraceState; call eval_params"):
        arsg_optax.eval_params(params, other)
    pair = optax.LookaheadParams(params, params)
    with pytest.raises(ValueError, match=r"pass params\.fast"):
        arsg_optax.eval_params(state, pair)


def test_a_state_taken_apart_into_dictionaries_is_refused():
    serialization = pytest.importorskip("flax.serialization")
    optimizer = optax.chain(optax.clip(1.0), arsg_optax.arsg(0.1))
    state, params = _after_one_step(optimizer)
    saved = serialization.to_state_dict(state)
    with pytest.raises(ValueError, match="from_state_dict"):
        arsg_optax.eval_params(saved, params)
    restored = serialization.from_state_dict(optimizer.init(params), saved)
    np.testing.assert_array_equal(
        iterate(restored, params)["w"], iterate(state, params)["w"]
    )


def test_strict_refuses_a_state_in_which_nothing_moves():
    state, params = _after_one_step(arsg_optax.adarem(0.1))
    assert arsg_optax.eval_params(state, params) is params
    with pytest.raises(ValueError, match="moves nothing"):
        arsg_optax.eval_params(state, params, strict=True)
    state, params = _after_one_step(INNER)
    arsg_optax.eval_params(state, params, strict=True)


def test_complex_parameters_split_in_two(relaxed_promotion):
    params = {"z": jnp.array([1.0 + 2.0j, -3.0j]), "w": jnp.ones(2)}
    gradient = {"z": jnp.array([0.5 - 1.0j, 1.0 + 0.0j]), "w": jnp.ones(2)}
    optimizer = optax.contrib.split_real_and_imaginary(INNER)
    state = optimizer.init(params)
    updates, state = optimizer.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    point = iterate(state, params)
    for name in params:
        expected = params[name] + 0.1 * 4.5 * 0.1 * gradient[name]
        np.testing.assert_allclose(point[name], expected, rtol=1e-5)


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
    plain = arsg_optax.remote_chain(learning_rate=0.1, b1=0.9, observation=0.5)
    declared = arsg_optax.remote_chain(
        arsg_optax.declare_elementwise(link),
        learning_rate=0.1,
        b1=0.9,
        observation=0.5,
    )
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
    encoder = "inner_states/encoder/inner_state/learning_rate"
    assert set(found) == {
        "observation",
        "distance",
        "momentum_max",
        "resilience",
        encoder,
        prefix.format("decoder"),
    }
    np.testing.assert_allclose(found[encoder], 0.1, rtol=1e-6)
    np.testing.assert_allclose(found[prefix.format("decoder")], 0.2, rtol=1e-6)


def test_metrics_of_other_optimizers_are_empty():
    assert arsg_optax.metrics(optax.adam(0.1).init(tree(0))) == {}


def test_the_share_of_elements_that_stand_at_eps():
    optimizer = arsg_optax.arsg(0.1, b2=0.5, eps=1.0)
    params = {"w": jnp.zeros(4)}
    state = optimizer.init(params)
    assert "share_at_eps" not in arsg_optax.metrics(state)
    for expected, size in ((1.0, 1.0), (0.75, 3.0), (0.75, 0.0)):
        # A squared gradient of 9 averages to 4.5 or more.
        gradient = {"w": jnp.array([size, 1e-6, 1.0, 0.0])}
        _, state = optimizer.update(gradient, state, params)
        found = arsg_optax.metrics(state, share_at_eps=True)
        assert float(found["share_at_eps"]) == expected
