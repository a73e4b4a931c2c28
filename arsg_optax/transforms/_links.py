"""What a link of `remote_chain` does to a step, as its state declares.

A state that divides has a method `denominator()`. One whose factors stay around 1 has
the class attribute `elementwise`, one that makes a direction of what it gets (a sign,
an orthogonalisation) has `makes_direction`. What declares nothing is refused.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import optax

from arsg_optax._precision import product
from arsg_optax._states import (
    Path,
    branches,
    by_path,
    divides,
    members,
    without_variables,
)
from arsg_optax.transforms._second_moment import divide

# The wrappers of Optax that a link may stand in.
_AROUND_LINKS = (
    optax.MaskedState,
    optax.PartitionState,
    optax.InjectHyperparamsState,
    optax.InjectStatefulHyperparamsState,
)


def _declared(states: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The states of single links inside chains, masks and partitions."""
    inside = members(states)
    if inside is None and isinstance(states, _AROUND_LINKS):
        inside = branches(states)
    if not inside and (path or inside is None):
        yield path, without_variables(states)  # An empty tuple declares nothing.
    for step, state in inside or ():
        yield from _declared(state, path + step)


def _says(state: Any, name: str) -> bool:
    return bool(getattr(type(state), name, False))


def check_links(states: tuple[Any, ...]) -> None:
    """Refuses links that do not say what they do to a step."""
    declarations = ("elementwise", "makes_direction")
    for path, state in _declared(states):
        if divides(state) or any(_says(state, name) for name in declarations):
            continue
        raise ValueError(
            "links must say what they do to a step, got "
            f"{type(state).__name__} at links{jax.tree_util.keystr(path)}; use a link "
            "of arsg_optax, give the state a method denominator() that returns what "
            "the link divides by, or wrap a link whose factors stay around 1 in "
            "arsg_optax.declare_elementwise. Put clipping in front of remote_chain and "
            "a constant factor into its learning_rate. A preconditioner of Optax "
            "averages squares of what reaches it, here a momentum: take "
            "arsg_optax.scale_by_adam_rms and its like, which read the gradient."
        )


def apply(links: Any, states: tuple, updates: Any, params: Any, extra: dict) -> Any:
    """What the links make of updates, one after the other, and their states."""
    new_states = []
    for link, state in zip(links, states, strict=True):
        updates, state = link.update(updates, state, params, **extra)
        new_states.append(state)
    return updates, tuple(new_states)


def can_be_recomputed(states: tuple[Any, ...]) -> bool:
    """Whether the states alone say what the links make of the momentum."""
    for _, state in _declared(states):
        if not divides(state) or _says(state, "elementwise"):
            return False
        # A link around others, such as a switch, may do more than divide.
        inner = getattr(state, "preconditioner_state", None)
        if inner is not None and not can_be_recomputed((inner,)):
            return False
    return True


def make_direction(states: tuple[Any, ...]) -> bool:
    """Whether one of the links makes a direction of what it gets."""
    return any(_says(state, "makes_direction") for _, state in _declared(states))


def denominators(states: Any) -> list[optax.Updates]:
    """What the links divide by: trees shaped as the parameters, or parts of them."""
    found = (state for _, state in _declared(states))
    return [state.denominator() for state in found if divides(state)]


def divided(updates: optax.Updates, states: Any) -> optax.Updates:
    """Updates over all denominators of the links, where these have leaves."""
    for tree in denominators(states):
        if jax.tree.structure(tree) == jax.tree.structure(updates):
            updates = divide(updates, tree)
            continue
        known = by_path(tree)
        unknown = known.keys() - by_path(updates).keys()
        if unknown:
            raise ValueError(
                "denominator() must return a tree shaped as the parameters, or a part "
                f"of one, got a leaf at '{min(unknown)}', where the parameters have "
                "none; return what jax.tree.map makes of a moment in the state."
            )

        def over(path, update, known=known):
            divisor = known.get(jax.tree_util.keystr(path))
            return update if divisor is None else divide(update, divisor)

        updates = jax.tree_util.tree_map_with_path(over, updates)
    return updates


def known_denominator(state: optax.OptState) -> optax.Updates:
    """The product of all denominators in a link's state, shaped as the parameters."""
    check_links((state,))
    trees = denominators(state)
    if not trees:
        raise ValueError(
            "preconditioner must have a state with a method denominator(), got "
            f"{type(state).__name__}; use a preconditioner of arsg_optax."
        )

    return functools.reduce(lambda a, b: jax.tree.map(product, a, b), trees)
