"""The mask found by scaling each array is the one that a person would write."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import arsg_optax
from arsg_optax.tuning import scale_invariant_leaves
from arsg_optax.tuning._meshes import use_mesh
from tests.interop.meshes import make_mesh
from tests.tuning.networks import (
    NETWORKS,
    batch_norm,
    layer_norm,
    normal,
    standardize,
    zero_classifier,
)


# The default lies between the two: the margin is wide on both sides.
@pytest.mark.parametrize("tolerance", [0.002, 0.1])
@pytest.mark.parametrize("name", NETWORKS)
def test_finds_the_normalised_weights(name, tolerance):
    network = NETWORKS[name]
    found = scale_invariant_leaves(network.loss, network.params, tolerance=tolerance)
    assert found == network.members
    assert all(type(leaf) is bool for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("factor", [1.5, 10.0])
def test_other_factors_find_the_same(factor):
    network = NETWORKS["layer norm"]
    found = scale_invariant_leaves(network.loss, network.params, factor=factor)
    assert found == network.members


def test_a_coincidence_at_one_factor_is_found_out():
    """Loss and gradient relation both hold at 2 for this function of one number."""

    def loss(w):
        # Of u = log2(w) with the period 1 for u in [0, 1], straight on either side.
        u = jnp.log2(w)
        inside = jnp.sin(2 * jnp.pi * u) / (2 * jnp.pi)
        return jnp.where((u > -0.01) & (u < 1.01), inside, u)

    w = jnp.float32(1.0)
    value, slope = jax.value_and_grad(loss)(w)
    other, other_slope = jax.value_and_grad(loss)(2 * w)
    np.testing.assert_allclose([other, 2 * other_slope], [value, slope], atol=1e-5)
    assert not scale_invariant_leaves(loss, w)


def test_saturated_units_are_not_scale_invariant():
    """Their loss changes by less than the tolerance, only the gradient tells."""
    loss, params, _ = NETWORKS["weight norm"]
    params = {**params, "gain": jnp.float32(100.0), "out": params["out"] / 4}
    value, gradient = jax.value_and_grad(loss)(params)
    change = loss({**params, "gain": 2 * params["gain"]}) - value
    assert abs(change) < 0.02 * value
    assert jnp.abs(gradient["gain"]) > 0
    found = scale_invariant_leaves(loss, params)
    assert found == {"gain": False, "out": False, "v": True}


def test_neither_relation_is_enough():
    same_loss = lambda w: (jnp.sum(w**2) - 2.5) ** 2  # noqa: E731
    w = jnp.array([0.6, 0.8])
    np.testing.assert_allclose(same_loss(w), same_loss(2 * w), rtol=1e-6)
    assert not scale_invariant_leaves(same_loss, w)
    same_gradient = lambda w: jnp.log(jnp.sum(w**2))  # noqa: E731
    slope = jax.grad(same_gradient)
    np.testing.assert_allclose(2 * slope(2 * w), slope(w), rtol=1e-6)
    assert not scale_invariant_leaves(same_gradient, w)
    assert scale_invariant_leaves(lambda w: same_gradient(w[:1] / w[1:]), w)


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, 0.0), (1e4, 0.0), (1.0, 50.0)])
def test_does_not_depend_on_the_units_of_the_loss(scale, offset):
    network = NETWORKS["weight norm"]
    moved = lambda params: scale * network.loss(params) + offset  # noqa: E731
    assert scale_invariant_leaves(moved, network.params) == network.members


def test_rounding_of_a_large_loss_is_allowed_for():
    w = normal(1, 1000)

    def loss(w, last_bit=0.0625):
        length = jnp.sqrt(jnp.sum(w**2))
        # One unit in the last place of 1e6, as sums over a batch lose it.
        error = jnp.where(length > 40, last_bit, 0.0)
        return 1e6 + error + 0.01 * jnp.sum(w[:500]) / length

    slope = jnp.sqrt(jnp.sum(jax.grad(loss)(w) ** 2) * jnp.sum(w**2))
    assert loss(2 * w) - loss(w) > 0.05 * slope
    assert scale_invariant_leaves(loss, w)
    assert not scale_invariant_leaves(lambda w: loss(w, last_bit=64.0), w)


def test_an_array_without_gradient_is_no_member():
    """A bias before batch norm: every value of it gives the same loss."""
    x = normal(0, 64, 8)

    def loss(params):
        hidden = standardize(x @ params["w"] + params["b"][None], axis=0)
        return jnp.mean(jnp.tanh(hidden)[:, 0] ** 3)

    params = {"b": normal(1, 4), "unused": normal(2, 3), "w": normal(3, 8, 4)}
    np.testing.assert_allclose(
        loss({**params, "b": 2 * params["b"]}), loss(params), rtol=1e-4
    )
    found = scale_invariant_leaves(loss, params)
    assert found == {"b": False, "unused": False, "w": True}


def test_arrays_of_zeros_are_filled_while_others_are_tested():
    """At 0 a bias hides that it breaks the invariance; a last layer hides all."""
    hidden, last = layer_norm(bias=True), zero_classifier()
    as_it_is = scale_invariant_leaves(hidden.loss, hidden.params, fill_zeros=False)
    assert as_it_is == {"b": False, "out": False, "w": True}
    trained = {**hidden.params, "b": normal(3, 16)}
    assert scale_invariant_leaves(hidden.loss, trained, fill_zeros=False) == (
        hidden.members
    )
    as_it_is = scale_invariant_leaves(last.loss, last.params, fill_zeros=False)
    assert as_it_is == {"out": False, "w": False}
    assert not jnp.any(last.params["out"])  # The caller's arrays stay as they are.


def test_an_array_of_zeros_is_no_member():
    loss, params, members = NETWORKS["layer norm"]
    zeros = {**params, "w": jnp.zeros_like(params["w"])}
    assert members["w"]
    assert scale_invariant_leaves(loss, zeros) == {"out": False, "w": False}


def test_leaves_that_are_no_floating_arrays():
    network = NETWORKS["weight norm"]

    def loss(params):
        assert params["count"] == 3
        assert params["name"] == "model"
        shift = jax.random.normal(params["key"], ()) * params["number"]
        return network.loss(params["inner"]) + float(params["table"][1]) + shift

    params = {
        "count": 3,
        "empty": jnp.zeros((0, 2)),
        "inner": network.params,
        "key": jax.random.key(0),
        "name": "model",
        "none": None,
        "number": 0.5,
        "table": np.arange(3),
    }
    found = scale_invariant_leaves(loss, params)
    assert found.pop("inner") == network.members
    assert found.pop("none") is None
    assert set(found.values()) == {False}
    assert scale_invariant_leaves(lambda params: 1.0, {"a": 3}) == {"a": False}
    assert scale_invariant_leaves(lambda params: 1.0, {}) == {}


def test_the_loss_is_compiled_once(caplog):
    network, traces = NETWORKS["batch norm"], []

    def loss(params):
        traces.append(1)
        return network.loss(params)

    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        scale_invariant_leaves(loss, network.params)
    assert len(traces) == 1
    assert _compilations(caplog) == 1


def _compilations(caplog):
    messages = [record.getMessage() for record in caplog.records]
    return sum("XLA compilation of" in m and "probe" in m for m in messages)


@pytest.mark.parametrize("explicit", [False, True], ids=["automatic", "explicit"])
def test_sharded_parameters(explicit, caplog):
    network, mesh = batch_norm(activation=jnp.tanh), make_mesh((8,), explicit)
    everywhere = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec("x"))
    x, labels = normal(0, 64, 8), jax.nn.one_hot(jnp.arange(64) % 5, 5)

    def loss(params):
        hidden = x
        for layer in params["layers"]:
            hidden = standardize(hidden @ layer["w"], axis=0)
            hidden = jnp.tanh(hidden * layer["scale"][None] + layer["shift"][None])
        return jnp.mean(labels * jax.nn.log_softmax(hidden @ params["out"]["w"]))

    with use_mesh(mesh):
        # Sharded over its inputs, which the product sums over, or not at all.
        x, labels = (jax.device_put(a, everywhere) for a in (x, labels))
        params = jax.device_put(network.params, everywhere)
        for place in (params["layers"][0], params["out"]):
            place["w"] = jax.device_put(place["w"], everywhere if explicit else rows)
        if explicit:
            scale = jax.device_put(jnp.ones(16), rows)
            params["layers"][1]["scale"] = scale
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            found = scale_invariant_leaves(loss, params)
    assert found == network.members
    assert _compilations(caplog) == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(dtype):
    network = batch_norm(jnp.dtype(dtype), jnp.tanh)
    assert scale_invariant_leaves(network.loss, network.params) == network.members


def test_float64(x64):
    network = batch_norm(jnp.float64)
    tight = scale_invariant_leaves(network.loss, network.params, tolerance=1e-3)
    assert tight == network.members


def test_epsilon_of_the_norm_sets_the_tolerance():
    """Where it is as large as the variance, the weights are no longer invariant."""
    x = normal(0, 64, 8)

    def loss(params, size):
        hidden = standardize(size * x @ params["w"], axis=0)
        return jnp.mean(jnp.tanh(hidden)[:, 0] ** 3)

    params = {"w": normal(1, 8, 4)}
    found = [
        scale_invariant_leaves(lambda p, s=size: loss(p, s), params, tolerance=tau)["w"]
        for size, tau in [(1.0, 0.001), (0.02, 0.05), (0.02, 0.001), (1e-3, 0.05)]
    ]
    assert found == [True, True, False, False]


def test_the_mask_is_what_masked_and_the_sphere_take():
    loss, start, members = NETWORKS["weight norm"]
    mask = scale_invariant_leaves(loss, start)
    optimizer = arsg_optax.adarem_s(0.1, sphere_mask=mask)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    params, state = start, optimizer.init(start)
    for _ in range(5):
        params, state = step(params, state)
    kept = {
        name: bool(jnp.allclose(_length(params[name]), _length(start[name]), rtol=1e-5))
        for name in start
    }
    assert kept == members
    assert jnp.any(params["v"] != start["v"])
    masked = optax.masked(optax.set_to_zero(), mask)
    updates, _ = masked.update(params, masked.init(params))
    assert jax.tree.map(lambda u: not bool(jnp.any(u)), updates) == members


def _length(x):
    return jnp.sqrt(jnp.sum(x**2))
