"""State and updates lie where the parameters lie, on automatic and explicit meshes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import arsg_optax
from arsg_optax.tuning._meshes import use_mesh
from tests.interop.meshes import LAYOUTS, SHAPES, make_mesh
from tests.interop.row import Row
from tests.interop.steps import assert_close, assert_identical
from tests.interop.table import TABLE, rows

STEPS = 3
EXPLICIT = pytest.mark.parametrize(
    "explicit", [False, True], ids=["automatic", "explicit"]
)


def _arrays(seed):
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name, shape in SHAPES.items()
    }


def _place(arrays, shardings):
    return jax.tree.map(jax.device_put, arrays, shardings)


def _step(row, optimizer):
    @jax.jit
    def step(params, state, gradient):
        extra = row.extra_args(jnp.float32(1.0))
        updates, state = optimizer.update(gradient, state, params, **extra)
        params = optax.apply_updates(params, updates)
        return params, state, updates, arsg_optax.eval_params(state, params)

    return step


def _train(row, optimizer, shardings=None):
    def place(arrays):
        return arrays if shardings is None else _place(arrays, shardings)

    step, params = _step(row, optimizer), place(_arrays(0))
    state = optimizer.init(params)
    if shardings is not None:
        # Scalars lie on the mesh after a step, and the step would be compiled anew.
        everywhere = NamedSharding(shardings["w"].mesh, PartitionSpec())
        state = jax.tree.map(
            lambda leaf: leaf if leaf.ndim else jax.device_put(leaf, everywhere), state
        )
    for seed in range(1, STEPS + 1):
        params, state, updates, point = step(params, state, place(_arrays(seed)))
    return params, state, updates, point


@functools.cache
def _on_one_device(name):
    row = next(row for row in TABLE if row.name == name)
    return _train(row, row.make())


def _assert_sharded(tree, shardings):
    """Every leaf with a parameter's name lies as that parameter does."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = getattr(path[-1], "key", "")
        if name in shardings and leaf.shape == SHAPES[name]:
            assert leaf.sharding.is_equivalent_to(shardings[name], leaf.ndim), path


@EXPLICIT
@rows("sharding")
def test_everything_lies_as_the_parameters(row, explicit):
    optimizer, expected = row.make(), _on_one_device(row.name)
    mesh = make_mesh(LAYOUTS["2-D"].mesh, explicit)
    with use_mesh(mesh):
        shardings = LAYOUTS["2-D"].shardings(mesh)
        init = optimizer.init(_place(_arrays(0), shardings))
        _assert_sharded(init, shardings)
        got = _train(row, optimizer, shardings)
        _assert_sharded(got, shardings)
    assert_close(got, expected, row.rounding)


@rows("gathered")
def test_no_array_is_gathered(row):
    optimizer, layout = row.make(), LAYOUTS["2-D"]
    mesh = make_mesh(layout.mesh, explicit=False)
    with use_mesh(mesh):
        params = _place(_arrays(0), layout.shardings(mesh))
        arguments = params, optimizer.init(params), params
        compiled = _step(row, optimizer).lower(*arguments).compile().as_text()
    # Scalars may be reduced over the mesh, arrays may not move.
    assert compiled
    for moving in ("all-gather", "all-to-all", "collective-permute"):
        assert moving not in compiled


@EXPLICIT
@rows("sharding", among=Row.stores_bfloat16)
def test_rounding_to_bfloat16_does_not_depend_on_the_layout(row, explicit):
    optimizer = row.make()
    _, expected, *_ = _on_one_device(row.name)
    for layout in LAYOUTS.values():
        mesh = make_mesh(layout.mesh, explicit)
        with use_mesh(mesh):
            shardings = layout.shardings(mesh)
            _, state, *_ = _train(row, optimizer, shardings)
        assert_identical(state, expected)


@rows("abstract")
def test_init_on_abstract_parameters(row):
    optimizer, params = row.make(), _arrays(0)
    abstract = jax.eval_shape(lambda: params)
    expected = jax.eval_shape(lambda: optimizer.init(params))
    assert jax.eval_shape(optimizer.init, abstract) == expected
    concrete = optimizer.init(abstract)
    assert_identical(concrete, optimizer.init(params))


@EXPLICIT
@rows("abstract")
def test_init_on_abstract_parameters_keeps_shardings(row, explicit):
    layout, optimizer = LAYOUTS["2-D"], row.make()
    mesh = make_mesh(layout.mesh, explicit)
    with use_mesh(mesh):
        shardings = layout.shardings(mesh)
        abstract = {
            name: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=shardings[name])
            for name, shape in SHAPES.items()
        }
        _assert_sharded(optimizer.init(abstract), shardings)


@rows("map_params")
def test_map_params_builds_shardings(row):
    optimizer, params = row.make(), _arrays(0)
    layout = LAYOUTS["2-D"]
    mesh = make_mesh(layout.mesh, explicit=False)
    shardings = layout.shardings(mesh)
    everywhere = NamedSharding(mesh, PartitionSpec())
    state = optimizer.init(params)
    placed = optax.tree_utils.tree_map_params(
        optimizer,
        lambda _, sharding: sharding,
        state,
        shardings,
        transform_non_params=lambda _: everywhere,
    )
    assert jax.tree.structure(placed) == jax.tree.structure(state)
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(placed), strict=True
    )
    for (path, leaf), sharding in pairs:
        name = getattr(path[-1], "key", "")
        own = name in shardings and leaf.shape == SHAPES[name]
        assert sharding == (shardings[name] if own else everywhere), path


@pytest.mark.skipif(
    not hasattr(jax, "shard_map"), reason="JAX 0.6.0 keeps no record of what is split"
)
@pytest.mark.parametrize("name", ["mu_dtype", "nu_dtype"])
def test_narrow_states_are_refused_where_shard_map_splits_an_array(name):
    """There equal parts would be rounded with equal bits."""
    optimizer, mesh = (
        arsg_optax.arsg(0.1, **{name: jnp.bfloat16}),
        make_mesh((8,), False),
    )
    arrays = _arrays(0)
    state = optimizer.init(arrays)

    def update(spec):
        specs = {"b": jax.P(), "w": spec}
        whole = jax.tree.map(lambda x: spec if x.shape == (8, 16) else jax.P(), state)
        mapped = jax.shard_map(
            optimizer.update,
            mesh=mesh,
            in_specs=(specs, whole, specs),
            out_specs=(specs, whole),
        )
        return jax.jit(mapped)(arrays, state, arrays)

    with pytest.raises(
        ValueError, match=r"nu_dtype must not be bfloat16.*'x'.*float32"
    ):
        update(jax.P("x"))
    whole = jax.jit(optimizer.update)(arrays, state, arrays)
    assert_identical(update(jax.P()), whole)
