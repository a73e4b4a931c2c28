"""What the sphere and the sphere learning rate share: members, norms, radii.

Norms are () for the joint sphere of scope "tree", and one entry a leaf for scope
"leaf", where they are 0 for leaves that are on no sphere.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._hyperparameters import as_scalar, default_float
from arsg_optax._precision import compute_dtype
from arsg_optax._reductions import Axes, as_axes, leaf_sum
from arsg_optax._trees import check_params, check_real, leaf_dtype, map_updates

Mask = Any | Callable[[optax.Params], Any]

# Between these a norm is right to rounding: its square neither overflows in float32
# nor consists of squares that are flushed to 0.
_LEAST_NORM, _LARGEST_NORM = 1e-12, 1e18


class Pairs(NamedTuple):
    """Updates beside their parameters, as lists in the order of `jax.tree.leaves`."""

    updates: list[jax.Array]  # Like the points in their compute dtype.
    points: list[jax.Array]
    member: list[bool]  # Which of them are on a sphere.
    dtypes: list[jnp.dtype]  # Of the parameters.
    structure: Any

    def rebuild(self, steps: Sequence[jax.Array]) -> optax.Updates:
        """The tree of updates, in the parameters' dtypes."""
        pairs = zip(steps, self.dtypes, strict=True)
        return self.structure.unflatten([step.astype(dtype) for step, dtype in pairs])


def check_scope(scope: Any) -> None:
    """Raises ValueError unless the scope is "leaf" or "tree"."""
    if scope not in ("leaf", "tree"):
        raise ValueError(
            f"scope must be 'leaf' or 'tree', got {scope!r}; 'leaf' gives each array "
            "a sphere of its own, 'tree' one to all of them together."
        )


def no_member(params: optax.Params) -> jax.Array:
    """The membership before the first update: (leaves,) bool, all False."""
    return jnp.zeros((len(jax.tree.leaves(params)),), jnp.bool_)


def filled_like_norms(params: optax.Params, scope: str, value: float) -> jax.Array:
    """An array of the shape and dtype of the norms."""
    shape = () if scope == "tree" else (len(jax.tree.leaves(params)),)
    return jnp.full(shape, value, default_float())


def match(
    updates: Any, params: Any, mask: Mask, remembered: jax.Array | None = None
) -> Pairs:
    """Lays updates and parameters side by side.

    Args:
      updates: tree of real arrays.
      params: the parameters, which may hold anything where there is no update.
      mask: tree of booleans, a prefix of one, or a callable that makes it from params.
      remembered: the state's membership, for the number of leaves that `init` saw.

    Raises:
      ValueError: if params are missing, or if updates, params, mask and state do not
        fit each other.
    """
    if params is None:
        raise ValueError(
            "params must be given to update where they are on a sphere, got None; "
            "call update(gradients, state, params)."
        )
    check_real("updates", updates)
    check_params(params, updates)
    steps, structure = jax.tree.flatten(updates)
    if remembered is not None and len(steps) != remembered.size:
        raise ValueError(
            f"updates must have the {remembered.size} leaves of the optimizer state, "
            f"got {len(steps)}; call update with gradients of the parameters that init "
            "was called with."
        )
    held = map_updates(lambda _, param: param, updates, params)
    points = jax.tree.leaves(held)
    dtypes = [compute_dtype(*pair) for pair in zip(steps, points, strict=True)]
    return Pairs(
        updates=[jnp.asarray(u, t) for u, t in zip(steps, dtypes, strict=True)],
        points=[jnp.asarray(p, t) for p, t in zip(points, dtypes, strict=True)],
        member=_members(mask, updates, held),
        dtypes=[leaf_dtype(point) for point in points],
        structure=structure,
    )


def _members(mask: Mask, updates: Any, held: Any) -> list[bool]:
    # A module of booleans may be callable too, but it is no leaf.
    is_leaf = jax.tree_util.treedef_is_leaf(jax.tree.structure(mask))
    tree: Any = mask(held) if callable(mask) and is_leaf else mask

    def spread(flag, part):
        if not isinstance(flag, (bool, np.bool_)):
            raise ValueError(
                f"mask must hold Python booleans, got {flag!r}; make them with bool(), "
                "and under inject_hyperparams name the argument in static_args."
            )
        return jax.tree.map(lambda _: bool(flag), part)

    try:
        return jax.tree.leaves(jax.tree.map(spread, tree, updates))
    except ValueError as error:
        if str(error).startswith("mask must"):
            raise
        raise ValueError(
            f"mask must have the tree structure of the updates, "
            f"{jax.tree.structure(updates)}, or be a prefix of it, got "
            f"{jax.tree.structure(tree)}; pass a callable that makes it from params."
        ) from error


def remember(member: Sequence[bool], remembered: jax.Array) -> jax.Array:
    """The membership to keep in the state, from the one it held."""
    # Read although it is known: jit takes over no donated array that is not read.
    return jnp.array(member, jnp.bool_) | remembered


def norms(
    leaves: Sequence[jax.Array], member: Sequence[Any], scope: str, axes: Axes = None
) -> jax.Array:
    """Norms of the members.

    Args:
      leaves: arrays of float32 or float64.
      member: booleans, or () arrays of them.
      scope: "leaf" or "tree".
      axes: the mesh axes that may split members, see `arsg_optax._reductions`.

    Returns:
      (leaves,) or (), of the default float dtype.
    """
    dtype = default_float()

    def squared(leaf, flag):
        # Nothing is asked of a leaf that is on no sphere, however it is split.
        sum_of = jnp.zeros([]) if flag is False else leaf_sum(jnp.square(leaf), axes)
        return jnp.where(flag, sum_of, 0).astype(dtype)

    # One sum over all axes: on a mesh only a scalar travels. XLA adds blockwise, so ten
    # million elements are right to 1e-7; on a CPU with JAX 0.6 equal ones to 2e-5.
    squares = [squared(*pair) for pair in zip(leaves, member, strict=True)]
    each = jnp.stack(squares) if squares else jnp.zeros((0,), dtype)
    return jnp.sqrt(jnp.sum(each) if scope == "tree" else each)


def representable(norm: jax.Array) -> jax.Array:
    """Whether a norm is right to rounding; 0, infinity and NaN are not."""
    return (norm >= _LEAST_NORM) & (norm <= _LARGEST_NORM)


def per_leaf(values: jax.Array, leaves: int) -> list[jax.Array]:
    """One entry for each leaf, from norms of either scope."""
    return [values] * leaves if values.shape == () else list(values)


def radius_now(
    radius: Any, state: Any, held: jax.Array, member: Sequence[bool]
) -> jax.Array:
    """The radii: those given, else the norms that were held at the first update."""
    if radius is not None:
        return given_radius(radius, held, member)
    first = jnp.where(representable(held), held, 0)
    return jnp.where(state.count == 0, first, state.radius)


def given_radius(radius: Any, held: jax.Array, member: Sequence[bool]) -> jax.Array:
    """A radius that is not None, in the shape of the norms."""
    given = as_scalar(radius)
    return given if held.shape == () else jnp.where(np.array(member, bool), given, 0)


def onto_factor(radius: jax.Array, norm: jax.Array) -> jax.Array:
    """What takes an array of this norm onto its sphere; 1 where that is undefined."""
    usable = representable(radius) & representable(norm)
    return jnp.where(usable, radius / jnp.where(usable, norm, 1), 1)


def steps_onto(
    pairs: Pairs,
    moved: Sequence[jax.Array],
    radius: jax.Array,
    held: jax.Array,
    norm: jax.Array,
) -> tuple[list[jax.Array], jax.Array]:
    """The members' steps to where `moved` lies over the sphere.

    Args:
      pairs: the points to step from.
      moved: the unconstrained points, and for all but members their steps.
      radius: of the spheres.
      held: norms of the points.
      norm: norms of the unconstrained points.

    Returns:
      A step for each leaf, and for each norm whether it was used: where one of the
      three is not representable the step is 0, but NaN where `norm` is NaN.
    """
    usable = representable(radius) & representable(held) & representable(norm)
    usable |= jnp.isnan(norm)
    factor, count = radius / jnp.where(usable, norm, 1), len(moved)

    def step(point, target, member, use, scale):
        if not member:
            return target
        return jnp.where(use, scale.astype(target.dtype) * target - point, 0)

    leaves = pairs.points, moved, pairs.member
    spread = per_leaf(usable, count), per_leaf(factor, count)
    steps = [step(*each) for each in zip(*leaves, *spread, strict=True)]
    return steps, usable


def onto_spheres(
    leaves: Sequence[jax.Array], member: jax.Array, radius: jax.Array
) -> list[jax.Array]:
    """Maps the members radially onto their spheres, under `jit` too.

    Args:
      leaves: arrays in the order of the state's `member`.
      member: (leaves,) bool, from the state.
      radius: (leaves,) or (), from the state.

    Returns:
      The arrays in their dtypes; unchanged where they are no members.

    Raises:
      ValueError: if the number of leaves is not the state's.
    """
    member, radius = jnp.asarray(member), jnp.asarray(radius)
    if len(leaves) != len(member):
        raise ValueError(
            f"leaves must be the {len(member)} that the sphere's link sees, got "
            f"{len(leaves)}; pass them in the order of jax.tree.leaves."
        )
    flags = list(member)
    wide = [jnp.asarray(leaf, compute_dtype(leaf)) for leaf in leaves]
    scope = "tree" if radius.shape == () else "leaf"
    factors = onto_factor(radius, norms(wide, flags, scope))

    def onto(leaf, original, flag, factor):
        scaled = jnp.where(flag, factor, 1).astype(leaf.dtype) * leaf
        return scaled.astype(original.dtype)

    spread = per_leaf(factors, len(wide))
    return [onto(*each) for each in zip(wide, leaves, flags, spread, strict=True)]


def gradient_on_sphere(
    mask: Mask, radius: chex.Numeric, scope: str, axis_name: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Turns members' gradients into those on the sphere, |theta| / R times as long.

    It only matters at the first update, where the parameters may lie off the sphere.
    The updates stay in their compute dtypes, for what takes statistics of them.
    """
    axes = as_axes(axis_name)

    def update_fn(updates, state, params=None, **extra_args):
        del extra_args
        pairs = match(updates, params, mask)
        held = norms(pairs.points, pairs.member, scope, axes)
        at = given_radius(radius, held, pairs.member)
        onto = per_leaf(onto_factor(at, held), len(pairs.updates))
        rescaled = [
            update / factor.astype(update.dtype) if member else update
            for update, factor, member in zip(
                pairs.updates, onto, pairs.member, strict=True
            )
        ]
        return pairs.structure.unflatten(rescaled), state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update_fn
    )
