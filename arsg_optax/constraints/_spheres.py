"""What the sphere and the sphere learning rate share: members, norms, radii.

Norms are () for the joint sphere of scope "tree", and one entry per leaf for scope
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
from arsg_optax._reductions import Axes, AxisName, as_axes, leaf_sum
from arsg_optax._trees import (
    check_params,
    check_real,
    chosen_of,
    map_updates,
    require_params,
    spread,
)
from arsg_optax._validation import check

Mask = Any | Callable[[optax.Params], Any]

# Between these a norm is right to rounding: its square neither overflows in float32
# nor consists of squares that are flushed to 0.
_LEAST_NORM, _LARGEST_NORM = 1e-12, 1e18


class Pairs(NamedTuple):
    """Updates beside their parameters, as lists in the order of `jax.tree.leaves`."""

    updates: list[jax.Array]  # Like the points in their compute dtype.
    points: list[jax.Array]
    member: list[bool]  # Which of them are on a sphere.
    structure: Any


class Spheres(NamedTuple):
    """The arguments that the links share."""

    radius: Any  # R; None for the norms held at the first update.
    scope: str
    mask: Mask
    axes: Axes

    def filled(self, params: optax.Params, value: float) -> jax.Array:
        """An array of the shape and dtype of the norms."""
        shape = () if self.scope == "tree" else (len(jax.tree.leaves(params)),)
        return jnp.full(shape, value, default_float())

    def match(self, updates: Any, params: Any, remembered: Any = None) -> Pairs:
        """Lays updates and parameters side by side.

        The parameters may hold anything where there is no update. The state's
        membership tells the number of leaves that `init` saw.

        Raises:
          ValueError: if params are missing, or if updates, params, mask and state do
            not fit each other.
        """
        params = require_params(params, "they are on a sphere")
        check_real("updates", updates)
        check_params(params, updates)
        steps, structure = jax.tree.flatten(updates)
        if remembered is not None and len(steps) != remembered.size:
            raise ValueError(
                f"updates must have the {remembered.size} leaves of the optimizer "
                f"state, got {len(steps)}; call update with gradients of the "
                "parameters that init was called with."
            )
        held = map_updates(lambda _, param: param, updates, params)
        points = jax.tree.leaves(held)

        def widened(leaf, other):
            return jnp.asarray(leaf, compute_dtype(leaf, other))

        return Pairs(
            updates=jax.tree.map(widened, steps, points),
            points=jax.tree.map(widened, points, steps),
            member=_members(self.mask, updates, held),
            structure=structure,
        )

    def norms(self, leaves: Sequence[jax.Array], pairs: Pairs) -> jax.Array:
        """Norms of those leaves that are members."""
        return _norms(leaves, pairs.member, self.scope, self.axes)

    def radii(self, held: jax.Array, pairs: Pairs, state: Any = None) -> jax.Array:
        """The radii: those given, else the norms that were held at the first update."""
        if self.radius is None:
            first = jnp.where(representable(held), held, 0)
            return jnp.where(state.count == 0, first, state.radius)
        given = as_scalar(self.radius)
        if held.shape == ():
            return given
        return jnp.where(np.array(pairs.member, bool), given, 0)


def spheres(radius: Any, scope: str, mask: Mask, axis_name: AxisName) -> Spheres:
    """Checks the arguments that the links share; None as a mask is all leaves."""
    check("radius", radius)
    if scope not in ("leaf", "tree"):
        raise ValueError(
            f"scope must be 'leaf' or 'tree', got {scope!r}; 'leaf' gives each array "
            "a sphere of its own, 'tree' one to all of them together."
        )
    return Spheres(radius, scope, True if mask is None else mask, as_axes(axis_name))


def no_member(params: optax.Params) -> jax.Array:
    """The membership before the first update: (leaves,) bool, all False."""
    return jnp.zeros((len(jax.tree.leaves(params)),), jnp.bool_)


def remember(pairs: Pairs, remembered: jax.Array) -> jax.Array:
    """The membership to keep in the state, from the one it held."""
    # Read although it is known: jit takes over no donated array that is not read.
    return jnp.array(pairs.member, jnp.bool_) | remembered


def _members(mask: Mask, updates: Any, held: Any) -> list[bool]:
    tree = chosen_of(mask, held)
    flags = jax.tree.leaves(tree)
    wrong = [flag for flag in flags if not isinstance(flag, (bool, np.bool_))]
    if wrong:
        raise ValueError(
            f"mask must hold Python booleans, got {wrong[0]!r}; make them with bool(), "
            "and under inject_hyperparams name the argument (sphere_mask of adarem_s) "
            "in static_args."
        )

    remedy = "pass a callable that makes it from params."
    return [bool(flag) for flag in spread("mask", tree, updates, remedy)]


def _norms(
    leaves: Sequence[jax.Array], member: Sequence[Any], scope: str, axes: Axes
) -> jax.Array:
    """Norms of the members, in the default float dtype; flags may be () arrays."""
    dtype = default_float()

    def squared(leaf, flag):
        # Nothing is asked of a leaf that is on no sphere, however it is split.
        sum_of = jnp.zeros([]) if flag is False else leaf_sum(jnp.square(leaf), axes)
        return jnp.where(flag, sum_of, 0).astype(dtype)

    # One sum over all axes: on a mesh only a scalar travels. XLA adds blockwise, so ten
    # million elements are right to 1e-7; on a CPU with JAX 0.6 equal ones to 2e-5.
    squares = jax.tree.map(squared, list(leaves), list(member))
    each = jnp.stack(squares) if squares else jnp.zeros((0,), dtype)
    return jnp.sqrt(jnp.sum(each) if scope == "tree" else each)


def representable(norm: jax.Array) -> jax.Array:
    """Whether a norm is right to rounding; 0, infinity and NaN are not."""
    return (norm >= _LEAST_NORM) & (norm <= _LARGEST_NORM)


def per_leaf(values: jax.Array, leaves: int) -> list[jax.Array]:
    """One entry for each leaf, from norms of either scope."""
    return [values] * leaves if values.shape == () else list(values)


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
    """The members' steps to where `moved` lies over the sphere, and which are usable.

    The norms `held` are those of the points and `norm` those of `moved`, which holds
    the others' steps. Where a norm or a radius is not representable the step is 0, but
    NaN where `norm` is NaN.
    """
    usable = representable(radius) & representable(held) & representable(norm)
    usable |= jnp.isnan(norm)
    factor, count = radius / jnp.where(usable, norm, 1), len(moved)

    def step(point, target, member, use, scale):
        if not member:
            return target
        return jnp.where(use, scale.astype(target.dtype) * target - point, 0)

    spread = per_leaf(usable, count), per_leaf(factor, count)
    steps = jax.tree.map(step, pairs.points, moved, pairs.member, *spread)
    return steps, usable


def onto_spheres(
    leaves: Sequence[jax.Array], member: jax.Array, radius: jax.Array
) -> list[jax.Array]:
    """Maps members radially onto their spheres, by a state's (leaves,) `member`."""
    member, radius = jnp.asarray(member), jnp.asarray(radius)
    if len(leaves) != len(member):
        raise ValueError(
            f"leaves must be the {len(member)} that the sphere's link sees, got "
            f"{len(leaves)}; pass them in the order of jax.tree.leaves."
        )
    flags = list(member)
    wide = [jnp.asarray(leaf, compute_dtype(leaf)) for leaf in leaves]
    norms = _norms(wide, flags, "leaf" if radius.ndim else "tree", None)
    factors = per_leaf(onto_factor(radius, norms), len(wide))

    def onto(leaf, original, flag, factor):
        scaled = jnp.where(flag, factor, 1).astype(leaf.dtype) * leaf
        return scaled.astype(original.dtype)

    return jax.tree.map(onto, wide, list(leaves), flags, factors)


def gradient_on_sphere(
    mask: Mask, radius: chex.Numeric, scope: str, axis_name: AxisName = None
) -> optax.GradientTransformationExtraArgs:
    """Turns members' gradients into those on the sphere, |theta| / R times as long.

    It only matters at the first update, where the parameters may lie off the sphere.
    The updates stay in their compute dtypes, for what takes statistics of them.
    """
    shared = spheres(radius, scope, mask, axis_name)

    def update_fn(updates, state, params=None, **_):
        pairs = shared.match(updates, params)
        held = shared.norms(pairs.points, pairs)
        onto = onto_factor(shared.radii(held, pairs), held)

        def rescale(update, factor, member):
            return update / factor.astype(update.dtype) if member else update

        factors = per_leaf(onto, len(pairs.updates))
        rescaled = jax.tree.map(rescale, pairs.updates, factors, pairs.member)
        return pairs.structure.unflatten(rescaled), state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update_fn
    )
