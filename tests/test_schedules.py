"""Log-time momentum and falling observation: values, and use as hyper-parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.problems import constant, deviation, problem, run
from tests.reference import rsg

COUNTS = np.array([0, 1, 2, 10, 1000, 10**6])


def values(schedule, counts=COUNTS):
    return np.array([schedule(jnp.asarray(count, jnp.int32)) for count in counts])


@pytest.mark.parametrize("delta", [2, 8.0, np.float32(0.5)])
def test_values_of_log_time_momentum(delta, x64):
    steps = COUNTS + 1.0
    got = values(arsg_optax.log_time_momentum(delta))
    np.testing.assert_allclose(got, steps / (steps + delta), rtol=1e-15)


@pytest.mark.parametrize("power", [0, 0.15, np.float32(0.25)])
def test_values_of_falling_observation(power, x64):
    got = values(arsg_optax.falling_observation(power))
    expected = 1 / (1 + (COUNTS + 2.0) ** np.float64(power))
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_float32_and_a_count_of_python():
    for schedule in (arsg_optax.log_time_momentum(), arsg_optax.falling_observation()):
        assert schedule(3).dtype == jnp.float32
        np.testing.assert_array_equal(schedule(3), schedule(jnp.int32(3)))


def test_a_maximum_limits_the_decay():
    free, limited = (
        values(arsg_optax.log_time_momentum(8.0, most)) for most in (None, 0.99)
    )
    np.testing.assert_array_equal(limited, np.minimum(free, np.float32(0.99)))
    assert limited[-1] < free[-1]


def test_the_decay_stays_below_one_as_long_as_updates_are_counted():
    last = np.array([10**8, 2**31 - 1])
    decays = values(arsg_optax.log_time_momentum(), last)
    assert (decays < 1).all() and (decays > 1 - 1e-6).all()


def test_the_error_of_the_docstring_in_float32():
    for count, most in ((10**6, 0.01), (10**7, 0.1)):
        share = 1 - float(arsg_optax.log_time_momentum()(count))
        assert abs(share * (count + 9) / 8 - 1) < most


@pytest.mark.parametrize("delta", [2.0, 8.0])
def test_weights_and_mean_age_of_the_gradients(delta, x64):
    decays = values(arsg_optax.log_time_momentum(delta), np.arange(3000))
    later = np.append(np.cumprod(decays[:0:-1])[::-1], 1.0)
    weights, steps = (1 - decays) * later, np.arange(1.0, 3001)
    expected = delta * steps ** (delta - 1) / 3000**delta
    np.testing.assert_allclose(weights[300:], expected[300:], rtol=0.15)
    assert weights @ (3000 - steps) == pytest.approx(3000 / (delta + 1), rel=0.01)


def test_traced_arguments_and_vmap():
    deltas, powers = jnp.array([2.0, 8.0]), jnp.array([0.15, 0.25])

    @jax.jit
    @jax.vmap
    def both(delta, power):
        b1 = arsg_optax.log_time_momentum(delta, 0.9)
        return b1(50), arsg_optax.falling_observation(power)(50)

    decays, factors = both(deltas, powers)
    np.testing.assert_allclose(decays, [0.9, 51 / 59], rtol=1e-6)
    np.testing.assert_allclose(factors, 1 / (1 + 52**powers), rtol=1e-6)


def _arguments():
    return {
        "b1": arsg_optax.log_time_momentum(8.0, 0.97),
        "observation": arsg_optax.falling_observation(),
    }


def _arsg(learning_rate, b1, observation):
    rms = arsg_optax.scale_by_adam_rms(arsg_optax.log_time_momentum())
    return arsg_optax.arsg(
        learning_rate, b1, observation=observation, preconditioner=rms
    )


def _links(learning_rate, b1, observation):
    return optax.chain(
        arsg_optax.remote_observation(b1, observation),
        optax.scale_by_learning_rate(learning_rate),
    )


def _namsg(learning_rate, b1, observation):
    del observation
    # The first decay is 1 / 9, and b1 / (1 - b1) bounds the distance.
    return arsg_optax.namsg(learning_rate, b1, distance=0.1)


def _chain(learning_rate, b1, observation):
    return arsg_optax.remote_chain(
        learning_rate=learning_rate, b1=b1, observation=observation
    )


def _adarem(learning_rate, b1, observation):
    del observation
    return arsg_optax.adarem(learning_rate, b1)


def _arsgb(learning_rate, b1, observation):
    inner = arsg_optax.arsg(learning_rate, b1, observation=observation)
    return arsg_optax.observation_boost(inner, boost_at=10)


CLIENTS = [arsg_optax.rsg, _chain, _arsg, _arsgb, _adarem, _links, _namsg]


def _updates(optimizer, steps=30):
    def step(state, gradient):
        updates, state = optimizer.update(gradient, state, gradient)
        return state, updates

    gradients = jax.random.normal(jax.random.key(0), (steps, 3))
    return jax.lax.scan(step, optimizer.init(gradients[0]), gradients)[1]


@pytest.mark.parametrize("make", CLIENTS)
def test_optimizers_take_them_also_injected(make):
    arguments = _arguments()
    expected = _updates(make(learning_rate=0.1, **arguments))
    assert np.isfinite(expected).all()
    injected = optax.inject_hyperparams(make)(learning_rate=0.1, **arguments)
    np.testing.assert_allclose(_updates(injected), expected, rtol=1e-6, atol=1e-8)


def test_rsg_follows_the_recursion(x64):
    steps = 200
    task = problem(0, "tree", 0.3, steps)
    path = rsg.concise(
        task.gradient,
        task.start,
        constant(0.3),
        lambda t: (t + 1) / (t + 9),
        lambda t: 1 / (1 + (t + 2) ** 0.25),
        steps,
    )
    optimizer = arsg_optax.rsg(
        0.3, arsg_optax.log_time_momentum(), arsg_optax.falling_observation()
    )
    got = [y for y, _, _ in run(optimizer, task, jnp.float64)]
    assert deviation(got, [y for y, _ in path], task.start) < 1e-12
