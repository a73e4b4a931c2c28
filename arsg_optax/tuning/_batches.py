"""Which batch a step sees: arrays gone through over and over, or a user's function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Batches(NamedTuple):
    """Batches as a function of seed and step.

    Attributes:
      arrays: leaves that a compiled function is given, so that it holds no data.
      at: `at(arrays, seed, step)`, traceable; seed is uint32 (), step int32 ().
    """

    arrays: Any
    at: Callable[[Any, jax.Array, jax.Array], Any]


def make_batches(batches: Any) -> Batches:
    """The batches that a user's argument describes.

    Args:
      batches: tree of arrays with one leading axis of batches, or a callable
        `(seed, step) -> batch`, which may be a tree, as `jax.tree_util.Partial` is.

    Raises:
      ValueError: if there is no array, no batch, or the leading axes differ.
    """
    return _of_function(batches) if callable(batches) else _of_arrays(batches)


def count_batches(batches: Any) -> int:
    """Length of the leading axis of a tree of arrays, checked."""
    leaves = jax.tree_util.tree_leaves_with_path(batches)
    if not leaves:
        raise ValueError(
            f"batches must hold arrays, got {batches!r}; stack the batches."
        )
    counts = {}
    for path, leaf in leaves:
        shape = np.shape(leaf)
        if not shape or not shape[0]:
            raise ValueError(
                f"batches must have a leading axis of batches, got shape {shape} at "
                f"'{jax.tree_util.keystr(path)}'; stack them, a single one as "
                "array[None]."
            )
        counts[jax.tree_util.keystr(path)] = shape[0]
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"batches must have leading axes of one length, got {counts}; the first "
            "axis counts batches."
        )
    return next(iter(counts.values()))


def _of_arrays(batches: Any) -> Batches:
    count = count_batches(batches)

    def at(arrays: Any, seed: jax.Array, step: jax.Array) -> Any:
        turn, position = step // count, step % count
        key = jax.random.fold_in(jax.random.key(seed), turn)
        shuffled = jax.random.permutation(key, count)[position]
        row = jnp.where(seed == 0, position, shuffled.astype(position.dtype))
        return jax.tree.map(
            lambda array: jax.lax.dynamic_index_in_dim(array, row, keepdims=False),
            arrays,
        )

    return Batches(jax.tree.map(jnp.asarray, batches), at)


def _of_function(function: Callable[..., Any]) -> Batches:
    leaves, structure = jax.tree.flatten(function)
    held = [isinstance(leaf, (jax.Array, np.ndarray)) for leaf in leaves]
    arrays = [leaf for leaf, is_array in zip(leaves, held, strict=True) if is_array]

    def at(arrays: Any, seed: jax.Array, step: jax.Array) -> Any:
        given = iter(arrays)
        whole = [
            next(given) if is_array else leaf
            for leaf, is_array in zip(leaves, held, strict=True)
        ]
        return jax.tree.unflatten(structure, whole)(seed, step)

    return Batches([jnp.asarray(array) for array in arrays], at)
