"""Sums and maxima of arrays that `shard_map` has split, replicated or left alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from arsg_optax._reductions import Whole, as_axes, leaf_max, leaf_sum
from tests.interop.meshes import make_mesh, shard_map

BOTH = ("x", "y")
W, B = np.arange(-32.0, 0.0, dtype=np.float32).reshape(4, 8), np.ones(3, np.float32)


def _reduced(axis_name: Any, spec: PartitionSpec, out: Any = None, **options: Any):
    """Of a matrix that lies as `spec` says beside a replicated vector."""

    def reduce(w, b):
        whole = Whole([w, b], as_axes(axis_name), jnp.dtype(jnp.float32))
        total, largest = whole.sum([w, b]), whole.max([w, b])
        ones = [np.ones(w.shape, np.float32), np.ones(b.shape, np.float32)]
        sizes = jnp.stack([whole.sum(ones), jnp.float32(whole.size())])
        return jnp.append(jnp.stack([total, largest]), sizes)[None]

    mesh = make_mesh((2, 4), explicit=False)
    specs = {"in_specs": (spec, PartitionSpec()), "out_specs": out or PartitionSpec()}
    return jax.jit(shard_map(reduce, mesh=mesh, **specs, **options))(W, B)


@pytest.mark.parametrize(
    "spec",
    [
        PartitionSpec("x", "y"),
        PartitionSpec(None, BOTH),
        PartitionSpec("y"),
        PartitionSpec(),
    ],
)
def test_a_leaf_is_reduced_over_the_axes_that_split_it_alone(spec):
    np.testing.assert_array_equal(_reduced(BOTH, spec)[0], [np.sum(W) + 3, 32, 35, 35])


def test_whole_arrays_that_differ_by_device_are_not_reduced():
    got = _reduced((), PartitionSpec("x"), out=PartitionSpec("x"))
    for part, half in zip(got, np.split(W, 2), strict=True):
        expected = [np.sum(half) + 3, -np.min(half), 19, 19]
        np.testing.assert_array_equal(part, expected)


def test_along_an_axis_without_a_name_arrays_differ():
    got = _reduced("y", PartitionSpec("x", "y"), out=PartitionSpec("x"))
    np.testing.assert_array_equal(got[:, 0], np.sum(W.reshape(2, -1), axis=1) + 3)


def test_without_a_name_a_split_array_is_refused():
    with pytest.raises(ValueError, match=r"axis_name.*\('x', 'y'\).*axis_name=\(\)"):
        _reduced(None, PartitionSpec("x", "y"))


def test_a_name_that_no_axis_has_is_refused():
    with pytest.raises(ValueError, match=r"axis_name must name axes.*'model'"):
        _reduced("model", PartitionSpec("x"))


def test_where_jax_keeps_no_record_a_name_is_refused():
    with pytest.raises(ValueError, match="check_vma=True, got 'x'"):
        _reduced("x", PartitionSpec("x"), check_vma=False)
    with pytest.raises(ValueError, match="check_vma=True, got 'x'"):
        jax.vmap(lambda w: leaf_sum(w, ("x",)), axis_name="x")(jnp.ones((2, 3)))


@pytest.mark.parametrize("axes", [None, (), ("x",)])
def test_outside_of_shard_map_arrays_are_whole(axes):
    np.testing.assert_array_equal(leaf_sum(jnp.asarray(W), axes), np.sum(W))
    np.testing.assert_array_equal(leaf_max(jnp.asarray(W), axes), 32)
    np.testing.assert_array_equal(leaf_max(jnp.zeros(0), axes), 0)
    np.testing.assert_array_equal(Whole([], axes, np.dtype(np.float32)).max([]), 0)


@pytest.mark.parametrize("axis_name", [3, ("x", 1), jnp.ones(2), {"x"}])
def test_what_is_no_name(axis_name):
    with pytest.raises(ValueError, match="axis_name must be None, the name"):
        as_axes(axis_name)
