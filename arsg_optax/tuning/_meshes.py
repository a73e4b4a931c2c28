"""JAX's functions for meshes, by the names that they have in each allowed version."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax


def use_mesh(mesh: jax.sharding.Mesh) -> AbstractContextManager[Any]:
    """Makes a mesh the current one; JAX 0.6.0 calls it `jax.sharding.use_mesh`."""
    enter = getattr(jax, "set_mesh", None) or jax.sharding.use_mesh  # pyright: ignore
    return enter(mesh)


def shard_map(
    function: Callable[..., Any], mesh: jax.sharding.Mesh, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """Maps over the shards of a mesh, unchecked; JAX 0.6.0 has it as an experiment."""
    specs = {"in_specs": in_specs, "out_specs": out_specs}
    if hasattr(jax, "shard_map"):
        return jax.shard_map(function, mesh=mesh, check_vma=False, **specs)
    from jax.experimental.shard_map import shard_map as experimental

    return experimental(function, mesh=mesh, check_rep=False, **specs)
