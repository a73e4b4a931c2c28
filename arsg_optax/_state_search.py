"""Finding transforms' states inside nested optimizer states."""

from collections import OrderedDict
from typing import Any, NamedTuple

import jax
import optax

_CONTAINERS = (tuple, list, dict, OrderedDict, type(None))


class Found(NamedTuple):
    """A state met on a depth-first walk, in the order in which links apply."""

    order: int
    path: tuple[Any, ...]
    # Lengths of the prefixes of `path` at which branches run side by side on
    # different leaves (optax.partition), not one after the other.
    parallel: tuple[int, ...]
    state: Any


def find_states(opt_state: optax.OptState) -> list[Found]:
    """All states below an optimizer state, the own ones and Optax's alike.

    Args:
      opt_state: any nesting of tuples, dictionaries and NamedTuples.

    Returns:
      Every NamedTuple and every other non-standard node, in order of application.
      Below an `arsg_optax` state only its `inner_state` is walked, below a
      preconditioner's nothing.
    """
    found: list[Found] = []

    def walk(node: Any, path: tuple[Any, ...], parallel: tuple[int, ...]) -> None:
        children, _ = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda child: child is not node
        )
        # An array is its own only child; Flax NNX wraps each one in a variable.
        if any(not step for step, _ in children) or hasattr(node, "__jax_array__"):
            return
        if type(node) not in _CONTAINERS:
            found.append(Found(len(found), path, parallel, _without_variables(node)))
        if hasattr(node, "denominator"):
            return
        if type(node).__module__.startswith("arsg_optax."):
            if hasattr(node, "inner_state"):
                key = jax.tree_util.GetAttrKey("inner_state")
                walk(node.inner_state, (*path, key), parallel)
            return
        if isinstance(node, optax.transforms.PartitionState):
            parallel = (*parallel, len(path) + 1)
        for step, child in children:
            walk(child, path + step, parallel)

    walk(opt_state, (), ())
    return found


def _without_variables(state: Any) -> Any:
    """The state with its lone arrays as arrays, where Flax NNX wraps each of them."""
    if not hasattr(state, "_fields"):
        return state
    wrapped = {
        name: jax.tree.leaves(value)[0]
        for name, value in zip(state._fields, state, strict=True)
        if hasattr(value, "__jax_array__")
    }
    return state._replace(**wrapped) if wrapped else state


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths, in their order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def contains(wrapper: Found, other: Found) -> bool:
    """Whether a state lies somewhere inside another one."""
    length = len(wrapper.path)
    return len(other.path) > length and other.path[:length] == wrapper.path


def shared_prefix(one: Found, other: Found) -> tuple[Any, ...]:
    """The part of their paths that two states share."""
    length = 0
    for a, b in zip(one.path, other.path, strict=False):
        if a != b:
            break
        length += 1
    return one.path[:length]


def follows(link: Found, earlier: Found) -> bool:
    """Whether a link applies after another one, to what that one returned."""
    branch = len(shared_prefix(link, earlier))
    return link.order > earlier.order and branch not in link.parallel
