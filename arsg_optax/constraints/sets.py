"""Sets of parameters, and the nearest point of a set in a weighted norm."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from arsg_optax._precision import compute_dtype
from arsg_optax._reductions import Axes, Whole
from arsg_optax.constraints._nearest import in_ball, in_half_space, normalised


class Box(NamedTuple):
    """Parameters between two bounds, element by element.

    A bound is a number for all elements, None for no bound, or a tree with the
    structure of the parameters, whose leaves are numbers, arrays that broadcast to the
    parameter, or None.
    """

    lower: Any
    upper: Any


class L2Ball(NamedTuple):
    """Parameters whose distance from the center, over the whole tree, is at most R."""

    radius: Any  # R, a number or () array, finite and at least 0.
    center: Any = None  # As a bound of Box; None is 0.


class HalfSpace(NamedTuple):
    r"""Parameters :math:`x` with :math:`\langle a, x \rangle \le b`, over the tree."""

    normal: Any  # a, as a bound of Box, but never None; leaves that are None are 0.
    offset: Any  # b, a number or () array.


ParameterSet = Box | L2Ball | HalfSpace


def nearest(
    onto: ParameterSet,
    points: Sequence[jax.Array],
    multipliers: Sequence[jax.Array | None],
    axes: Axes = None,
) -> list[jax.Array]:
    r"""The point x of a set that minimises :math:`\sum_i (x_i - y_i)^2 / s_i`.

    A weight that is infinite, s = 0, leaves its element where it is. Where the set
    cannot be reached by moving the others alone, the ball lets those go to the center
    and shrinks the rest evenly, and the half-space, and every set if all s are 0, takes
    the Euclidean norm. A box is clipped to whatever s is.

    Where y is in the set it comes back bit for bit. A box is met exactly, by numbers of
    the points' dtypes; only where none of them lies between two bounds the result is
    the next one below. The ball and the half-space are met up to rounding,
    :math:`\rho = 2\epsilon_{dtype} + 8\epsilon_{compute}`, with the machine epsilons of
    the points and of their compute dtype (1.2e-6 in float32):

    .. math::

      \begin{align*}
        \|x - c\| &\le R + \rho (R + \|c\|) + \delta \sqrt{n} \\
        \langle a, x \rangle &\le b
          + \rho \left( \sum_i |a_i x_i| + |b| \right) + \delta \sum_i |a_i|
      \end{align*}

    for n elements, with the smallest positive number :math:`\delta` of the points'
    dtypes: 6e-8 in float16, 1.2e-38 in the others, where smaller ones count as 0.

    Args:
      onto: the set, holding arrays: one () array, or one array a point and of its
        shape, as in :class:`arsg_optax.ProjectState`.
      points: y, the leaves of a tree, of any real dtypes; x comes out in them.
      multipliers: s >= 0, likewise; None is 1. Only their ratios matter.
      axes: the mesh axes that split the points inside :func:`jax.shard_map`, see
        :func:`arsg_optax.project`; None refuses split points.
    """
    points = list(points)
    if not points:
        return []
    if isinstance(onto, Box):
        return _in_box(onto, points)
    whole = Whole(points, axes, compute_dtype(*points))
    s = normalised(multipliers, points, whole)
    if isinstance(onto, L2Ball):
        radius, centers = scalar(onto.radius), filled(onto.center, points)
        return in_ball(points, centers, radius, s, whole)
    offset, normals = scalar(onto.offset), filled(onto.normal, points)
    return in_half_space(points, normals, offset, s, whole)


def _in_box(box: Box, points: list[jax.Array]) -> list[jax.Array]:
    lower, upper = (spread(bound, points) for bound in box)

    def clip(x, low, high):
        x = x if low is None else jnp.maximum(x, _inward(low, x.dtype, jnp.inf))
        return x if high is None else jnp.minimum(x, _inward(high, x.dtype, -jnp.inf))

    return [clip(*each) for each in zip(points, lower, upper, strict=True)]


def _inward(bound: jax.Array, dtype: jnp.dtype, inside: float) -> jax.Array:
    """The number of a dtype nearest to a bound among those on its inner side."""
    near = bound.astype(dtype)
    wide = compute_dtype(bound, near)
    rounded, exact = near.astype(wide), bound.astype(wide)
    wrong = rounded < exact if inside > 0 else rounded > exact
    return jnp.where(wrong, next_toward(near, jnp.full_like(near, inside)), near)


@jax.custom_jvp
def next_toward(x: jax.Array, end: jax.Array) -> jax.Array:
    """The number beside x on the way to `end`.

    Its derivative is 1, that of x without a rounding; `nextafter` has none.
    """
    return jnp.nextafter(x, end)


@next_toward.defjvp
def _straight_through(primals, tangents):
    return next_toward(*primals), tangents[0]


def scalar(field: Any) -> jax.Array:
    """The () array of a field, which Flax NNX may have wrapped in a variable."""
    return jax.tree.leaves(field)[0]


def spread(field: Any, points: Sequence[Any]) -> Sequence[jax.Array | None]:
    """One array for each point: its own, the only one there is, or None."""
    leaves = jax.tree.leaves(field)
    if not leaves:
        return [None] * len(points)
    return leaves * len(points) if len(leaves) == 1 < len(points) else leaves


def filled(field: Any, points: Sequence[jax.Array]) -> list[jax.Array]:
    """One array like each point, in its compute dtype; 0 where there is none."""

    def fill(y, value):
        dtype = compute_dtype(y)
        if value is None:
            return jnp.zeros_like(y, dtype)
        if value.ndim == 0:
            return jnp.full_like(y, value, dtype)
        return value.astype(dtype)

    pairs = zip(points, spread(field, points), strict=True)
    return [fill(y, value) for y, value in pairs]
