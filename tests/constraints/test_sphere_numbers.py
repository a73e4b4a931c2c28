"""Norms on the sphere: kept over many steps, in 16 bits, at 0 and near overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.constraints import _spheres


def _constrained(**arguments):
    return optax.chain(optax.sgd(0.1), arsg_optax.constrain_to_sphere(**arguments))


def _with_rate(**arguments):
    return arsg_optax.scale_by_sphere_learning_rate(0.1, mask=True, **arguments)


LINKS = pytest.mark.parametrize("make", [_constrained, _with_rate])


def _state(opt_state):
    """The sphere's own state, the last of a chain."""
    return opt_state if hasattr(opt_state, "member") else opt_state[-1]


def _norms(tree, scope):
    squares = [np.sum(np.square(np.asarray(leaf, np.float64))) for leaf in tree]
    return np.sqrt(np.sum(squares) if scope == "tree" else np.asarray(squares))


def _params(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=size), dtype) for size in ((7,), (5, 6), ())]


@pytest.mark.parametrize(
    ("make", "scope", "radius"),
    [
        (_constrained, "leaf", None),
        (_constrained, "tree", 3.0),
        (_with_rate, "leaf", 3.0),
        (_with_rate, "tree", None),
    ],
)
def test_norms_stay_for_ten_thousand_noisy_steps(make, scope, radius):
    optimizer, start = make(scope=scope, radius=radius), _params()

    def step(carry, key):
        params, state = carry
        keys = jax.random.split(key, len(params))
        # Of the length of the direction's own gradient, and noise.
        slopes = [
            jnp.ones_like(p) + jax.random.normal(k, p.shape)
            for p, k in zip(params, keys, strict=True)
        ]
        updates, state = optimizer.update(slopes, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    @jax.jit
    def train(params):
        keys = jax.random.split(jax.random.key(0), 10_000)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

    path = [np.asarray(leaf, np.float64) for leaf in train(start)]
    squares = [np.sum(leaf.reshape(len(leaf), -1) ** 2, axis=1) for leaf in path]
    got = np.stack([sum(squares)] if scope == "tree" else squares) ** 0.5
    expected = _norms(start, scope) if radius is None else radius
    expected = np.broadcast_to(expected, got.shape[:1])
    assert np.max(np.abs(got / expected[:, None] - 1)) < 1e-6
    assert np.max(np.abs(path[1][-1] - np.asarray(start[1]))) > 0.5


@pytest.mark.parametrize(
    ("shape", "radius"), [((10_000_000,), None), ((2500, 4000), 2.0)]
)
def test_large_arrays(shape, radius):
    rng = np.random.default_rng(1)
    params = jnp.asarray(rng.normal(size=shape), jnp.float32)
    optimizer, before = _with_rate(radius=radius), _norms([params], "tree")
    updates, state = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    held = optax.apply_updates(params, updates)
    expected = before if radius is None else radius
    assert abs(_norms([held], "tree") / expected - 1) < 1e-6
    # Off the sphere this gradient takes a tenth of the parameters away.
    np.testing.assert_allclose(state.ratio, 0.9 * before / expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_in_16_bits_the_ratio_does_not_drift(dtype):
    """Roundings move the norm that is held; steps that are lost must not add up."""
    optimizer, params = _with_rate(), _params(dtype)[:2]
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state, [p + 1 for p in params])
    params = optax.apply_updates([p + 1 for p in params], updates)
    off = np.abs(_norms(params, "leaf") / np.asarray(state.radius) - 1)
    assert np.max(off) > 1e-5

    def rest(carry, _):
        params, state = carry
        slopes = jax.tree.map(jnp.zeros_like, params)
        updates, state = optimizer.update(slopes, state, params)
        return (optax.apply_updates(params, updates), state), None

    (_, after), _ = jax.lax.scan(rest, (params, state), length=5000)
    np.testing.assert_allclose(after.ratio, state.ratio, rtol=1e-5)


@pytest.mark.parametrize("radius", [None, 3.0])
@pytest.mark.parametrize("scope", ["leaf", "tree"])
@LINKS
def test_an_array_of_zeros_stays(make, scope, radius):
    optimizer = make(scope=scope, radius=radius)
    params = {"empty": jnp.zeros((0, 2)), "one": jnp.zeros(()), "w": jnp.zeros((2, 3))}
    state = optimizer.init(params)
    for slope in (0.0, 1.0):
        slopes = jax.tree.map(lambda p, s=slope: jnp.full_like(p, s), params)
        updates, state = optimizer.update(slopes, state, params)
        jax.tree.map(lambda u: np.testing.assert_array_equal(u, 0.0), updates)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))
    leaves = jax.tree.leaves(params)
    sphere = _state(state)
    for got in _spheres.onto_spheres(leaves, sphere.member, sphere.radius):
        np.testing.assert_array_equal(got, 0.0)


@LINKS
def test_a_zero_array_beside_others_stays(make):
    optimizer = make()
    params = {"a": jnp.array([3.0, 4.0]), "z": jnp.zeros(2)}
    slopes = jax.tree.map(jnp.ones_like, params)
    updates, state = optimizer.update(slopes, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["z"], 0.0)
    held = np.asarray(params["a"] + updates["a"], np.float64)
    np.testing.assert_allclose(np.linalg.norm(held), 5.0, rtol=1e-6)
    np.testing.assert_allclose(_state(state).radius, [5.0, 0.0])


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e30, np.inf])
@LINKS
def test_norms_out_of_range_leave_an_array_alone(make, size):
    for params, slope in ((1.0, size), (size, 1.0)):
        if slope < 1 or params == np.inf:
            continue  # A small step is an ordinary one.
        held = jnp.full((3,), params, jnp.float32)
        optimizer = make()
        updates, state = optimizer.update(
            jnp.full((3,), slope, jnp.float32), optimizer.init(held), held
        )
        np.testing.assert_array_equal(updates, 0.0)
        assert np.all(np.isfinite(_state(state).radius))
        ratio = getattr(_state(state), "ratio", jnp.ones(1))
        np.testing.assert_array_equal(ratio, 1.0)


@pytest.mark.parametrize("scope", ["leaf", "tree"])
@LINKS
def test_nan_comes_through(make, scope):
    optimizer = make(scope=scope)
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    slopes = {"a": jnp.array([jnp.nan, 0.0]), "b": jnp.ones(3)}
    updates, _ = optimizer.update(slopes, optimizer.init(params), params)
    assert np.all(np.isnan(updates["a"]))
    assert np.all(np.isnan(updates["b"])) == (scope == "tree")


def test_decay_without_gradients_for_ever():
    optimizer = arsg_optax.scale_by_sphere_learning_rate(
        0.1, mask=True, weight_decay=1.0
    )
    start = jnp.array([3.0, 4.0])

    def rest(carry, _):
        params, state = carry
        updates, state = optimizer.update(jnp.zeros(2), state, params)
        return (optax.apply_updates(params, updates), state), None

    carry = start, optimizer.init(start)
    (params, state), _ = jax.lax.scan(rest, carry, length=10_000)
    np.testing.assert_allclose(params, start, rtol=1e-3)
    np.testing.assert_allclose(state.ratio, 1e-8, rtol=1e-6)
    # A gradient at last turns it around instead of blowing it up.
    updates, state = optimizer.update(jnp.array([1.0, 0.0]), state, params)
    np.testing.assert_allclose(params + updates, [-5.0, 0.0], atol=1e-5)
    assert state.ratio > 0.1


def test_float64_parameters_beside_float32(x64):
    optimizer = _with_rate(scope="tree")
    params = {
        "narrow": jnp.array([3.0, 0.0], jnp.float32),
        "wide": jnp.array([0.0, 4.0], jnp.float64),
    }
    slopes = {"narrow": jnp.zeros(2, jnp.float32), "wide": jnp.array([0.0, 20.0])}
    updates, state = optimizer.update(slopes, optimizer.init(params), params)
    assert updates["narrow"].dtype == jnp.float32
    assert updates["wide"].dtype == jnp.float64
    # y = (3, 0, 0, 2), on the sphere of radius 5.
    scale = 5 / np.sqrt(13)
    np.testing.assert_allclose(params["wide"][1] + updates["wide"][1], 2 * scale)
    np.testing.assert_allclose(state.ratio, 1 / scale)
