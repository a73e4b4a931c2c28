"""From an optimizer's state to its iterate, through wrappers that leave steps alone.

A state with methods `observed()` and `iterate(params)` owns an observation point. A
state with a method `constrain(point, held, moved)` keeps parameters in a set or on a
sphere. A state with the class attribute `changes_nothing` hands updates on as they are.
Whatever else stands around such a state, or behind it, may rescale its steps and is
refused.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from arsg_optax._precision import compute_dtype
from arsg_optax._states import (
    Found,
    Path,
    branches,
    by_path,
    find_states,
    members,
    replaced,
    without_variables,
)
from arsg_optax._trees import leaf_dtype

Moved = frozenset[str]
_REMEDY = (
    "clip in front of the optimizer, put factors into the schedule of its "
    "learning_rate, and split leaves with optax.partition around whole optimizers"
)


def shifted(params: optax.Params, offsets: optax.Updates) -> optax.Params:
    """Parameters plus offsets in float32 at least, matched by path; others stay.

    Raises:
      ValueError: if the parameters lack one of those leaves, or it has another shape.
    """
    shapes = {path: jnp.shape(leaf) for path, leaf in by_path(params).items()}
    known = by_path(offsets)
    for path, leaf in known.items():
        if shapes.get(path) != jnp.shape(leaf):
            raise ValueError(
                "params must be those that opt_state belongs to, got none of shape "
                f"{jnp.shape(leaf)} at '{path}'; pass the parameters that the "
                "optimizer was initialised with."
            )

    def move(path, leaf):
        offset = known.get(jax.tree_util.keystr(path))
        if offset is None:
            return leaf
        moved = jnp.asarray(leaf, offset.dtype) + offset
        return moved.astype(leaf_dtype(leaf))

    return jax.tree_util.tree_map_with_path(move, params)


def observes(state: Any) -> bool:
    """Whether a state owns an observation point."""
    methods = (getattr(type(state), name, None) for name in ("iterate", "observed"))
    return all(callable(method) for method in methods)


def iterate_of(
    state: Any, params: optax.Params, path: Path = ()
) -> tuple[optax.Params, Moved]:
    """The iterate that a state knows, and which leaves it has moved.

    The params are the tree that the state's `init` saw, with the values held now;
    leaves outside a mask are `optax.MaskedNode`. The path is the state's, for messages.

    Raises:
      ValueError: if something may rescale the steps of an observed optimizer, or if the
        params are not those of the state.
    """
    state = without_variables(state)
    if observes(state):
        return state.iterate(params), frozenset(by_path(state.observed()))
    if isinstance(state, optax.contrib.ScheduleFreeState):
        _check_observes_nothing(state.base_optimizer_state, path)
        return _average(state, params), frozenset(by_path(state.z))
    if isinstance(state, optax.contrib.SplitRealAndImaginaryState):
        point, moved = iterate_of(state.inner_state, _split(params), path)
        return _joined(point), moved
    chain = members(state)
    if chain is not None:
        return _through_chain(chain, params, path)
    inside = branches(state)
    if not inside:
        _check_observes_nothing(state, path)
    point, moved = params, frozenset()
    masks = isinstance(state, (optax.MaskedState, optax.PartitionState))
    for step, inner in inside:
        seen = _seen(inner, point, path + step) if masks else point
        found, now = iterate_of(inner, seen, path + step)
        point, moved = replaced(point, by_path(found)) if masks else found, moved | now
    if moved and hasattr(state, "constrain"):
        point = state.constrain(point, params, moved)
    return point, moved


def _through_chain(
    chain: list[tuple[Path, Any]], params: optax.Params, path: Path
) -> tuple[optax.Params, Moved]:
    point, moved = params, frozenset()
    for step, member in chain:
        before = moved
        point_now, now = iterate_of(member, point, path + step)
        if before and hasattr(type(member), "constrain"):
            point = without_variables(member).constrain(point, params, before)
            continue
        if before and not _leaves_alone(member, before):
            at = jax.tree_util.keystr(path + step)
            if before & now:
                raise ValueError(
                    "opt_state must hold one observation per leaf, got two for "
                    f"'{min(before & now)}', the second at '{at}'; chain a single one, "
                    "or split the leaves between them with optax.partition."
                )
            raise ValueError(
                "opt_state must hold nothing behind an observed optimizer that could "
                f"rescale its steps, got {type(member).__name__} at '{at}'; {_REMEDY}."
            )
        point, moved = point_now, before | now
    return point, moved


def _leaves_alone(member: Any, moved: Moved) -> bool:
    """Whether a member of a chain provably changes no update of these leaves."""
    if getattr(type(member), "changes_nothing", False):
        return True
    if isinstance(member, optax.PartitionState):
        inner = member.inner_states.values()
        return all(_leaves_alone(each, moved) for each in inner)
    if isinstance(member, optax.MaskedState):
        return _masked_out(member.inner_state) >= moved
    chain = members(member)
    return chain is not None and all(_leaves_alone(each, moved) for _, each in chain)


def _outside_masks(state: Any) -> list[Found]:
    """The states inside one that see the same leaves as it does."""
    found = find_states(state)
    masked = [each.path for each in found if isinstance(each.state, optax.MaskedState)]
    return [
        each for each in found if all(each.path[: len(path)] != path for path in masked)
    ]


def _masked_out(state: Any) -> Moved:
    """The leaves that some tree inside a masked state shows to be left out."""
    paths: set[str] = set()

    def is_gap(node):
        return isinstance(node, optax.MaskedNode)

    def ends(node):
        return is_gap(node) or isinstance(node, optax.MaskedState)

    for found in _outside_masks(state):
        for field in getattr(found.state, "_fields", ()):
            tree = getattr(found.state, field)
            leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=ends)
            paths |= {
                jax.tree_util.keystr(path) for path, leaf in leaves if is_gap(leaf)
            }
    return frozenset(paths)


def _seen(state: Any, params: optax.Params, path: Path) -> optax.Params:
    """The parameters as an observed optimizer behind a mask sees them."""
    inside: set[str] = set()
    for found in find_states(state):
        if observes(found.state):
            inside |= by_path(found.state.observed()).keys()
        elif isinstance(found.state, optax.contrib.ScheduleFreeState):
            inside |= by_path(found.state.z).keys()
    same = [each.state for each in _outside_masks(state)]
    constrained = any(hasattr(type(each), "constrain") for each in same)
    if inside and constrained and not any(observes(each) for each in same):
        raise ValueError(
            "opt_state must show which leaves a constraint covers, got one between two "
            f"masks at '{jax.tree_util.keystr(path)}'; mask the whole optimizer once."
        )

    def keep(path, leaf):
        return leaf if jax.tree_util.keystr(path) in inside else optax.MaskedNode()

    return jax.tree_util.tree_map_with_path(keep, params)


class _Parts(NamedTuple):
    """The parts of a complex array, with the fields of Optax's class for its paths."""

    real: jax.Array
    imaginary: jax.Array


def _split(params: optax.Params) -> optax.Params:
    def split(leaf):
        return _Parts(leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else leaf

    return jax.tree.map(split, params)


def _joined(params: optax.Params) -> optax.Params:
    def is_split(leaf):
        return isinstance(leaf, _Parts)

    def join(leaf):
        return jax.lax.complex(*leaf) if is_split(leaf) else leaf

    return jax.tree.map(join, params, is_leaf=is_split)


def _average(state: Any, params: optax.Params) -> optax.Params:
    """What schedule-free evaluates at, (y - (1 - b1) z) / b1."""
    points = by_path(params)

    def offset(path, z):
        y = points.get(jax.tree_util.keystr(path), z)
        dtype = compute_dtype(z, y)
        share = 1 / state.b1.astype(dtype) - 1
        return share * (y.astype(dtype) - z.astype(dtype))

    return shifted(params, jax.tree_util.tree_map_with_path(offset, state.z))


def _check_observes_nothing(state: Any, path: Path) -> None:
    """Refuses a state that hides an observation."""
    if any(observes(each.state) for each in find_states(state)):
        raise ValueError(
            "opt_state must hold an observed optimizer only inside wrappers that leave "
            f"its steps alone, got {type(state).__name__} at "
            f"'{jax.tree_util.keystr(path)}' around one; {_REMEDY}."
        )
