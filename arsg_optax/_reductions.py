"""Sums and maxima of whole arrays, also where `jax.shard_map` has split them.

Under `jit` an array is whole, whatever its sharding: nothing here does anything then.
Inside `jax.shard_map` each device sees a part, and only JAX's record of the mesh axes
along which a value varies says which arrays are split. A leaf is reduced over those of
its own axes that the caller names, and leaves are added up after that: a replicated
leaf would count several times otherwise.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from arsg_optax._trees import varying_axes

AxisName = str | Sequence[str] | None
Axes = tuple[str, ...] | None


def as_axes(axis_name: AxisName) -> Axes:
    """Checks an argument `axis_name`: None, a name or a sequence of names.

    Raises:
      ValueError: if it is anything else.
    """
    if axis_name is None:
        return None
    names = (axis_name,) if isinstance(axis_name, str) else axis_name
    if isinstance(names, (tuple, list)) and all(isinstance(n, str) for n in names):
        return tuple(names)
    raise ValueError(
        "axis_name must be None, the name of a mesh axis or a tuple of such names, got "
        f"{axis_name!r}; pass for example axis_name='model', or () where nothing is "
        "split."
    )


class Whole(NamedTuple):
    """Reductions of trees over all elements, on whatever devices they are."""

    # The tree's leaves. Their records say how it is split, not those of what is made
    # of them: JAX 0.6 takes zeros_like of a split array for a replicated one.
    points: Sequence[jax.Array]
    axes: Axes
    dtype: jnp.dtype  # Of the results, which are () arrays.

    def sum(self, leaves: Sequence[jax.Array]) -> jax.Array:
        """The sum of all elements of leaves that are shaped as the points."""
        pairs = zip(leaves, self.points, strict=True)
        sums = (leaf_sum(x, self.axes, y).astype(self.dtype) for x, y in pairs)
        return sum(sums, jnp.zeros([], self.dtype))

    def norm(self, leaves: Sequence[jax.Array]) -> jax.Array:
        """The root of the sum of squares."""
        return jnp.sqrt(self.sum([leaf * leaf for leaf in leaves]))

    def max(self, leaves: Sequence[jax.Array]) -> jax.Array:
        """The largest absolute value; 0 of no elements."""
        pairs = zip(leaves, self.points, strict=True)
        maxima = [leaf_max(x, self.axes, y).astype(self.dtype) for x, y in pairs]
        zero = jnp.zeros([], self.dtype)
        return jnp.max(jnp.stack(maxima), initial=0) if maxima else zero

    def size(self) -> int:
        """The number of elements."""
        return sum(leaf_size(point, self.axes) for point in self.points)


def leaf_sum(leaf: jax.Array, axes: Axes, like: jax.Array | None = None) -> jax.Array:
    """The sum of all elements: () of the leaf's dtype.

    Args:
      leaf: an array, or a part of one.
      axes: from :func:`as_axes`.
      like: an array that is split in the same way, by default the leaf itself.
    """
    split = split_axes(leaf if like is None else like, axes)
    part = jnp.sum(leaf)
    return jax.lax.psum(part, split) if split else part


def leaf_max(leaf: jax.Array, axes: Axes, like: jax.Array | None = None) -> jax.Array:
    """The largest absolute value, 0 of no elements; arguments as in `leaf_sum`."""
    split = split_axes(leaf if like is None else like, axes)
    part = jnp.max(jnp.abs(leaf), initial=0)
    return jax.lax.pmax(part, split) if split else part


def leaf_size(leaf: jax.Array, axes: Axes) -> int:
    """The number of elements of the whole array."""
    split = split_axes(leaf, axes)
    return leaf.size * (jax.lax.psum(1, split) if split else 1)


def split_axes(leaf: Any, axes: Axes) -> tuple[str, ...]:
    """The mesh axes over which a reduction of a leaf has to go on.

    Args:
      leaf: an array, or a part of one.
      axes: from :func:`as_axes`. A leaf may vary along axes that are not among them:
        there each device is taken to hold a whole array of its own.

    Raises:
      ValueError: if the leaf varies and `axes` is None, or if JAX does not know whether
        it varies along one of `axes`, or not by that name.
    """
    varying = varying_axes(leaf)
    if axes is None:
        if varying:
            names = tuple(sorted(varying))
            raise ValueError(
                "axis_name must name the mesh axes over which arrays are reduced, got "
                f"None for one that varies along {names} inside shard_map; pass "
                f"axis_name={names} if they split it, axis_name=() if each device has "
                "a whole array of its own, or call this outside of shard_map."
            )
        return ()
    for name in axes:
        if name not in varying:
            _check_tracked(name, varying)
    return tuple(name for name in axes if name in varying)


def _check_tracked(name: str, varying: frozenset[str]) -> None:
    """Refuses a name along which a leaf does not vary, if that cannot be believed."""
    try:
        index = jax.lax.axis_index(name)
    except NameError:
        if not varying:
            return  # Not inside of shard_map.
        raise ValueError(
            f"axis_name must name axes of the mesh, got '{name}' for an array that "
            f"varies along {tuple(sorted(varying))}; pass the axes that split it."
        ) from None
    if name not in varying_axes(index):
        raise ValueError(
            f"axis_name must name an axis of a jax.shard_map with check_vma=True, got "
            f"'{name}': without it, and under vmap and pmap, JAX does not know which "
            "arrays are split; switch check_vma on."
        )
