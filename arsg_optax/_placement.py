"""Where arrays lie: in a host's memory or a device's, whole or in parts."""

from typing import Any, TypeVar

import jax
from jax.core import Tracer

_Tree = TypeVar("_Tree")


def on_device(tree: _Tree) -> _Tree:
    """The tree with those of its arrays that lie in a host's memory moved from there.

    JAX computes with arrays of one memory only. Versions before `jax.memory` know no
    such arrays inside `jit`, and are left to refuse them.
    """
    if not hasattr(jax, "memory"):
        return tree

    def moved(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array):
            return leaf
        device = jax.memory.Space.Device
        space = jax.typeof(leaf).memory_space
        return leaf if space == device else jax.device_put(leaf, device)

    return jax.tree.map(moved, tree)


def laid_out_as(tree: _Tree, like: Any) -> _Tree:
    """The tree with its arrays laid out as another's; under `jit` the compiler chooses.

    Args:
        tree: of arrays.
        like: a tree of the same structure.
    """

    def moved(leaf: Any, other: Any) -> Any:
        concrete = all(
            isinstance(each, jax.Array) and not isinstance(each, Tracer)
            for each in (leaf, other)
        )
        if not concrete:
            return leaf
        same = leaf.sharding == other.sharding
        return leaf if same else jax.device_put(leaf, other.sharding)

    return jax.tree.map(moved, tree, like)
