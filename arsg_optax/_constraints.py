"""The iterate where a set or a sphere constrains the parameters: mapped onto it."""

import jax
import jax.numpy as jnp
import optax

from arsg_optax._iterate import Leaves
from arsg_optax._state_search import Found, by_path, contains
from arsg_optax.constraints._tangents import without_inward_part
from arsg_optax.constraints.projection import (
    ProjectState,
    preconditioner_multipliers,
)
from arsg_optax.constraints.sets import nearest
from arsg_optax.constraints.sphere import ConstrainToSphereState
from arsg_optax.constraints.sphere_learning_rate import ScaleBySphereLearningRateState

# Fields of this package's and of Optax's states that are shaped as the parameters.
_MOMENTS = ("mu", "nu", "previous", "trace")
_SPHERES = (ConstrainToSphereState, ScaleBySphereLearningRateState)


def constrained(
    point: Leaves, held: Leaves, moved: frozenset[str], found: list[Found]
) -> Leaves:
    """Maps a point onto every constraint that the states hold.

    Args:
      point: the iterate, by path.
      held: the parameters, by path.
      moved: paths of the leaves that lie elsewhere than the held parameters.
      found: all states of the optimizer.

    Returns:
      The point; leaves that are where they are held stay as they are, unless they
      share a constraint with one that has moved.
    """
    point = dict(point)
    if not moved:
        return point
    for constraint in _innermost_first(found):
        paths = _leaves_of(constraint, point, found)
        if moved.isdisjoint(paths):
            continue
        leaves = [point[path] for path in paths]
        if isinstance(constraint.state, ProjectState):
            at = [held[path] for path in paths]
            mapped = _project(constraint.state, paths, at, leaves)
        else:
            mapped = constraint.state.onto_sphere(leaves)
            if constraint.state.radius.ndim:  # Each leaf has a sphere of its own.
                pairs = zip(paths, mapped, leaves, strict=True)
                mapped = [new if path in moved else old for path, new, old in pairs]
        point.update(zip(paths, mapped, strict=True))
    return point


def _innermost_first(found: list[Found]) -> list[Found]:
    """The constraints, in the order in which they act on an update."""
    constraints = [
        each for each in found if isinstance(each.state, (ProjectState, *_SPHERES))
    ]

    def last_inside(constraint: Found) -> tuple[int, int]:
        inside = [each.order for each in found if contains(constraint, each)]
        return max([constraint.order, *inside]), -constraint.order

    return sorted(constraints, key=last_inside)


def _leaves_of(constraint: Found, point: Leaves, found: list[Found]) -> list[str]:
    """Paths of the leaves that a constraint sees, in its order.

    Its state does not name them, so they are taken from a moment behind the same
    masks; without any mask they are all leaves.
    """
    masks = _masks(constraint, found)
    member = getattr(constraint.state, "member", None)
    seen = None if member is None else len(member)
    for each in found:
        if _masks(each, found) != masks:
            continue
        for name in _MOMENTS:
            paths = list(by_path(getattr(each.state, name, None)))
            if paths and seen in (None, len(paths)) and point.keys() >= set(paths):
                return paths
    if not masks:
        return list(point)
    name = type(constraint.state).__name__
    raise ValueError(
        f"opt_state must tell which leaves a constraint covers, got a masked {name} "
        f"at '{jax.tree_util.keystr(constraint.path)}' with no observation behind the "
        "same mask; mask or partition the whole optimizer, or use the mask of "
        "arsg_optax.constrain_to_sphere."
    )


def _masks(one: Found, found: list[Found]) -> frozenset[str]:
    return frozenset(
        jax.tree_util.keystr(each.path)
        for each in found
        if isinstance(each.state, optax.MaskedState) and contains(each, one)
    )


def _project(
    state: ProjectState,
    paths: list[str],
    held: list[jax.Array],
    leaves: list[jax.Array],
) -> list[jax.Array]:
    """The nearest point of the set in the metric of the preconditioners inside.

    From an edge of the set at which the parameters rest it does not lead inside. A
    resilience's factor is in no state; as in the iterate itself, it is left out.
    """
    products = preconditioner_multipliers(state.inner_state)
    multipliers = [products.get(path) for path in paths]
    at = [jnp.asarray(y, leaf.dtype) for y, leaf in zip(held, leaves, strict=True)]
    offsets = [leaf - y for y, leaf in zip(at, leaves, strict=True)]
    kept = without_inward_part(state.onto, at, offsets, multipliers)
    # Where nothing is taken away the point stays as it is, bit for bit.
    tangent = [
        jnp.where(new == old, leaf, y + new)
        for y, leaf, old, new in zip(at, leaves, offsets, kept, strict=True)
    ]
    return nearest(state.onto, tangent, multipliers)
