"""The observation boost: what it changes, when, and what it asks for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import dynamics

ARGUMENTS = {"b1": 0.99, "observation": 0.05}
# A window of eight steps: boosts after three windows of a loss that does not fall.
QUICK = {"window": 8, "refractory": 1}
FIRST = 24


def _boosted(inner=None, **changes):
    inner = arsg_optax.rsg(0.1, **ARGUMENTS) if inner is None else inner
    return arsg_optax.observation_boost(inner, **{**QUICK, **changes})


def _losses(optimizer, losses, gradient=1.0):
    """Metrics and boosts before each update, and the last state."""
    params, gradient = jnp.ones(3), jnp.full(3, gradient)
    state, seen = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for loss in losses:
        _, state = update(gradient, state, params, value=jnp.float32(loss))
        seen.append(arsg_optax.metrics(state))
    return seen, state


def _ratio(n=1):
    fastest = [dynamics.fastest_tau(0.99, 0.05 * 2**k) for k in (0, n)]
    return float(fastest[1] / fastest[0])


def test_a_flat_loss_boosts_once_after_three_windows():
    seen, _ = _losses(_boosted(), [1.0] * 60)
    observation = [float(each["observation"]) for each in seen]
    np.testing.assert_allclose(observation[:FIRST], 0.05, rtol=1e-6)
    np.testing.assert_allclose(observation[FIRST:], 0.1, rtol=1e-6)
    rate = [float(each["learning_rate"]) for each in seen]
    np.testing.assert_allclose(rate[:FIRST], 0.1, rtol=1e-6)
    np.testing.assert_allclose(rate[FIRST:], 0.1 * _ratio(), rtol=1e-5)
    # Decided at the update before it is in force.
    assert [int(each["boosts"]) for each in seen] == [0] * 23 + [1] * 37


def test_several_boosts_each_after_windows_of_their_own():
    seen, _ = _losses(_boosted(max_boosts=3), [1.0] * 100)
    observation = np.array([float(each["observation"]) for each in seen])
    turns = np.flatnonzero(np.diff(observation)) + 1
    assert list(turns) == [FIRST, 2 * FIRST, 3 * FIRST]
    np.testing.assert_allclose(observation[-1], 0.4, rtol=1e-6)
    np.testing.assert_allclose(
        float(seen[-1]["learning_rate"]), 0.1 * _ratio(3), rtol=1e-5
    )


def test_the_product_of_boost_ratios():
    product = np.prod([float(dynamics.boost_ratio(0.99, 0.05 * 2**k)) for k in (0, 1)])
    np.testing.assert_allclose(_ratio(2), product, rtol=1e-5)


def test_a_falling_loss_does_not_boost():
    seen, _ = _losses(_boosted(), np.exp(-0.05 * np.arange(200)))
    assert int(seen[-1]["boosts"]) == 0


def test_the_factor_multiplies_a_schedule_and_the_decay():
    schedule = optax.linear_schedule(0.1, 0.0, 100)
    inner = arsg_optax.rsg(schedule, **ARGUMENTS, weight_decay=0.3)
    seen, state = _losses(_boosted(inner, boost_at=4), [0.0] * 6)
    expected = [float(schedule(t)) * (_ratio() if t >= 4 else 1) for t in range(6)]
    rates = [float(each["learning_rate"]) for each in seen]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    params = jnp.ones(3)
    updates, _ = _boosted(inner, boost_at=4).update(0 * params, state, params)
    shrunk = -float(schedule(6)) * _ratio() * 0.3
    momentum = -float(schedule(6)) * _ratio() * 0.9 * 0.99 * (1 - 0.99**6)
    np.testing.assert_allclose(updates, shrunk + momentum, rtol=1e-4)


def test_boost_at_counts_updates_from_zero_and_needs_no_value():
    optimizer, params = _boosted(boost_at=2), jnp.ones(3)
    state, seen = optimizer.init(params), []
    for _ in range(4):
        _, state = optimizer.update(params, state, params)
        seen.append(float(arsg_optax.metrics(state)["observation"]))
    np.testing.assert_allclose(seen, [0.05, 0.05, 0.1, 0.1], rtol=1e-6)
    at_once, _ = _losses(_boosted(boost_at=0), [0.0])
    np.testing.assert_allclose(at_once[0]["observation"], 0.1, rtol=1e-6)


def test_a_missing_value_is_asked_for():
    optimizer, params = arsg_optax.arsgb(0.1), jnp.ones(3)
    asked = r"neither value= nor loss=.*value=loss.*boost_at="
    for nothing in ({}, {"value": None}, {"loss": None, "grad_norm": jnp.ones([])}):
        with pytest.raises(ValueError, match=asked):
            optimizer.update(params, optimizer.init(params), params, **nothing)
    for name in ("value", "loss"):
        with pytest.raises(ValueError, match=rf"{name} must be a real scalar.*\(3,\)"):
            optimizer.update(params, optimizer.init(params), params, **{name: params})


def test_the_loss_under_either_name_but_not_under_both():
    optimizer, params = _boosted(), jnp.ones(3)
    states = {"value": optimizer.init(params), "loss": optimizer.init(params)}
    for step in range(FIRST):
        for name, state in states.items():
            given = {name: jnp.float32(1), "grad_norm": jnp.float32(step)}
            _, states[name] = optimizer.update(params, state, params, **given)
    assert int(states["loss"].boosts) == 1
    jax.tree.map(np.testing.assert_array_equal, *states.values())
    both = {name: jnp.float32(1) for name in states}
    with pytest.raises(ValueError, match=r"value and loss must not both be given"):
        optimizer.update(params, states["loss"], params, **both)
    # Who does not watch the loss does not mind.
    plain = _boosted(boost_at=2)
    plain.update(params, plain.init(params), params, **both)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.int32, float])
def test_a_value_of_any_real_dtype(dtype):
    optimizer, params = _boosted(), jnp.ones(3)
    value = 1.0 if dtype is float else jnp.ones([], dtype)
    _, state = optimizer.update(params, optimizer.init(params), params, value=value)
    assert state.windows.last == 1 and state.windows.last.dtype == jnp.float32


def test_inside_scan():
    optimizer, params = _boosted(), jnp.ones(3)

    def step(state, loss):
        _, state = optimizer.update(params, state, params, value=loss)
        return state, arsg_optax.metrics(state)["boosts"]

    _, boosts = jax.lax.scan(step, optimizer.init(params), jnp.ones(30))
    assert [int(n) for n in boosts] == [0] * 23 + [1] * 7


def test_losses_that_are_not_finite_are_no_losses():
    losses = [1.0, np.nan, 1.0, np.inf] * 30
    seen, _ = _losses(_boosted(), losses)
    boosts = [int(each["boosts"]) for each in seen]
    assert boosts.index(1) == 2 * FIRST - 2  # The 24th finite loss.


@pytest.mark.parametrize("inside", [False, True])
def test_a_rejected_gradient_advances_nothing(inside):
    inner = arsg_optax.rsg(0.1, **ARGUMENTS)
    optimizer = (
        _boosted(optax.apply_if_finite(inner, 5))
        if inside
        else optax.apply_if_finite(_boosted(inner), 5)
    )
    params, update = jnp.ones(3), jax.jit(optimizer.update)
    state = optimizer.init(params)
    for _ in range(3):
        _, state = update(params, state, params, value=jnp.float32(1))
    before = arsg_optax.metrics(state), _counters(state)
    bad = params.at[1].set(jnp.nan)
    updates, state = update(bad, state, params, value=jnp.float32(jnp.nan))
    np.testing.assert_array_equal(updates, 0 * params)
    after = arsg_optax.metrics(state), _counters(state)
    for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True):
        np.testing.assert_array_equal(a, b)


def _counters(state):
    boost = getattr(state, "inner_state", state)
    boost = boost if hasattr(boost, "boosts") else state
    return boost.count, boost.boosts, boost.windows


@pytest.mark.parametrize(
    "inner",
    [
        optax.sgd(0.1),
        arsg_optax.adarem(0.1),
        arsg_optax.observe_remotely(optax.sgd(0.1), 2.0),
        arsg_optax.observe_remotely(arsg_optax.rsg(0.1, observation=0.0), 2.0),
        optax.chain(
            arsg_optax.remote_observation(), arsg_optax.scale_by_learning_rate(0.1)
        ),
    ],
)
def test_what_cannot_be_boosted(inner):
    with pytest.raises(ValueError, match="inner must hold its observation in a remote"):
        _boosted(inner).init(jnp.ones(3))


def test_each_observation_takes_the_ratio_of_its_own_values():
    values = {"slow": (0.99, 0.05), "fast": (0.9, 0.2)}
    parts = {
        label: arsg_optax.rsg(0.1, b1, observation)
        for label, (b1, observation) in values.items()
    }
    parts["beside"] = arsg_optax.adarem(0.1)
    labels = {"a": "slow", "b": "fast", "c": "beside"}
    optimizer = _boosted(optax.partition(parts, labels), boost_at=0)
    params = {name: jnp.ones(2) for name in labels}
    _, state = optimizer.update(params, optimizer.init(params), params)
    found = arsg_optax.metrics(state)
    rates = {label: 1.0 for label in parts}
    for label, (b1, observation) in values.items():
        rates[label] = float(dynamics.boost_ratio(b1, observation))
    for label, ratio in rates.items():
        (rate,) = (
            value
            for name, value in found.items()
            if label in name and name.endswith("learning_rate")
        )
        np.testing.assert_allclose(rate, 0.1 * ratio, rtol=1e-5)


def test_an_inner_optimizer_that_would_lose_the_scales():
    with pytest.raises(ValueError, match="inner must pass extra arguments on"):
        _boosted(optax.lookahead(arsg_optax.rsg(0.1, **ARGUMENTS), 5, 0.5))


def test_scales_of_a_policy_around_it_multiply():
    optimizer, params = _boosted(boost_at=1), jnp.ones(3)
    state = optimizer.init(params)
    for _ in range(2):
        _, state = optimizer.update(
            params,
            state,
            params,
            observation_scale=jnp.float32(1.5),
            learning_rate_scale=jnp.float32(0.5),
        )
    found = arsg_optax.metrics(state)
    np.testing.assert_allclose(found["observation"], 0.15, rtol=1e-6)
    ratio = dynamics.boost_ratio(0.99, 0.075)
    np.testing.assert_allclose(found["learning_rate"], 0.05 * ratio, rtol=1e-5)


def test_no_boost_takes_the_observation_to_one():
    rising = optax.linear_schedule(0.05, 0.6, 10)
    at = arsg_optax.arsgb(0.1, 0.99, observation=rising, boost_at=5)
    params, state = jnp.ones(3), at.init(jnp.ones(3))
    seen = []
    for _ in range(12):
        updates, state = at.update(params, state, params)
        assert jnp.all(jnp.isfinite(updates))
        seen.append(float(arsg_optax.metrics(state)["observation"]))
    raw = [float(rising(t)) for t in range(12)]
    expected = [2 * x if t >= 5 and 2 * x < 1 else x for t, x in enumerate(raw)]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)
    injected = optax.inject_hyperparams(arsg_optax.arsgb)(
        0.1, 0.99, observation=0.3, max_boosts=2, window=8
    )
    _, state = _losses(injected, [1.0] * 60)
    assert int(arsg_optax.metrics(state)["boosts"]) == 1


def test_the_two_point_form_is_boosted_in_its_distance():
    distance = float(arsg_optax.hyperparams.distance_from_observation(0.05, 0.99))
    for given in ({"observation": 0.05}, {"distance": distance, "observation": None}):
        two_point = arsg_optax.rsg(0.1, 0.99, **given, exact=True)
        seen, _ = _losses(_boosted(two_point, boost_at=1), [0.0] * 2)
        distances = [float(each["distance"]) for each in seen]
        np.testing.assert_allclose(distances, [distance, 2 * distance], rtol=1e-5)
        rates = [float(each["learning_rate"]) for each in seen]
        np.testing.assert_allclose(rates, [0.1, 0.1 * _ratio()], rtol=1e-5)


OUT_OF_RANGE = [
    ({"boost_at": -1}, "boost_at must be a whole number, at least 0 and .*, got -1"),
    ({"boost_at": 1.5}, "boost_at must be a whole number"),
    ({"max_boosts": 0}, "max_boosts must be a whole number, at least 1 and .*, got 0"),
    ({"window": 7}, "window must be a whole number, at least 8 and .*, got 7"),
    ({"threshold": -0.1}, "threshold must be finite and at least 0, got -0.1"),
    ({"confidence": float("nan")}, "confidence must be finite and at least 0"),
    ({"refractory": -1}, "refractory must be a whole number"),
    ({"boost_at": "now"}, "boost_at must be a number"),
    ({"window": lambda count: 8}, "window must be a number .*no schedule"),
]


@pytest.mark.parametrize(("changes", "message"), OUT_OF_RANGE)
def test_arguments_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        _boosted(**changes)


@pytest.mark.parametrize("observation", [0.0, 0.5, 0.7])
def test_an_observation_that_cannot_be_doubled(observation):
    with pytest.raises(ValueError, match=r"observation must be in \(0, 0\.5\)"):
        arsg_optax.arsgb(0.1, observation=observation)


def test_an_observation_that_cannot_be_doubled_as_often():
    message = r"observation must be in \(0, 0.03125\), got 0.05; each of 5 boosts"
    with pytest.raises(ValueError, match=message):
        arsg_optax.arsgb(0.1, observation=0.05, max_boosts=5)
