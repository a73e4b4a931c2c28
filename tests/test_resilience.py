"""AdaRem's factor at tiny gradients, its derivative, and infinite or NaN elements."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import arsg_optax

SCOPES = pytest.mark.parametrize("scope", ["tree", "leaf"])


def _steady(size, eps):
    """Updates per gradient of three equal gradients: the factors but for the sign."""
    link = arsg_optax.scale_by_resilience(0.0, 1.0, **eps)
    gradient = jnp.array([size, -0.5 * size], jnp.float32)
    state = link.init(gradient)
    for _ in range(3):
        update, state = link.update(gradient, state)
    return np.asarray(update / gradient)


@pytest.mark.parametrize("size", [1e3, 1e-5, 1e-12])
def test_the_default_keeps_the_method_on_at_small_gradients(size):
    np.testing.assert_allclose(_steady(size, {}), [2.0, 1.5], rtol=1e-6)


def test_an_eps_of_1e_8_switches_it_off_below_1e_4():
    assert np.all(_steady(1e-5, {"eps": 1e-8}) < 1.01)


# Products from 0 to infinity in float32.
@pytest.mark.parametrize(
    ("gradient", "momentum", "eps"),
    [
        (1e-25, 1.0, 1e-30),
        (1e-25, 1e-13, 1.2e-38),
        (1e-19, 1e-19, 1.2e-38),
        (1e30, 1e30, 1e-30),
        (3e38, 1e38, 1e-3),
        (0.0, 1e30, 1e-30),
    ],
)
def test_the_printed_quotient_where_its_products_leave_float32(gradient, momentum, eps):
    link = arsg_optax.scale_by_resilience(0.0, 1.0, eps=eps)
    first = jnp.array([momentum, -momentum / 4], jnp.float32)
    now = jnp.full(2, gradient, jnp.float32)
    # Doubled, an update would overflow, so it scales another direction than gradients.
    chain = arsg_optax.chain_on_gradient(_ones(), link)
    _, state = chain.update(first, chain.init(first))
    factors, _ = chain.update(now, state)
    g, m = np.float64(gradient), np.array([momentum, -momentum / 4])
    expected = 1 + g * m / (g * momentum + eps)
    np.testing.assert_allclose(factors, expected, rtol=1e-6)


def _ones():
    return optax.stateless(lambda updates, _: jax.tree.map(jnp.ones_like, updates))


def _last_loss(optimizer, curvature, steps=4):
    """A function of start and scale: the loss after some updates."""

    def loss(params):
        bowl = 0.5 * jnp.sum(curvature * params["a"] ** 2) + jnp.sum(params["b"] ** 3)
        return bowl + 0.3 * params["a"][0] * params["b"][1]

    def last(start, scale):
        params, state = start, optimizer.init(start)
        for _ in range(steps):
            gradient = jax.tree.map(lambda g: scale * g, jax.grad(loss)(params))
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return loss(params)

    return jax.jit(last)


@SCOPES
@pytest.mark.parametrize("eps", [1e-30, 1e-3])
def test_the_derivative_through_updates_is_that_of_differences(scope, eps, x64):
    # The third element has no curvature, so its gradient is 0 at every update.
    curvature = jnp.array([1.0, 0.5, 0.0])
    optimizer = arsg_optax.adarem(0.1, 0.8, 0.9, eps=eps, scope=scope)
    last = _last_loss(optimizer, curvature, steps=3)
    start = {"a": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array([0.7, -0.3])}
    got = jax.grad(last, argnums=(0, 1))(start, 1.0)
    flat, unravel = ravel_pytree((start, jnp.float64(1.0)))
    step = 1e-6
    differences = [
        (last(*unravel(flat + shift)) - last(*unravel(flat - shift))) / (2 * step)
        for shift in step * np.eye(flat.size)
    ]
    np.testing.assert_allclose(ravel_pytree(got)[0], differences, rtol=1e-6, atol=1e-8)


@SCOPES
def test_the_derivative_is_finite_without_any_gradient(scope):
    """At a stationary point nothing moves, so the last point is the start."""
    optimizer = arsg_optax.adarem(0.1, scope=scope)
    start = {"a": jnp.zeros(3), "b": jnp.zeros(2)}
    got = jax.grad(_last_loss(optimizer, jnp.ones(3)))(start, 1.0)
    for leaf in jax.tree.leaves(got):
        np.testing.assert_array_equal(leaf, jnp.zeros_like(leaf))


@SCOPES
@pytest.mark.parametrize("size", [1e-25, 1e-12])
def test_the_derivative_is_finite_at_tiny_gradients_in_float32(scope, size):
    """The plain derivative divides by squares, which are 0 in float32."""
    optimizer = arsg_optax.adarem(0.1, scope=scope)
    start = {"a": jnp.array([1.0, 0.0, -1.0]), "b": jnp.array([0.7, -0.3])}
    got = jax.grad(_last_loss(optimizer, jnp.ones(3)), argnums=(0, 1))(start, size)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(got))


def _train(optimizer, bad):
    """Parameters after five updates, the second with a bad element a[1] or None."""
    params = {"a": jnp.array([-2.0, 0.5, 1.0]), "b": jnp.array([0.7, -0.3])}
    state = optimizer.init(params)
    for step in range(5):
        gradient = jax.tree.map(lambda leaf: 0.1 * leaf + 0.01, params)
        if step == 1 and bad is not None:
            gradient["a"] = gradient["a"].at[1].set(bad)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


_NARROW = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
ELEMENTWISE = {
    "rsg": arsg_optax.rsg(0.1),
    "arsg": arsg_optax.arsg(0.1),
    "arsg-bfloat16": arsg_optax.arsg(0.1, **_NARROW),
    "adarem": arsg_optax.adarem(0.1),
    "adarem-leaf": arsg_optax.adarem(0.1, scope="leaf"),
    "adarem-bfloat16": arsg_optax.adarem(0.1, mu_dtype="bfloat16"),
}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_bad_element_spoils_no_other(name, bad):
    got, calm = (_train(ELEMENTWISE[name], each) for each in (bad, None))
    assert not np.isfinite(got["a"][1])
    # a[0] has the largest momentum in both runs, so the others go the same way.
    np.testing.assert_array_equal(got["a"][::2], calm["a"][::2])
    np.testing.assert_array_equal(got["b"], calm["b"])
