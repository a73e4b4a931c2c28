"""Meshes of eight CPU devices that JAX 0.6 and today's JAX both make."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

DEVICES = 8


def make_mesh(shape: tuple[int, ...], explicit: bool) -> jax.sharding.Mesh:
    """A mesh with axes "x", "y"; the default of `axis_types` has changed in JAX."""
    kind = AxisType.Explicit if explicit else AxisType.Auto
    if jax.device_count() < DEVICES:
        pytest.skip(f"needs {DEVICES} devices")
    return jax.make_mesh(
        shape, ("x", "y")[: len(shape)], axis_types=(kind,) * len(shape)
    )


def shard_map(
    function: Callable[..., Any], check_vma: bool = True, **options: Any
) -> Callable[..., Any]:
    """`jax.shard_map`, which had another place and another argument in JAX 0.6.0."""
    if hasattr(jax, "shard_map"):
        return jax.shard_map(function, check_vma=check_vma, **options)
    from jax.experimental.shard_map import shard_map as older

    return older(function, check_rep=check_vma, **options)


class Layout(NamedTuple):
    """How the arrays of a small model lie on a mesh."""

    mesh: tuple[int, ...]
    specs: dict[str, PartitionSpec]

    def shardings(self, mesh: jax.sharding.Mesh) -> dict[str, NamedSharding]:
        return {name: NamedSharding(mesh, spec) for name, spec in self.specs.items()}


# Of arrays with these shapes.
SHAPES = {"b": (16,), "w": (8, 16)}
LAYOUTS = {
    "1-D": Layout((8,), {"b": PartitionSpec("x"), "w": PartitionSpec(None, "x")}),
    "rows": Layout((8,), {"b": PartitionSpec(), "w": PartitionSpec("x")}),
    "2-D": Layout((2, 4), {"b": PartitionSpec("y"), "w": PartitionSpec("x", "y")}),
    "both axes": Layout(
        (2, 4), {"b": PartitionSpec(("x", "y")), "w": PartitionSpec(None, ("x", "y"))}
    ),
    "replicated": Layout((8,), {"b": PartitionSpec(), "w": PartitionSpec()}),
}
