"""Derivatives through a projected update, for those who tune by gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import Box, HalfSpace, project

# From inside to inside, from inside to beyond each bound, and from a bound to inside.
PARAMS = [0.0, 0.9, -0.9, 1.0]
GRADIENT = [1.0, -3.0, 2.0, 0.5]


def _after(params, gradient, rate, lower, upper):
    # Not optax.sgd, which multiplies 16 bits by float32 under strict promotion.
    inner = arsg_optax.scale_by_learning_rate(rate)
    optimizer = project(inner, Box(lower, upper))
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return optax.apply_updates(params, updates)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        (jax.jacfwd, jnp.float32),  # It mixes no dtypes under strict promotion.
        (jax.jacrev, jnp.float32),
        (jax.jacrev, jnp.bfloat16),
        (jax.jacrev, jnp.float16),
    ],
)
def test_through_a_box(mode, dtype):
    params, gradient = jnp.asarray(PARAMS, dtype), jnp.asarray(GRADIENT, dtype)
    numbers = jnp.float32(0.1), jnp.float32(-1.0001), jnp.float32(1.0001)
    jacobian = jax.jit(mode(_after, argnums=(0, 1, 2, 3, 4)))
    by_params, by_gradient, by_rate, by_lower, by_upper = jacobian(
        params, gradient, *numbers
    )
    free = np.array([1.0, 0.0, 0.0, 1.0])
    rounding = {"rtol": 1e-2, "atol": 0} if dtype != jnp.float32 else {"rtol": 1e-6}
    np.testing.assert_array_equal(np.float64(by_params), np.diag(free))
    np.testing.assert_allclose(
        np.float64(by_gradient), np.diag(-0.1 * free), **rounding
    )
    np.testing.assert_allclose(np.float64(by_rate), -free * GRADIENT, **rounding)
    np.testing.assert_array_equal(np.float64(by_lower), [0, 0, 1, 0])
    np.testing.assert_array_equal(np.float64(by_upper), [0, 1, 0, 0])


def test_of_a_loss_by_the_learning_rate_over_many_updates():
    """Against differences, on a way that leaves a box of odd bounds and comes back."""

    def loss(rate):
        optimizer = project(optax.sgd(rate), Box(-1 / 3, 0.7))
        params = jnp.array([0.6, -0.3, 0.1])
        state = optimizer.init(params)
        for step in range(6):
            gradient = jnp.cos(jnp.arange(3.0) + step) + params
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return jnp.sum(params**2)

    got = jax.jit(jax.grad(loss))(jnp.float32(0.3))
    near = [np.float64(loss(jnp.float32(0.3 + shift))) for shift in (-1e-3, 1e-3)]
    np.testing.assert_allclose(got, (near[1] - near[0]) / 2e-3, rtol=2e-3)


def test_through_a_half_space():
    """At its edge the part along the normal is lost: I - a a' / |a|^2."""
    normal = jnp.array([1.0, 2.0, -1.0, 0.5])
    optimizer = project(optax.sgd(0.1), HalfSpace(normal, -1.0))

    def after(params):
        state = optimizer.init(params)
        updates, _ = optimizer.update(jnp.array(GRADIENT), state, params)
        return optax.apply_updates(params, updates)

    expected = np.eye(4) - np.outer(normal, normal) / np.sum(np.square(normal))
    got = jax.jacrev(after)(jnp.array(PARAMS))
    np.testing.assert_allclose(got, expected, atol=1e-6)
