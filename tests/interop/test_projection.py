"""Projected optimizers inside and around Optax's wrappers, and on meshes."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import Box, HalfSpace, L2Ball, project
from tests.interop.steps import (
    assert_close,
    assert_finite,
    assert_identical,
    gradients,
    signature,
    tree,
)

BOUNDS: dict[str, Any] = {"b": np.full(3, 0.05, np.float32), "w": 0.1}


def _sets(params):
    """One set of each kind that small updates leave, with numbers and with trees."""
    ones = jax.tree.map(np.ones_like, params)
    size = sum(float(jnp.sum(p**2)) for p in jax.tree.leaves(params)) ** 0.5
    total = sum(float(jnp.sum(p)) for p in jax.tree.leaves(params))
    return {
        "box": Box(-0.5, 0.5),
        "half a box": Box(None, 0.3),
        "boxes": Box(jax.tree.map(lambda p: p - 0.02, params), 2.0),
        "ball": L2Ball(0.9 * size),
        "ball around": L2Ball(0.5, ones),
        "half-space": HalfSpace(ones, total - 1.0),
        "sum": HalfSpace(1.0, total - 1.0),
    }


KINDS = list(_sets(tree(0)))
# One a class: what wraps an optimizer never sees how a set's numbers are given.
CLASSES = ["boxes", "ball around", "half-space"]


def _arsg(onto, rate=0.05):
    return project(arsg_optax.arsg(rate, b1=0.9), onto)


def _steps(optimizer, params, trees):
    """Parameters and state after steps with each of the gradients."""

    def step(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, stacked, length=len(trees))[0]


def _run(optimizer, params, trees, state=None):
    """The same in a loop; one update compiles faster than a scan of them."""
    update = jax.jit(optimizer.update)
    state = optimizer.init(params) if state is None else state
    for gradient in trees:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("kind", [*CLASSES, "half a box"])
def test_masked_leaves_leave_the_set(kind):
    """Bounds of leaves that are masked away are dropped, whole subtrees included."""
    params, trees = tree(0), gradients(3)
    onto = _sets(params)[kind]
    masked = optax.masked(_arsg(onto), {"b": False, "w": True})
    got, _ = _run(masked, params, trees)
    only = [{"w": each["w"]} for each in (params, *trees)]
    fields = {
        name: {"w": field["w"]} if isinstance(field, dict) else field
        for name, field in onto._asdict().items()
    }
    expected, _ = _run(_arsg(type(onto)(**fields)), only[0], only[1:])
    assert_close(got["w"], expected["w"])
    np.testing.assert_allclose(
        got["b"], params["b"] + sum(each["b"] for each in trees), rtol=1e-6
    )


def test_a_mask_may_name_whole_subtrees():
    params = {"one": {"a": jnp.ones(2), "b": jnp.ones(3)}, "two": jnp.ones(2)}
    upper = {"one": {"a": 0.5, "b": 0.5}, "two": 0.25}
    optimizer = optax.masked(
        project(optax.sgd(0.1), Box(None, upper)), {"one": False, "two": True}
    )
    got, _ = _run(optimizer, params, [jax.tree.map(jnp.zeros_like, params)])
    np.testing.assert_array_equal(got["two"], 0.25)
    np.testing.assert_array_equal(got["one"]["a"], 1.0)


def test_partition_constrains_each_part_by_its_own_set():
    params, trees = tree(0), gradients(4)
    boxes = Box({"b": 0.2, "w": -0.2}, None)
    parts: Any = {"box": _arsg(boxes), "ball": _arsg(L2Ball(0.5))}
    got, _ = _run(optax.partition(parts, {"b": "box", "w": "ball"}), params, trees)
    own = [{"w": each["w"]} for each in (params, *trees)]
    assert_close(got["w"], _run(_arsg(L2Ball(0.5)), own[0], own[1:])[0]["w"])
    own = [{"b": each["b"]} for each in (params, *trees)]
    expected, _ = _run(_arsg(Box(0.2, None)), own[0], own[1:])
    assert_close(got["b"], expected["b"])
    free, _ = _run(arsg_optax.arsg(0.05, b1=0.9), params, trees)
    assert jnp.any(jnp.abs(free["b"] - got["b"]) > 0.1)


@pytest.mark.parametrize("make", [arsg_optax.arsg, arsg_optax.adarem])
@pytest.mark.parametrize("kind", ["ball around", "half-space"])  # A box has no metric.
def test_metric_of_masked_and_of_partitioned_statistics(kind, make):
    """Leaves with an optimizer of their own keep its metric, the others have none."""
    params, trees = tree(0), gradients(4)
    onto, rates = _sets(params)[kind], {"one": make(0.05), "two": make(0.05)}
    split = optax.partition(rates, {"b": "one", "w": "two"})
    if make is arsg_optax.adarem:  # The maximum of the momentum is then a leaf's.
        make = functools.partial(make, scope="leaf")
    expected, _ = _run(project(make(0.05), onto), params, trees)
    assert_close(_run(project(split, onto), params, trees)[0], expected)


def test_multi_steps_around(relaxed_promotion):
    params, trees = tree(0), gradients(4)
    means = [
        jax.tree.map(lambda a, b: (a + b) / 2, *trees[index : index + 2])
        for index in (0, 2)
    ]
    makes = (arsg_optax.arsg, arsg_optax.arsg, arsg_optax.adarem)
    for kind, make in zip(CLASSES, makes, strict=True):
        onto = _sets(params)[kind]
        wrapped = optax.MultiSteps(project(make(0.05), onto), 2)
        got, _ = _run(wrapped.gradient_transformation(), params, trees)
        assert_close(got, _run(project(make(0.05), onto), params, means)[0])


def test_multi_steps_inside_keeps_feasible_parameters_in_between(relaxed_promotion):
    for make in (arsg_optax.arsg, arsg_optax.adarem):
        optimizer = project(optax.MultiSteps(make(0.05), 2), L2Ball(100.0))
        params, state = tree(0), optimizer.init(tree(0))
        updates, state = optimizer.update(gradients(1)[0], state, params)
        assert_identical(updates, jax.tree.map(jnp.zeros_like, params))


def test_apply_if_finite_keeps_the_set_too():
    params, trees = tree(0), gradients(2)
    broken = jax.tree.map(lambda g: g.at[0].set(jnp.nan), trees[0])
    for onto in map(_sets(params).get, CLASSES):
        optimizer = optax.apply_if_finite(_arsg(onto), 3)
        got, _ = _run(optimizer, params, [trees[0], broken, trees[1]])
        assert_close(got, _run(_arsg(onto), params, trees)[0])


def test_injected_hyperparameters_inside():
    params, trees = tree(0), gradients(3)
    for onto in map(_sets(params).get, CLASSES):
        inner = optax.inject_hyperparams(arsg_optax.arsg)(0.05, b1=0.9)
        got, state = _run(project(inner, onto), params, trees)
        assert_close(got, _run(_arsg(onto), params, trees)[0], 1e-4)
        assert state.inner_state.hyperparams["learning_rate"] == jnp.float32(0.05)


def test_injected_and_scheduled_sets():
    """Numbers and arrays of a set may be hyper-parameters: traced at every update."""
    params, trees = tree(0)["w"], [each["w"] for each in gradients(4)]

    def shrinking(radius, center):
        return _arsg(L2Ball(radius, center))

    factory = optax.inject_hyperparams(shrinking)
    center = jnp.full((2, 3), 0.1)
    optimizer = factory(lambda count: 2.0 / jnp.float32(1 + count), center)
    before = signature(optimizer.init(params))
    got, state = _run(optimizer, params, trees)
    assert signature(state) == before
    assert jnp.linalg.norm(got - center) <= 0.5 * (1 + 1e-6)
    assert state.inner_state.onto.radius == 0.5
    np.testing.assert_array_equal(state.inner_state.onto.center, center)


@pytest.mark.parametrize("kind", CLASSES)
def test_jit_scan_and_loop_agree_without_recompiling(kind):
    params, trees = tree(0), gradients(4)
    optimizer, traces = _arsg(_sets(params)[kind]), []

    @jax.jit
    def step(carry, gradient):
        traces.append(None)
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    carry = params, optimizer.init(params)
    before = signature(carry)
    for gradient in trees:
        carry, _ = step(carry, gradient)
    assert signature(carry) == before
    assert len(traces) == 1
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    start = params, optimizer.init(params)
    assert_close(jax.lax.scan(step, start, stacked)[0][0], carry[0])
    with jax.disable_jit():
        updates, _ = optimizer.update(trees[0], optimizer.init(params), params)
    assert_close(updates, jax.jit(optimizer.update)(trees[0], start[1], params)[0])


def test_vmap_over_radii_and_rates():
    params, trees = tree(0), gradients(3)

    def train(radius, rate):
        return _run(_arsg(L2Ball(radius), rate), params, trees)[0]

    radii, rates = jnp.array([0.5, 1.0, 50.0]), jnp.array([0.01, 0.1, 0.05])
    got = jax.vmap(train)(radii, rates)
    for index in range(3):
        expected = train(radii[index], rates[index])
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], got), expected)


@pytest.mark.parametrize("kind", CLASSES)
def test_donation_leaves_the_callers_arrays(kind):
    params = tree(0)
    onto = jax.tree.map(jnp.asarray, _sets(params)[kind])
    optimizer = _arsg(onto)
    state = optimizer.init(params)
    step = jax.jit(optimizer.update, donate_argnums=1)
    for gradient in gradients(2):
        _, state = step(gradient, state, params)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((onto, params)))
    _, later = _run(optimizer, params, gradients(1))
    jax.jit(lambda both: both, donate_argnums=0)((params, later))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_are_stable(kind, dtype):
    _check_dtypes(kind, dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_are_stable_in_float64(x64, kind):
    for dtype in (jnp.float32, jnp.float64):
        _check_dtypes(kind, dtype)


def _check_dtypes(kind, dtype):
    params = tree(0, dtype)
    optimizer = _arsg(_sets(tree(0))[kind])
    state = optimizer.init(params)
    gradient = gradients(1, dtype)[0]
    updates, after = jax.eval_shape(optimizer.update, gradient, state, params)
    assert signature(after) == signature(state)
    assert signature(updates) == signature(params)
    assert not any(weak for _, _, weak in signature(state))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"empty": jnp.zeros((0, 3)), "w": jnp.ones(2)},
        {"empty": jnp.zeros(0)},
        jnp.float32(2.0),
        jnp.zeros(()),
        {"w": jnp.zeros((2, 3))},
    ],
    ids=["no leaf", "empty array", "only empty", "scalar", "zero scalar", "zeros"],
)
def test_edges_hold_no_nan(params):
    ones, zeros = (jax.tree.map(f, params) for f in (jnp.ones_like, jnp.zeros_like))
    sets = [Box(-0.5, 0.5), L2Ball(0.5), L2Ball(0.0), HalfSpace(1.0, -1.0)]
    cases = [*itertools.product(sets, (arsg_optax.arsg, arsg_optax.adarem))]
    cases += [(onto, arsg_optax.arsg) for onto in (Box(ones, ones), L2Ball(0.5, ones))]

    @jax.jit
    def run(params, trees):
        found = []
        for onto, make in cases:
            after, state = _steps(project(make(0.1), onto), params, trees)
            found.append((after, arsg_optax.eval_params(state, after)))
        return found

    assert_finite(run(params, [zeros, ones, zeros]))
    rests, _ = _run(_arsg(L2Ball(100.0)), params, [zeros])
    assert_identical(rests, params)


def test_none_leaves_and_what_stands_beside_them():
    params, trees = tree(0), gradients(3)
    expected, _ = _run(_arsg(Box(BOUNDS, None)), params, trees)
    bounds = {**BOUNDS, "f": None}
    optimizer = _arsg(Box(bounds, None))
    state = optimizer.init({**params, "f": None})
    for gradient in trees:
        whole = {**params, "f": jax.nn.relu}  # As Equinox's models.
        updates, state = optimizer.update({**gradient, "f": None}, state, whole)
        assert updates.pop("f") is None
        params = optax.apply_updates(params, updates)
    assert_close(params, expected)


def test_a_leaf_without_a_bound():
    params = {"b": jnp.full(3, 9.0), "w": jnp.full((2, 3), 9.0)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    got, _ = _run(
        project(optax.sgd(0.1), Box(None, {"b": None, "w": 1})), params, [zeros]
    )
    np.testing.assert_array_equal(got["b"], 9.0)
    np.testing.assert_array_equal(got["w"], 1.0)


def test_eval_params_lies_in_the_set():
    params, trees = tree(0), gradients(3)
    for onto in (Box(-0.3, 0.3), L2Ball(0.4), L2Ball(0.4, BOUNDS), HalfSpace(1.0, -2)):
        optimizer = project(arsg_optax.arsg(0.05, b1=0.99), onto)
        params, state = _run(optimizer, tree(0), trees)
        point: Any = arsg_optax.eval_params(state, params)
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(point)])
        if isinstance(onto, Box):
            assert jnp.max(jnp.abs(flat)) <= jnp.float32(0.3)
        elif isinstance(onto, HalfSpace):
            assert jnp.sum(flat) <= -2 + 1e-5
        else:
            center = 0.0 if onto.center is None else 0.1
            w = jnp.sum((point["w"] - center) ** 2)
            b = jnp.sum((point["b"] - center / 2) ** 2)
            assert jnp.sqrt(w + b) <= 0.4 * (1 + 1e-5)
        moved = jnp.max(jnp.abs(point["w"] - params["w"]))
        assert moved > 1e-3
