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
      Nothing below an `arsg_optax` state or a preconditioner's is walked.
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
            found.append(Found(len(found), path, parallel, node))
        own = type(node).__module__.startswith("arsg_optax.")
        if own or hasattr(node, "denominator"):
            return
        if isinstance(node, optax.transforms.PartitionState):
            parallel = (*parallel, len(path) + 1)
        for step, child in children:
            walk(child, path + step, parallel)

    walk(opt_state, (), ())
    return found


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
