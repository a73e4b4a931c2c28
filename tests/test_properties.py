"""What must hold for every gradient: bounds, signs, finiteness, scaling laws."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arsg_optax

LENGTH, SIZE = 6, 4
UPDATES = {
    "rsg": arsg_optax.rsg(0.1),
    "arsg": arsg_optax.arsg(0.1),
    "arsg-bfloat16": arsg_optax.arsg(0.1, mu_dtype="bfloat16", nu_dtype="bfloat16"),
    "arsg-adam": arsg_optax.arsg(
        0.1, preconditioner=arsg_optax.scale_by_adam_rms(), debias=True
    ),
    "arsg-rectified": arsg_optax.arsg(
        0.1, preconditioner=arsg_optax.scale_by_rectified_rms(threshold=4.0)
    ),
    "arsg-softplus": arsg_optax.arsg(
        0.1, preconditioner=arsg_optax.scale_by_softplus_rms(nu_dtype="bfloat16")
    ),
    "arsgb": arsg_optax.arsgb(0.1, boost_at=3),
    "namsg": arsg_optax.namsg(0.1),
    "rsg-exact": arsg_optax.rsg(0.1, exact=True),
    "arsg-exact": arsg_optax.arsg(0.1, exact=True),
    "adarem": arsg_optax.adarem(0.1),
    "adarem-leaf": arsg_optax.adarem(0.1, scope="leaf"),
    "adarem_s": arsg_optax.adarem_s(0.1, sphere_mask=True),
    "adarem-bfloat16": arsg_optax.adarem(0.1, mu_dtype="bfloat16"),
}


def _gradients(largest):
    """Sequences of float32 gradients: zeros, denormals, up to the largest."""
    largest = float(np.float32(largest))
    # XLA flushes denormals in this process, so hypothesis cannot draw them itself.
    element = st.floats(-largest, largest, width=32, allow_subnormal=False)
    small = [0.0, 1e-45, -1e-40, 1.2e-38, 1e-30, 1e-19, -1e-8]
    drawn = element | st.sampled_from([*small, largest, -largest])
    sequences = st.lists(drawn, min_size=LENGTH * SIZE, max_size=LENGTH * SIZE)
    return sequences.map(lambda x: np.array(x, np.float32).reshape(LENGTH, SIZE))


def _scan(optimizer):
    """Compiled: gradients (LENGTH, SIZE) -> updates and states of each step."""

    @jax.jit
    def steps(gradients):
        params = {"a": jnp.ones(SIZE - 1), "b": jnp.ones(())}

        def step(state, flat):
            gradient = {"a": flat[:-1], "b": flat[-1]}
            updates, state = optimizer.update(gradient, state, params)
            whole = jnp.concatenate([updates["a"], updates["b"][None]])
            return state, (whole, state)

        return jax.lax.scan(step, optimizer.init(params), gradients)[1]

    return steps


COMPILED = {name: _scan(optimizer) for name, optimizer in UPDATES.items()}


def _finite(tree):
    return all(np.all(np.isfinite(np.asarray(x, np.float64))) for x in _leaves(tree))


def _leaves(tree):
    return [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(tree)]


# Half of the examples within the range of squares, half beyond it.
@pytest.mark.parametrize("name", UPDATES)
@given(gradients=_gradients(1e18) | _gradients(1e38))
@settings(max_examples=60)
def test_updates_and_state_are_finite(name, gradients):
    assert _finite(COMPILED[name](gradients))


def test_an_overflowing_square_saturates_and_stops_that_element_only():
    """As documented: its maximum stays huge, its steps tiny; the others go on."""
    gradients = np.ones((LENGTH, SIZE), np.float32)
    gradients[1, 0] = 1e30
    updates, states = COMPILED["arsg"](gradients)
    nu_max = np.asarray(states.links[0].nu_max["a"])
    assert nu_max[-1, 0] == np.finfo(np.float32).max
    assert np.all(np.abs(updates[2:, 1:]) > 1e-2)
    calm, _ = COMPILED["arsg"](np.ones((LENGTH, SIZE), np.float32))
    np.testing.assert_array_equal(updates[:, 1:], calm[:, 1:])


def test_adarem_recovers_from_a_huge_gradient():
    gradients = np.ones((700, SIZE), np.float32)
    gradients[0, 0] = 1e20
    updates, _ = COMPILED["adarem"](gradients)
    # Once the spike has left the momentum every element agrees with it again.
    np.testing.assert_allclose(updates[-1], -0.1 * 1.999, rtol=1e-3)


@pytest.mark.parametrize("name", ["arsg", "arsg-bfloat16", "namsg"])
@given(gradients=_gradients(1e18))
@settings(max_examples=60)
def test_nu_max_never_falls(name, gradients):
    _, states = COMPILED[name](gradients)
    for leaf in _leaves(states.links[0].nu_max):
        assert np.all(np.diff(leaf, axis=0) >= 0)
        assert np.all(leaf >= 1e-8 * (1 - 2**-8))


@pytest.mark.parametrize("scope", ["tree", "leaf"])
@pytest.mark.parametrize("mu_dtype", [None, "bfloat16"])
@pytest.mark.parametrize("resilience", [1.0, 0.999, 0.3])
def test_resilience_bounds_and_signs(scope, mu_dtype, resilience):
    transform = arsg_optax.scale_by_resilience(
        resilience=resilience, scope=scope, mu_dtype=mu_dtype
    )
    steps = _scan(transform)

    @given(gradients=_gradients(1e18))
    @settings(max_examples=60)
    def check(gradients):
        updates, _ = steps(gradients)
        factor_times = np.asarray(updates, np.float64)
        magnitude = np.abs(gradients.astype(np.float64))
        rounding = 1e-6 * magnitude + 2e-38
        assert np.all(np.abs(factor_times) <= (1 + resilience) * magnitude + rounding)
        assert np.all(np.abs(factor_times) >= (1 - resilience) * magnitude - rounding)
        assert np.all(factor_times * np.sign(gradients) >= 0)
        assert np.all(factor_times[gradients == 0] == 0)

    check()


def _updates(optimizer, gradients):
    return np.asarray(_scan(optimizer)(gradients)[0])


# Powers of two scale floats exactly, so the laws hold to the last bit.
@pytest.mark.parametrize("factor", [2.0**-6, 2.0**6])
def test_scaling_laws(factor):
    rng, eps = np.random.default_rng(0), 2.0**-20
    rsg = _scan(arsg_optax.rsg(0.1))
    # Invariant to the gradient's scale if eps has the units of its square.
    arsg, arsg_scaled = (
        _scan(arsg_optax.arsg(0.1, eps=each)) for each in (eps, eps * factor**2)
    )
    adarem, adarem_scaled = (
        _scan(arsg_optax.adarem(0.1, eps=each)) for each in (eps, eps * factor**2)
    )
    for _ in range(5):
        gradients = rng.normal(size=(LENGTH, SIZE)).astype(np.float32)
        for steps, scaled_steps, power in (
            (rsg, rsg, 1),
            (arsg, arsg_scaled, 0),
            (adarem, adarem_scaled, 1),
        ):
            np.testing.assert_array_equal(
                scaled_steps(factor * gradients)[0],
                factor**power * np.asarray(steps(gradients)[0]),
            )


@pytest.mark.parametrize("make", [arsg_optax.rsg, arsg_optax.arsg, arsg_optax.adarem])
def test_updates_are_linear_in_the_learning_rate(make):
    gradients = np.random.default_rng(1).normal(size=(LENGTH, SIZE))
    gradients = gradients.astype(np.float32)
    one, four = (_updates(make(rate), gradients) for rate in (0.125, 0.5))
    np.testing.assert_array_equal(4 * one, four)


@pytest.mark.parametrize("name", UPDATES)
def test_nothing_moves_without_a_gradient(name):
    updates, _ = COMPILED[name](np.zeros((LENGTH, SIZE), np.float32))
    assert np.all(np.asarray(updates) == 0)


def test_apply_if_finite_keeps_a_nan_out():
    optimizer = optax.apply_if_finite(arsg_optax.arsg(0.1), max_consecutive_errors=5)
    gradients = np.ones((LENGTH, SIZE), np.float32)
    gradients[2, 1] = np.nan
    updates, states = _scan(optimizer)(gradients)
    assert _finite(updates)
    assert _finite(states.inner_state)
