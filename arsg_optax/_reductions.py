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
    """Checks an argument `axis_name`: None, a name or a sequence of names."""
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

    def dot(self, one: Sequence[jax.Array], other: Sequence[jax.Array]) -> jax.Array:
        """The sum of all products."""
        return self.sum([a * b for a, b in zip(one, other, strict=True)])

    def norm(self, leaves: Sequence[jax.Array]) -> jax.Array:
        """The root of the sum of squares."""
        return jnp.sqrt(self.dot(leaves, leaves))

    def max(self, leaves: Sequence[jax.Array]) -> jax.Array:
        """The largest absolute value; 0 if there are no elements."""
        pairs = zip(leaves, self.points, strict=True)
        maxima = [leaf_max(x, self.axes, y).astype(self.dtype) for x, y in pairs]
        zero = jnp.zeros([], self.dtype)
        return jnp.max(jnp.stack(maxima), initial=0) if maxima else zero

    def size(self) -> int:
        """The number of elements."""
        sizes = (_whole(x.size, x, self.axes, jax.lax.psum) for x in self.points)
        return sum(sizes)


def leaf_sum(leaf: jax.Array, axes: Axes, like: jax.Array | None = None) -> jax.Array:
    """The sum of all elements of a leaf that is split like another, or by itself."""
    like = leaf if like is None else like
    return _whole(jnp.sum(leaf), like, axes, jax.lax.psum)


def leaf_max(leaf: jax.Array, axes: Axes, like: jax.Array | None = None) -> jax.Array:
    """The largest absolute value of such a leaf; 0 if it has no elements."""
    like = leaf if like is None else like
    return _whole(jnp.max(jnp.abs(leaf), initial=0), like, axes, jax.lax.pmax)


def _whole(part: Any, leaf: jax.Array, axes: Axes, reduce: Any) -> Any:
    """A part's value reduced over those of the axes that split the leaf.

    Along any other axis each device is taken to hold a whole array of its own.
    """
    varying = varying_axes(leaf)
    if axes is None and varying:
        names = tuple(sorted(varying))
        raise ValueError(
            "axis_name must name the mesh axes over which arrays are reduced, got "
            f"None for one that varies along {names} inside shard_map; pass "
            f"axis_name={names} if they split it, axis_name=() if each device has "
            "a whole array of its own, or call this outside of shard_map."
        )
    for name in axes or ():
        if name not in varying:
            _check_tracked(name, varying)
    split = tuple(name for name in axes or () if name in varying)
    return reduce(part, split) if split else part


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
