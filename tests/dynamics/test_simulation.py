"""The simulated system against the package's RSG and a plain loop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.dynamics import gain_factor, simulate
from tests.dynamics import reference


@pytest.mark.parametrize(
    ("b1", "mu"), [(0.0, 0.1), (0.9, 0.0), (0.9, 0.1), (0.999, 0.1)]
)
def test_rsg_on_a_quadratic_is_the_simulation(x64, b1, mu):
    curvature = jnp.asarray([-1e-3, 1e-3, 0.1, 1.0, 5.0])
    rate, steps = 0.3, 1000
    noise = jax.random.normal(jax.random.key(0), (steps, 5))
    start = jnp.asarray([1.0, -2.0, 0.5, 3.0, 1.0])
    optimizer = arsg_optax.rsg(rate, b1, mu)

    def step(carry, error):
        y, state = carry
        updates, state = optimizer.update(curvature * (y + error), state, y)
        y = jnp.asarray(optax.apply_updates(y, updates))
        return (y, state), (y, arsg_optax.eval_params(state, y))

    _, (held, iterate) = jax.lax.scan(step, (start, optimizer.init(start)), noise)
    path = simulate(rate * curvature, b1, mu, noise, deviation=start)
    np.testing.assert_array_equal(path.deviation[0], start)
    for got, expected in [(path.deviation, held), (path.iterate, iterate)]:
        error = jnp.abs(got[1:] - expected).max() / jnp.abs(expected).max()
        assert error < 1e-12


def test_one_chain_is_a_plain_loop(x64):
    tau, b1, mu = 0.7, 0.95, 0.2
    noise = np.random.default_rng(1).normal(size=300)
    v, s = 0.3, -1.0
    path = simulate(tau, b1, mu, noise, deviation=s, momentum=v)
    assert {part.shape for part in path} == {(301,)}
    for t, error in enumerate(noise):
        np.testing.assert_allclose([path.momentum[t], path.deviation[t]], [v, s])
        v, s = reference.step(v, s, tau, b1, mu, error)
    np.testing.assert_allclose([path.momentum[-1], path.deviation[-1]], [v, s])


def test_without_noise_it_decays_by_the_gain_factor(x64):
    tau, b1, mu = np.array([0.002, 0.02]), 0.9, 0.3
    path = simulate(tau, b1, mu, steps=400)
    rate = (path.deviation[400] / path.deviation[300]) ** 0.01
    np.testing.assert_allclose(rate, gain_factor(tau, b1, mu), rtol=1e-6)


def test_shapes_broadcast():
    key = jax.random.key(0)
    tau = jnp.asarray([[0.1], [0.2]])
    mu = jnp.asarray([0.0, 0.1, 0.2])
    assert simulate(tau, 0.9, mu, key=key, steps=7).deviation.shape == (8, 2, 3)
    noise = jax.random.normal(key, (7, 3))
    path = simulate(tau, 0.9, mu, noise)
    assert path.deviation.shape == (8, 2, 3)
    single = simulate(tau[1, 0], 0.9, mu[2], noise[:, 2])
    np.testing.assert_allclose(path.iterate[:, 1, 2], single.iterate, rtol=1e-6)
    assert simulate(0.1, 0.9, 0.1, steps=0).deviation.shape == (1,)


def test_chains_by_vmap():
    keys = jax.random.split(jax.random.key(0), 5)
    chains = jax.vmap(lambda key: simulate(0.1, 0.9, 0.1, key=key, steps=20))(keys)
    assert chains.deviation.shape == (5, 21)
    alone = simulate(0.1, 0.9, 0.1, key=keys[3], steps=20)
    np.testing.assert_allclose(chains.deviation[3], alone.deviation, rtol=1e-6)
    assert np.unique(np.asarray(chains.deviation[:, -1])).size == 5


def test_derivative_by_tau(x64):
    def end(tau):
        return simulate(tau, 0.9, 0.1, steps=50).deviation[-1]

    expected = (end(0.3 + 1e-6) - end(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(end)(0.3), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "steps must be"),
        ({"key": 0}, "steps must be"),
        ({"steps": -1}, "got -1"),
        ({"noise": 0.5}, "first axis"),
        ({"noise": np.zeros(3), "steps": 3}, "without key and steps"),
    ],
)
def test_noise_arguments(arguments: dict[str, Any], message):
    if "key" in arguments:
        arguments = {"key": jax.random.key(0)}
    with pytest.raises(ValueError, match=message):
        simulate(0.1, 0.9, 0.1, **arguments)
