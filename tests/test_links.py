"""Links alone, their order, and the keywords that optimizers hand to them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax._rounding import stochastic_round
from tests.problems import deviation, problem, run

LINKS = {
    "observation": arsg_optax.remote_observation(0.9, 0.5),
    "rms": arsg_optax.scale_by_nonincreasing_rms(),
    "resilience": arsg_optax.scale_by_resilience(),
    "rate": arsg_optax.scale_by_learning_rate(0.0123),
}


def _steps(optimizer, params, gradients):
    """Updates of successive gradients, and the last state."""
    state, updates = optimizer.init(params), []
    for gradient in gradients:
        update, state = optimizer.update(gradient, state, params)
        updates.append(update)
    return updates, state


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("gradient", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("param", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_each_link_alone_returns_the_parameters_dtype(link, gradient, param):
    updates, _ = _steps(LINKS[link], jnp.ones(3, param), [jnp.ones(3, gradient)] * 2)
    assert {update.dtype for update in updates} == {jnp.dtype(param)}


def test_a_rate_is_applied_in_float32():
    update = jnp.linspace(0.1, 1, 7).astype(jnp.bfloat16)
    (got,), _ = _steps(LINKS["rate"], update, [update])
    exact = (-jnp.float32(0.0123) * update.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(got.astype(jnp.float32), exact.astype(jnp.float32))


def test_ascent_records_a_negative_rate():
    up = arsg_optax.scale_by_learning_rate(0.1, flip_sign=False)
    optimizer = optax.chain(arsg_optax.remote_observation(0.9, 0.5), up)
    params, gradient = jnp.ones(2), jnp.array([1.0, -2.0])
    (update,), state = _steps(optimizer, params, [gradient])
    np.testing.assert_allclose(update, 0.1 * 0.55 * gradient, rtol=1e-6)
    assert arsg_optax.metrics(state)["learning_rate"] == jnp.float32(-0.1)


def test_of_nested_chains_the_innermost_gives_the_raw_gradient():
    inner = arsg_optax.chain_on_gradient(arsg_optax.scale_by_nonincreasing_rms(0.0))
    optimizer = arsg_optax.chain_on_gradient(optax.scale(0.25), inner)
    (update,), state = _steps(optimizer, jnp.ones(2), [jnp.array([4.0, -8.0])])
    np.testing.assert_allclose(update, [1.0, -1.0])
    np.testing.assert_allclose(state[1][0].nu, [1.0, 4.0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_stored_denominator_is_what_was_divided_by(dtype):
    link = arsg_optax.scale_by_nonincreasing_rms(nu_dtype=dtype)
    gradients = jax.random.normal(jax.random.key(0), (20, 50))
    state = link.init(gradients[0])
    for gradient in gradients:
        update, state = link.update(gradient, state)
        np.testing.assert_allclose(
            update * state.denominator(), gradient, rtol=1e-6, atol=1e-9
        )


KEYWORDS = {
    "debias": True,
    "weight_decay": 0.1,
    "mask": {"a": True, "b": False},
    "mu_dtype": "bfloat16",
    "nu_dtype": "bfloat16",
    "preconditioner": arsg_optax.scale_by_nonincreasing_rms(0.5, 0.1),
}


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_namsg_hands_on_its_keywords(keyword):
    arguments = {keyword: KEYWORDS[keyword]}
    if keyword == "mask":
        arguments["weight_decay"] = 0.1
    observation = arsg_optax.hyperparams.observation_from_distance(0.9, 0.9)
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    gradients = [jax.tree.map(lambda p, s=s: s * p, params) for s in (1.0, -0.3, 2.0)]
    pair = [
        arsg_optax.namsg(0.1, **arguments),
        arsg_optax.arsg(0.1, b1=0.9, observation=observation, **arguments),
    ]
    (ours, our_state), (theirs, their_state) = (
        _steps(optimizer, params, gradients) for optimizer in pair
    )
    for got, expected in zip(
        jax.tree.leaves((ours, our_state)),
        jax.tree.leaves((theirs, their_state)),
        strict=True,
    ):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(np.float32(got), np.float32(expected))
    (plain, _) = _steps(arsg_optax.namsg(0.1), params, gradients)
    changed = [
        np.any(np.float32(a) != np.float32(b))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True)
    ]
    assert any(changed), "the keyword does nothing"


@pytest.mark.parametrize("make", [arsg_optax.rsg, arsg_optax.arsg, arsg_optax.adarem])
def test_a_mask_chooses_what_decays(make):
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    nothing = jax.tree.map(jnp.zeros_like, params)
    optimizer = make(0.5, weight_decay=0.1, mask={"a": True, "b": False})
    (update,), _ = _steps(optimizer, params, [nothing])
    np.testing.assert_allclose(update["a"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(update["b"], 0)


def test_a_scheduled_decay_is_counted():
    optimizer = arsg_optax.rsg(1.0, weight_decay=lambda count: 0.1 * jnp.float32(count))
    updates, _ = _steps(optimizer, jnp.ones(()), [jnp.zeros(())] * 3)
    np.testing.assert_allclose(updates, [0.0, -0.1, -0.2], rtol=1e-6)


def test_debias_divides_by_the_weights_that_a_schedule_gave(x64):
    decays = np.linspace(0.5, 0.99, 50)
    schedule = jnp.asarray(decays)
    optimizer = arsg_optax.rsg(0.1, lambda count: schedule[count], 0.2, debias=True)
    task = problem(5, "vector", 0.3, 50)
    m, y, kept, expected = np.zeros_like(task.start), task.start, 1.0, []
    for t, b1 in enumerate(decays):
        g = task.gradient(t, y)
        m, kept = b1 * m + (1 - b1) * g, b1 * kept
        y = y - 0.1 * (0.8 * m / (1 - kept) + 0.2 * g)
        expected.append(y)
    got = [params for params, _, _ in run(optimizer, task, jnp.float64)]
    assert deviation(got, expected, task.start) < 1e-12


def test_counts_stay_at_the_largest_integer():
    largest = jnp.asarray(2**31 - 1, jnp.int32)
    for link in LINKS.values():
        state = link.init(jnp.ones(2))._replace(count=largest)
        assert link.update(jnp.ones(2), state)[1].count == largest


@pytest.mark.parametrize("shape", [(64, 64), (16, 16, 16)])
def test_roundings_differ_along_every_axis(shape):
    x = jnp.full(shape, 1.003, jnp.float32)
    salt = jnp.array([17, 0], jnp.uint32)
    up = (
        np.asarray(stochastic_round(x, jnp.asarray(3), salt, shift=16), np.float32)
        > 1.003
    )
    centred = up - up.mean()
    for shifts in itertools.product((-1, 0, 1), repeat=len(shape)):
        if any(shifts):
            moved = np.roll(centred, shifts, range(len(shape)))
            correlation = np.mean(centred * moved) / centred.var()
            assert abs(correlation) < 5 / np.sqrt(up.size)


def test_a_saturated_element_stays_where_it_is():
    optimizer = arsg_optax.arsg(0.1)
    params = jnp.ones(2)
    spike = jnp.array([1e30, 1.0])
    updates, state = _steps(optimizer, params, [spike] + [jnp.ones(2)] * 5)
    assert np.all(np.asarray(updates)[:, 0] == 0)
    assert np.all(np.asarray(updates)[:, 1] != 0)
    assert arsg_optax.eval_params(state, params)[0] == params[0]


def test_injected_state_can_be_donated_and_its_rate_found():
    optimizer = optax.inject_hyperparams(arsg_optax.rsg)(0.1)
    params = jnp.ones(3)
    _, state = optimizer.update(params, optimizer.init(params), params)
    assert optax.tree.get(state, "learning_rate") == jnp.float32(0.1)
    step = jax.jit(
        lambda g, s, p: (optimizer.update(g, s, p), arsg_optax.metrics(s)),
        donate_argnums=1,
    )
    (_, state), found = step(params, state, params)
    assert found["observation"] == jnp.float32(0.1)


def test_a_callers_array_outlives_the_state():
    observation = jnp.float32(0.1)
    optimizer = arsg_optax.rsg(0.1, observation=observation)
    _, state = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
    jax.jit(lambda s: arsg_optax.metrics(s), donate_argnums=0)(state)
    assert not observation.is_deleted()
