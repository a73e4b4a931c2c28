"""States inside states: what wraps what, and which leaves a tree has."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

STATE_FORMAT: int = 1
"""Of the optimizers' states, to be saved beside them and compared when they are read.

It is raised whenever a state's layout changes, or what a number in it means: a state of
another number may load and go on differently, without an error.
"""

_CONTAINERS = (tuple, list, dict, OrderedDict, type(None))
# The fields of this package's states that hold other states. The rest are arrays and
# trees shaped as the parameters, which must not be taken for states.
_OWN_INNER = ("links", "inner_state", "preconditioner_state", "link_state")
# Optax's wrappers that hand on the steps of the optimizer inside as they are.
_TRANSPARENT = {
    optax.ApplyIfFiniteState: "inner_state",
    optax.ConditionallyMaskState: "inner_state",
    optax.ConditionallyTransformState: "inner_state",
    optax.InjectHyperparamsState: "inner_state",
    optax.InjectStatefulHyperparamsState: "inner_state",
    optax.LookaheadState: "fast_state",
    optax.MaskedState: "inner_state",
    optax.MultiStepsState: "inner_opt_state",
}
Path = tuple[Any, ...]


class Found(NamedTuple):
    """A state, and the path to it."""

    path: Path
    state: Any


def find_states(opt_state: optax.OptState) -> list[Found]:
    """All states below an optimizer state, our own and Optax's, in order.

    These are NamedTuples and other non-standard nodes. In a state of `arsg_optax` only
    the fields that hold other states are searched.
    """
    found: list[Found] = []

    def walk(node: Any, path: Path) -> None:
        children, _ = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda child: child is not node
        )
        # An array is its own only child. Flax NNX wraps each array in a variable.
        if any(not step for step, _ in children) or hasattr(node, "__jax_array__"):
            return
        if type(node) not in _CONTAINERS:
            found.append(Found(path, without_variables(node)))
        if type(node).__module__.startswith("arsg_optax."):
            for name in _OWN_INNER:
                if hasattr(node, name):
                    key = jax.tree_util.GetAttrKey(name)
                    walk(getattr(node, name), (*path, key))
        elif not divides(node):
            for step, child in children:
                walk(child, path + step)

    walk(opt_state, ())
    return found


def outermost(found: list[Found]) -> list[Found]:
    """States without those inside a preconditioner that stands for them."""
    dividing = [each.path for each in found if divides(each.state)]
    return [
        each
        for each in found
        if all(each.path == path or each.path[: len(path)] != path for path in dividing)
    ]


def members(state: Any) -> list[tuple[Path, Any]] | None:
    """The states in a chain of Optax's, in their order; None for anything else."""
    if isinstance(state, Mapping):
        return [((jax.tree_util.DictKey(key),), each) for key, each in state.items()]
    if isinstance(state, (tuple, list)) and not hasattr(state, "_fields"):
        return [
            ((jax.tree_util.SequenceKey(index),), each)
            for index, each in enumerate(state)
        ]
    return None


def branches(state: Any) -> list[tuple[Path, Any]]:
    """What a wrapper holds that passes steps on as they are; empty for anything else.

    Wrappers are recognised by their types. :func:`optax.partition` has several
    branches, side by side on different leaves.
    """
    if isinstance(state, optax.PartitionState):
        start = jax.tree_util.GetAttrKey("inner_states")
        return [
            ((start, jax.tree_util.DictKey(label)), each)
            for label, each in state.inner_states.items()
        ]
    own = type(state).__module__.startswith("arsg_optax.")
    name = "inner_state" if own else _TRANSPARENT.get(type(state), "")
    if not hasattr(state, name):
        return []
    return [((jax.tree_util.GetAttrKey(name),), getattr(state, name))]


def divides(state: Any) -> bool:
    """Whether a state is that of a preconditioner: it has a method `denominator()`.

    Looked up on the type: a tree of parameters may have a field of that name.
    """
    return callable(getattr(type(state), "denominator", None))


def without_variables(state: Any) -> Any:
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


def real_leaves(tree: Any) -> dict[str, Any]:
    """The leaves that can be optimized, by path: whole models hold other ones too."""
    return {
        path: leaf
        for path, leaf in by_path(tree).items()
        if jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.floating)
    }


def replaced(tree: Any, leaves: dict[str, Any]) -> Any:
    """The tree with the given leaves, by path, in the places of its own."""

    def choose(path, leaf):
        return leaves.get(jax.tree_util.keystr(path), leaf)

    return jax.tree_util.tree_map_with_path(choose, tree)
