"""The iterate of optimizers whose parameters live in a set or on a sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.steps import assert_close, gradients, iterate, tree

INNER = arsg_optax.arsg(0.1, 0.9, b2=0.9, observation=0.5)
MATRICES = {"b": False, "w": True}


def _after(optimizer, steps=4):
    params = tree(0)
    state = optimizer.init(params)
    for gradient in gradients(steps):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def _offset(state):
    """distance α m / √v̂ of each leaf, from the state of `INNER`."""
    ahead = state.applied_distance * state.applied_learning_rate
    return {
        name: ahead * state.mu[name] / jnp.sqrt(state.links[0].nu_max[name])
        for name in state.mu
    }


def _norm(*leaves):
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in leaves))


def test_on_a_sphere_of_each_leaf():
    optimizer = optax.chain(INNER, arsg_optax.constrain_to_sphere(mask=MATRICES))
    params, state = _after(optimizer)
    offset = _offset(state[0])
    free = {name: params[name] + offset[name] for name in params}
    point = iterate(state, params)
    np.testing.assert_allclose(point["b"], free["b"], rtol=1e-5)
    radius = _norm(tree(0)["w"])
    np.testing.assert_allclose(_norm(point["w"]), radius, rtol=1e-6)
    np.testing.assert_allclose(
        point["w"], free["w"] * radius / _norm(free["w"]), rtol=1e-5
    )


def test_a_learning_rate_of_each_sphere_in_a_plain_chain_is_refused():
    optimizer = optax.chain(
        arsg_optax.remote_observation(0.9, 0.5),
        arsg_optax.scale_by_sphere_learning_rate(0.1, mask=MATRICES, radius=3.0),
    )
    params, state = _after(optimizer)
    with pytest.raises(ValueError, match="plain chain with remote_observation"):
        arsg_optax.eval_params(state, params)
    assert arsg_optax.metrics(state)["learning_rate"] == jnp.float32(0.1)


def test_on_one_sphere_for_all():
    optimizer = optax.chain(INNER, arsg_optax.constrain_to_sphere(scope="tree"))
    params, state = _after(optimizer)
    offset = _offset(state[0])
    free = {name: params[name] + offset[name] for name in params}
    factor = _norm(*tree(0).values()) / _norm(*free.values())
    expected = {name: factor * free[name] for name in free}
    assert_close(iterate(state, params), expected, 1e-5)


def test_in_a_box():
    optimizer = arsg_optax.project(
        arsg_optax.arsg(0.3, 0.9, observation=0.5), arsg_optax.Box(-1.0, 1.0)
    )
    params, state = _after(optimizer)
    free = iterate(state.inner_state, params)
    point, kinds = iterate(state, params), set()
    for name in point:
        leaves = map(np.ravel, (params[name], free[name], point[name]))
        for y, x, got in zip(*leaves, strict=True):
            rests = (y == 1 and x < y) or (y == -1 and x > y)
            kinds.add("rests" if rests else "leaves" if abs(x) > 1 else "inside")
            assert got == (y if rests else np.clip(x, -1, 1))
    assert kinds >= {"rests", "inside"}


def _in_ball(free, roots, radius):
    """x = y / (1 + λ / w) with λ >= 0 such that |x| = R, by bisection."""
    low, high, point = 0.0, 1e9, free
    for _ in range(200):
        middle = (low + high) / 2
        point = {k: free[k] / (1 + middle / roots[k]) for k in free}
        outside = _norm(*point.values()) > radius
        low, high = (middle, high) if outside else (low, middle)
    return point


def test_in_a_ball_in_the_metric_of_the_preconditioner(x64):
    inner = arsg_optax.arsg(0.3, 0.9, b2=0.9, observation=0.5)
    optimizer = arsg_optax.project(inner, arsg_optax.L2Ball(0.3))
    params, state = _after(optimizer)
    free = iterate(state.inner_state, params)
    roots = state.inner_state.links[0].denominator()
    # It rests at the edge and the offset leads inside: its part along s n, n = y.
    np.testing.assert_allclose(_norm(*params.values()), 0.3, rtol=1e-6)
    offset = {k: free[k] - params[k] for k in free}
    inward = sum(np.sum(params[k] * offset[k]) for k in free)
    assert inward < 0
    length = sum(np.sum(params[k] ** 2 / roots[k]) for k in free)
    tangent = {k: free[k] - inward / length * params[k] / roots[k] for k in free}
    assert _norm(*tangent.values()) > 0.3
    assert_close(iterate(state, params), _in_ball(tangent, roots, 0.3), 1e-5)


SETS = {
    "box": (arsg_optax.Box(-0.5, 1.0), [1.0, -0.5, 0.5]),
    "ball": (arsg_optax.L2Ball(1.0), None),
    "half-space": (arsg_optax.HalfSpace(jnp.array([1.0, 2.0, -1.0]), -3.0), None),
}


@pytest.mark.parametrize("name", SETS)
def test_at_the_constrained_minimum_the_iterate_is_there_too(name):
    onto, expected = SETS[name]
    optimizer = arsg_optax.project(arsg_optax.arsg(0.01, 0.99), onto)

    def step(carry, _):
        params, state = carry
        gradient = params - jnp.array([3.0, -2.0, 0.5])
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.zeros(3)
    (params, state), _ = jax.lax.scan(
        step, (start, optimizer.init(start)), length=10_000
    )
    if expected is not None:
        np.testing.assert_allclose(params, expected, atol=1e-3)
    point = iterate(state, params)
    np.testing.assert_allclose(point, params, atol=2e-3)
    # Mapping alone would lead far inside.
    assert np.max(np.abs(iterate(state.inner_state, params) - params)) > 0.05


def test_leaves_without_an_observation_stay_as_they_are():
    optimizer = optax.chain(
        optax.partition(
            {"ahead": arsg_optax.rsg(0.1, 0.9, observation=0.5), "sgd": optax.sgd(0.1)},
            {"b": "sgd", "w": "ahead"},
        ),
        arsg_optax.constrain_to_sphere(),
    )
    params, state = _after(optimizer)
    point = iterate(state, params)
    np.testing.assert_array_equal(point["b"], params["b"])
    assert jnp.any(point["w"] != params["w"])
    np.testing.assert_allclose(_norm(point["w"]), _norm(params["w"]), rtol=1e-6)


def test_a_whole_optimizer_behind_a_mask():
    whole = optax.chain(
        arsg_optax.rsg(0.1, 0.9, observation=0.5), arsg_optax.constrain_to_sphere()
    )
    params, state = _after(optax.masked(whole, MATRICES))
    point = iterate(state, params)
    np.testing.assert_array_equal(point["b"], params["b"])
    np.testing.assert_allclose(_norm(point["w"]), _norm(tree(0)["w"]), rtol=1e-6)
    assert jnp.any(jnp.abs(point["w"] - params["w"]) > 1e-3)


def test_a_sphere_behind_a_mask_of_its_own_is_refused():
    optimizer = optax.chain(
        arsg_optax.rsg(0.1, 0.9, observation=0.5),
        optax.masked(arsg_optax.constrain_to_sphere(), MATRICES),
    )
    params, state = _after(optimizer)
    with pytest.raises(ValueError, match=r"got MaskedState at '\[1\]'"):
        arsg_optax.eval_params(state, params)


def test_around_the_two_point_form():
    inner = arsg_optax.observe_remotely(optax.sgd(0.3), 3.0)
    optimizer = arsg_optax.project(inner, arsg_optax.Box(-0.5, 0.5))
    params, state = _after(optimizer)
    point = iterate(state, params)
    for name in point:
        free = params[name] - 3.0 * state.inner_state.previous[name]
        rests = jnp.abs(params[name]) == 0.5
        rests &= jnp.sign(free - params[name]) == -jnp.sign(params[name])
        expected = jnp.where(rests, params[name], jnp.clip(free, -0.5, 0.5))
        np.testing.assert_allclose(point[name], expected, rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_fresh_states(compiled):
    params = tree(0)
    # Onto the ball, of which the state knows already; the sphere is taken at the
    # first update.
    for optimizer, factor in (
        (optax.chain(arsg_optax.arsg(0.1), arsg_optax.constrain_to_sphere()), 1.0),
        (
            arsg_optax.project(arsg_optax.arsg(0.1, eps=1.0), arsg_optax.L2Ball(0.5)),
            0.5 / _norm(*params.values()),
        ),
    ):
        evaluate = (
            jax.jit(arsg_optax.eval_params) if compiled else arsg_optax.eval_params
        )
        point = evaluate(optimizer.init(params), params)
        assert_close(point, jax.tree.map(lambda p, f=factor: f * p, params), 1e-5)


def test_beside_another_optimizer_without_an_observation():
    optimizer = optax.partition(
        {
            "ahead": arsg_optax.rsg(0.1, 0.9, observation=0.5),
            "sphere": arsg_optax.adarem_s(0.1, sphere_mask=True),
        },
        {"b": "ahead", "w": "sphere"},
    )
    params, state = _after(optimizer)
    point = iterate(state, params)
    np.testing.assert_array_equal(point["w"], params["w"])
    assert jnp.any(point["b"] != params["b"])


def test_a_state_of_another_shape_does_not_hide_the_constraint():
    optimizer = optax.chain(
        optax.flatten(optax.trace(0.5)),
        arsg_optax.rsg(0.1, 0.9, observation=0.5),
        arsg_optax.constrain_to_sphere(),
    )
    params, state = _after(optimizer)
    point = iterate(state, params)
    for name in point:
        np.testing.assert_allclose(_norm(point[name]), _norm(params[name]), rtol=1e-6)
