"""Sets of parameters on meshes, on abstract parameters and in map_params."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from arsg_optax import Box, HalfSpace, L2Ball
from arsg_optax.tuning._meshes import use_mesh
from tests.interop.meshes import LAYOUTS, SHAPES, make_mesh
from tests.interop.steps import (
    assert_close,
    assert_identical,
    tree,
)
from tests.interop.test_projection import KINDS, _arsg, _run, _sets


def _arrays(seed):
    rng = np.random.default_rng(seed)
    return {k: jnp.float32(rng.normal(size=shape)) for k, shape in SHAPES.items()}


def _mesh_sets():
    bounds = {"b": np.linspace(-1, 0, 16, dtype=np.float32), "w": -0.5}
    column = {"b": 0.5, "w": np.linspace(0, 1, 8, dtype=np.float32)[:, None]}
    return [Box(bounds, 0.5), L2Ball(3.0, column), HalfSpace(column, -2.0)]


@pytest.mark.parametrize(
    ("layout", "explicit"), [("rows", False), ("2-D", True)], ids=["rows", "explicit"]
)
@pytest.mark.parametrize("index", range(3))
def test_everything_lies_as_the_parameters(index, layout, explicit):
    optimizer, trees = _arsg(_mesh_sets()[index]), [_arrays(seed) for seed in (1, 2)]
    expected, _ = _run(optimizer, _arrays(0), trees)
    mesh = make_mesh(LAYOUTS[layout].mesh, explicit)
    with use_mesh(mesh):
        shardings = LAYOUTS[layout].shardings(mesh)
        placed = [jax.tree.map(jax.device_put, x, shardings) for x in trees]
        params = jax.tree.map(jax.device_put, _arrays(0), shardings)
        state = optimizer.init(params)
        got, after = _run(optimizer, params, placed, state)
        for found in (state, after, got):
            for path, leaf in jax.tree_util.tree_leaves_with_path(found):
                name = getattr(path[-1], "key", "")
                if leaf.shape == SHAPES.get(name):
                    assert leaf.sharding.is_equivalent_to(shardings[name], leaf.ndim)
    assert_close(got, expected)


@pytest.mark.parametrize("index", range(3))
def test_no_array_is_gathered(index):
    optimizer, layout = _arsg(_mesh_sets()[index]), LAYOUTS["2-D"]
    mesh = make_mesh(layout.mesh, explicit=False)
    with use_mesh(mesh):
        params = jax.tree.map(jax.device_put, _arrays(0), layout.shardings(mesh))
        arguments = params, optimizer.init(params), params
        compiled = jax.jit(optimizer.update).lower(*arguments).compile().as_text()
    assert compiled
    for moving in ("all-gather", "all-to-all", "collective-permute"):
        assert moving not in compiled


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("masked", [False, True])
def test_map_params_takes_trees_of_bounds_for_parameters(index, masked):
    optimizer, params = _arsg(_mesh_sets()[index]), _arrays(0)
    if masked:
        optimizer = optax.masked(optimizer, {"b": True, "w": True})
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
    by_shape = {SHAPES[name]: sharding for name, sharding in shardings.items()}
    for leaf, sharding in zip(
        jax.tree.leaves(state), jax.tree.leaves(placed), strict=True
    ):
        assert sharding == by_shape.get(leaf.shape, everywhere)


@pytest.mark.parametrize("kind", KINDS)
def test_init_on_abstract_parameters(kind):
    params = tree(0)
    optimizer = _arsg(_sets(params)[kind])
    abstract = jax.eval_shape(lambda: params)
    expected = optimizer.init(params)
    assert_identical(optimizer.init(abstract), expected)
    assert jax.eval_shape(optimizer.init, abstract) == jax.eval_shape(lambda: expected)
