"""Inside `jax.shard_map` every optimizer does as on one device, or refuses."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import arsg_optax
from arsg_optax import Box, HalfSpace, L2Ball
from tests.interop.chains import matrices
from tests.interop.meshes import make_mesh, shard_map
from tests.interop.row import Row
from tests.interop.steps import assert_close
from tests.interop.table import TABLE, distinct, rows

AXES = ("x", "y")
SHAPES = {"a": (4,), "b": (16,), "w": (8, 16)}
MIXED = {"a": PartitionSpec(), "b": PartitionSpec("y"), "w": PartitionSpec(*AXES)}
REPLICATED = dict.fromkeys(SHAPES, PartitionSpec())
STEPS = 3

# The sets lie so that each step ends outside: what is not reduced goes to other points.
CENTER: dict[str, Any] = {
    "a": 0.2,
    "b": np.linspace(-1, 1, 16, dtype=np.float32),
    "w": np.linspace(0, 1, 8, dtype=np.float32)[:, None],
}
SETS = {
    "ball": L2Ball(1.5),
    "ball around": L2Ball(2.0, CENTER),
    "half-space": HalfSpace(1.0, -8.0),
    "half-space of arrays": HalfSpace(CENTER, -8.0),
    "box": Box(CENTER, 2.0),
}
CONSTRAINED: dict[str, Callable[..., optax.GradientTransformation]] = {
    **{
        name: functools.partial(arsg_optax.project, arsg_optax.arsg(0.05, b1=0.9), onto)
        for name, onto in SETS.items()
    },
    "ball, euclidean": functools.partial(
        arsg_optax.project, optax.rmsprop(0.05), L2Ball(1.5), metric="euclidean"
    ),
    "sphere": functools.partial(arsg_optax.constrain_to_sphere, mask=matrices),
    "one sphere": functools.partial(
        arsg_optax.constrain_to_sphere, scope="tree", radius=2.0
    ),
    "sphere learning rate": functools.partial(
        arsg_optax.scale_by_sphere_learning_rate, 0.1, mask=True, weight_decay=0.1
    ),
    "switch": functools.partial(arsg_optax.swnts, 0.02, switch_at=1),
}


def _arrays(seed, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name, shape in shapes.items()
    }


def _named(axis_name: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """The argument for those that take it."""
    named = "axis_name" in inspect.signature(function).parameters
    return {"axis_name": axis_name} if named else {}


def _specs(tree, specs):
    """Where moments and trees of a state lie: as the parameters of their name."""

    def spec(path, leaf):
        name = getattr(path[-1], "key", "") if path else ""
        alike = name in SHAPES and jnp.shape(leaf) == SHAPES[name]
        return specs[name] if alike else PartitionSpec()

    return jax.tree_util.tree_map_with_path(spec, tree)


def _train(optimizer, specs=None, extra=None):
    """Parameters, state and last updates of a few steps, inside shard_map or not."""
    update = optax.with_extra_args_support(optimizer).update

    def step(params, state, gradient):
        updates, state = update(gradient, state, params, **(extra or {}))
        return optax.apply_updates(params, updates), state, updates

    params = _arrays(0)
    state = optimizer.init(params)
    if specs is None:
        step = jax.jit(step)
    else:
        where = _specs(params, specs), _specs(state, specs), _specs(params, specs)
        mesh = make_mesh((2, 4), explicit=False)
        step = shard_map(step, mesh=mesh, in_specs=where, out_specs=where)
        # Said at once, as what comes back lies elsewhere and would compile it anew.
        shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), where)
        step = jax.jit(step, in_shardings=shardings)
    for seed in range(1, STEPS + 1):
        params, state, updates = step(params, state, _arrays(seed))
    return params, state, updates


@functools.cache
def _row_on_one_device(name):
    row = next(row for row in TABLE if row.name == name)
    return _train(row.make(), extra=row.extra_args(jnp.float32(1.0)))


@rows("shard_map")
def test_every_optimizer_is_that_of_one_device(row: Row):
    optimizer = row.make(**_named(AXES, row.factory))
    extra, specs = row.extra_args(jnp.float32(1.0)), MIXED
    if row.stores_bfloat16() or row.name == "orsg":  # It needs whole matrices.
        with pytest.raises(ValueError, match="shard_map"):
            _train(optimizer, MIXED, extra)
        specs = REPLICATED
    got = _train(optimizer, specs, extra)
    assert_close(got, _row_on_one_device(row.name), row.rounding)


@functools.cache
def _constraint_on_one_device(name):
    return _train(CONSTRAINED[name]())


@pytest.mark.parametrize("name", CONSTRAINED)
def test_every_constraint_is_that_of_one_device(name):
    got = _train(CONSTRAINED[name](axis_name=AXES), MIXED)
    assert_close(got, _constraint_on_one_device(name), 3e-6)


# One that sums over all leaves, one that sums over each, and one that does both.
@pytest.mark.parametrize("name", ["half-space", "sphere", "switch"])
def test_named_axes_along_which_nothing_is_split(name):
    got = _train(CONSTRAINED[name](axis_name=AXES), REPLICATED)
    assert_close(got, _constraint_on_one_device(name), 3e-6)


def _needs_a_name(row: Row) -> bool:
    return distinct(row) and bool(_named(None, row.factory))


@rows("shard_map", among=_needs_a_name)
def test_without_a_name_split_parameters_are_refused(row: Row):
    extra = row.extra_args(jnp.float32(1.0))
    with pytest.raises(ValueError, match=r"axis_name=\('y',\)|axis_name=\('x', 'y'\)"):
        _train(row.make(), MIXED, extra)
    got = _train(row.make(), REPLICATED, extra)
    assert_close(got, _row_on_one_device(row.name), row.rounding)


@pytest.mark.parametrize("name", CONSTRAINED)
def test_without_a_name_constraints_refuse_split_parameters(name):
    if name == "box":  # Its elements know nothing of each other.
        got = _train(CONSTRAINED[name](), MIXED)
        assert_close(got, _constraint_on_one_device(name))
        return
    with pytest.raises(ValueError, match=r"axis_name=\('y',\)|axis_name=\('x', 'y'\)"):
        _train(CONSTRAINED[name](), MIXED)


@pytest.mark.parametrize("name", ["ball", "one sphere", "switch"])
def test_a_loop_inside_is_the_loop_outside(name):
    """What is reduced stays replicated, as the carry of a scan has to."""
    optimizer = CONSTRAINED[name](axis_name=AXES)

    def loop(params, state):
        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(params, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), length=STEPS)[0]

    params = _arrays(0)
    start = params, optimizer.init(params)
    where = _specs(start[0], MIXED), _specs(start[1], MIXED)
    mesh = make_mesh((2, 4), explicit=False)
    inside = shard_map(loop, mesh=mesh, in_specs=where, out_specs=where)
    assert_close(jax.jit(inside)(*start), jax.jit(loop)(*start), 3e-6)


def test_a_split_leaf_that_is_on_no_sphere_needs_no_name():
    optimizer = arsg_optax.constrain_to_sphere(mask={"a": True, "b": False, "w": False})
    assert_close(_train(optimizer, MIXED), _train(optimizer))


# A set with numbers, which no device holds a part of.
@pytest.mark.parametrize("name", ["ball", *(n for n in CONSTRAINED if n not in SETS)])
def test_whole_parameters_that_differ_by_device(name):
    """With axis_name=() the devices are as many optimizers that know nothing else."""
    optimizer = CONSTRAINED[name](axis_name=())
    shapes = {name: (2, *shape) for name, shape in SHAPES.items()}
    params, gradient = _arrays(0, shapes), _arrays(1, shapes)
    state = jax.vmap(optimizer.init)(params)

    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    def on_this_device(*trees):
        alone = jax.tree.map(lambda leaf: leaf[0], trees)
        return jax.tree.map(lambda leaf: leaf[None], step(*alone))

    mesh, spec = make_mesh((2, 4), explicit=False), PartitionSpec("x")
    split = shard_map(on_this_device, mesh=mesh, in_specs=spec, out_specs=spec)
    split = jax.jit(split, in_shardings=NamedSharding(mesh, spec))
    whole = jax.jit(jax.vmap(step))
    got = expected = params, state
    for _ in range(2):
        got, expected = split(*got, gradient), whole(*expected, gradient)
    assert_close(got, expected, 3e-6)
