"""Sums and maxima of whole arrays, also where `jax.shard_map` has split them.

Under `jit` an array is whole, whatever its sharding: nothing here does anything then.
Inside `jax.shard_map` each device sees its part, and only JAX's record of the mesh axes
along which a value varies says which arrays are split. A leaf is reduced over those of
its own axes that the caller names, and leaves are added up after that: a replicated
leaf would count several times otherwise.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

Axes = tuple[str, ...] | None


def as_axes(axis_name: Any) -> Axes:
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


def leaf_sum(leaf: jax.Array, axes: Axes) -> jax.Array:
    """The sum of all elements: () of the leaf's dtype."""
    return _over_devices(jax.lax.psum, jnp.sum(leaf), leaf, axes)


def leaf_max(leaf: jax.Array, axes: Axes) -> jax.Array:
    """The largest absolute value: () of the leaf's dtype, 0 of no elements."""
    return _over_devices(jax.lax.pmax, jnp.max(jnp.abs(leaf), initial=0), leaf, axes)


def leaf_size(leaf: jax.Array, axes: Axes) -> int:
    """The number of elements."""
    split = split_axes(leaf, axes)
    return leaf.size * (jax.lax.psum(1, split) if split else 1)


def tree_sum(leaves: Iterable[jax.Array], dtype: jnp.dtype, axes: Axes) -> jax.Array:
    """The sum of all leaves' elements: () of a dtype."""
    sums = (leaf_sum(leaf, axes).astype(dtype) for leaf in leaves)
    return sum(sums, jnp.zeros([], dtype))


def tree_max(leaves: Iterable[jax.Array], dtype: jnp.dtype, axes: Axes) -> jax.Array:
    """The largest absolute value of all leaves: () of a dtype, 0 of no elements."""
    maxima = [leaf_max(leaf, axes).astype(dtype) for leaf in leaves]
    return jnp.max(jnp.stack(maxima), initial=0) if maxima else jnp.zeros([], dtype)


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
    varying = _varying(leaf)
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


def _over_devices(
    reduce: Callable[..., Any], part: jax.Array, leaf: jax.Array, axes: Axes
) -> jax.Array:
    split = split_axes(leaf, axes)
    return reduce(part, split) if split else part


def _varying(value: Any) -> frozenset[str]:
    """The mesh axes along which a value varies, as far as JAX keeps a record."""
    kind: Any = jax.typeof(value)
    if hasattr(kind, "manual_axis_type"):
        return kind.manual_axis_type.varying
    return getattr(kind, "vma", frozenset())  # Its older name.


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
    if name not in _varying(index):
        raise ValueError(
            f"axis_name must name an axis of a jax.shard_map with check_vma=True, got "
            f"'{name}': without it, and under vmap and pmap, JAX does not know which "
            "arrays are split; switch check_vma on."
        )
