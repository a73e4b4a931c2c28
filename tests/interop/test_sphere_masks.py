"""Which leaves are on a sphere, and what the sphere's links refuse."""

import re
from typing import Any

import jax
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.chains import matrices
from tests.interop.spheres import MASK, RATE, constrain, norm, slr, steps
from tests.interop.steps import assert_identical, gradients, tree

MASKS = {
    "tree": ({"b": False, "w": {"deep": True}}, {"w": {"deep": 1}}),
    "prefix": ({"b": False, "w": True}, {"w": {"deep": 1}}),
    "NumPy": ({"b": np.bool_(False), "w": np.bool_(True)}, {"w": {"deep": 1}}),
    "all": (True, {"b": 1, "w": {"deep": 1}}),
    "none": (False, {}),
    "callable": (
        lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        {"w": {"deep": 1}},
    ),
    "callable prefix": (lambda params: {"b": True, "w": False}, {"b": 1}),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("constrains", [True, False])
def test_masks(name, constrains):
    mask, members = MASKS[name]
    plain, trees = tree(0), gradients(3)
    params = {"b": plain["b"], "w": {"deep": plain["w"]}}
    trees = [{"b": each["b"], "w": {"deep": each["w"]}} for each in trees]
    ordinary = optax.sgd(RATE)
    optimizer: Any = slr(RATE, mask=mask)
    if constrains:
        optimizer = optax.chain(ordinary, constrain(mask=mask))
    got, state = steps(optimizer, params, trees)
    expected, _ = steps(ordinary, params, trees)
    for path, leaf in jax.tree_util.tree_leaves_with_path(got):
        start, free = params, expected
        member: Any = members
        for key in path:
            start, free = start[key.key], free[key.key]
            member = member.get(key.key, {}) if isinstance(member, dict) else member
        if member:
            np.testing.assert_allclose(norm(leaf), norm(start), rtol=1e-6)
            assert abs(norm(free) / norm(start) - 1) > 1e-3
        else:
            np.testing.assert_allclose(leaf, free, rtol=1e-5)
    own = state[-1] if constrains else state
    flags = ["b" in members, "w" in members]
    np.testing.assert_array_equal(own.member, flags)


def test_the_default_mask_of_the_constraint_is_everything():
    params = tree(0)
    got, _ = steps(optax.chain(optax.sgd(RATE), constrain()), params, gradients(2))
    for name in params:
        np.testing.assert_allclose(norm(got[name]), norm(params[name]), rtol=1e-6)


def test_params_may_hold_anything_where_there_is_no_gradient():
    """Equinox users pass the whole model, activation functions and all."""
    params, slopes = tree(0), gradients(1)[0]
    model = {**params, "activation": jax.nn.relu, "inner": {"n": 3}}
    filtered = {**params, "activation": None, "inner": None}
    slopes = {**slopes, "activation": None, "inner": None}
    masks = (
        {**MASK, "activation": False, "inner": False},
        lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree),
    )
    for mask in masks:
        optimizer = arsg_optax.adarem_s(RATE, sphere_mask=mask, radius=2.0)
        got, _ = optimizer.update(slopes, optimizer.init(filtered), model)
        expected, _ = optimizer.update(slopes, optimizer.init(filtered), filtered)
        assert got["activation"] is None
        assert_identical(got, expected)


def test_a_module_of_booleans_is_a_mask_and_not_called():
    equinox = pytest.importorskip("equinox")
    network = equinox.nn.MLP(2, 2, 3, 1, key=jax.random.key(0))
    params = equinox.filter(network, equinox.is_inexact_array)
    mask = jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    assert callable(mask)
    optimizer = slr(RATE, mask=mask)
    _, state = optimizer.update(params, optimizer.init(params), network)
    flags = [leaf.ndim > 1 for leaf in jax.tree.leaves(params)]
    np.testing.assert_array_equal(state.member, flags)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (None, "mask must name the leaves"),
        ({"w": True}, "mask must have the tree structure"),
        ((True, False), "mask must have the tree structure"),
        ({"b": 0, "w": 1}, r"mask must hold Python booleans, got 0; .*static_args"),
        (lambda params: {"b": None, "w": True}, "mask must have the tree structure"),
    ],
)
def test_wrong_masks(mask, message):
    params = tree(0)
    with pytest.raises(ValueError, match=message):
        optimizer = slr(RATE, mask=mask)
        optimizer.update(params, optimizer.init(params), params)


LINKS = {
    "constraint": lambda **changes: constrain(**changes),
    "rate": lambda **changes: slr(RATE, **{"mask": MASK, **changes}),
    "adarem_s": lambda **changes: arsg_optax.adarem_s(
        RATE, sphere_mask=matrices, radius=1.0
    ),
}


@pytest.mark.parametrize("name", LINKS)
def test_params_are_needed_and_must_fit(name):
    optimizer, params = LINKS[name](), tree(0)
    state = optimizer.init(params)
    with pytest.raises(ValueError, match="params must be given to update"):
        optimizer.update(params, state)
    with pytest.raises(ValueError, match="params must have the shape"):
        optimizer.update(params, state, {**params, "b": params["b"][:1]})
    alone = {"w": params["w"]}
    with pytest.raises(ValueError, match="call update with gradients of the param"):
        optimizer.update(alone, state, alone)


@pytest.mark.parametrize(
    "value", [0.0, -1.0, 1e-20, 1e30, np.nan, np.inf, np.float32(0)]
)
@pytest.mark.parametrize("name", ["constraint", "rate"])
def test_radii_out_of_range(name, value):
    stated = rf"^radius must be .*, got {re.escape(repr(value))}; None takes.+\."
    with pytest.raises(ValueError, match=stated):
        LINKS[name](radius=value)


@pytest.mark.parametrize("value", [True, "1", lambda count: 1.0])
def test_what_is_no_radius(value):
    with pytest.raises(ValueError, match="radius must be a number"):
        constrain(radius=value)


@pytest.mark.parametrize("name", ["constraint", "rate"])
def test_scopes(name):
    with pytest.raises(ValueError, match="scope must be 'leaf' or 'tree', got 'all'"):
        LINKS[name](scope="all")
    with pytest.raises(ValueError, match="scope must be 'leaf' or 'tree', got 'all'"):
        arsg_optax.adarem_s(RATE, sphere_mask=MASK, sphere_scope="all")


@pytest.mark.parametrize(
    ("argument", "value"), [("learning_rate", -1.0), ("weight_decay", -1.0)]
)
def test_rates_out_of_range(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be finite and at least 0"):
        slr(**{"learning_rate": RATE, "mask": True, argument: value})
