"""Sets of parameters, and the nearest point of a set in a weighted norm."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from arsg_optax._precision import compute_dtype

_NEWTON_STEPS = 64
# Beyond, lambda s would overflow float32; such elements count as frozen.
_LARGEST_MULTIPLIER = 1e30


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
_Arrays = list[jax.Array]


def nearest(
    onto: ParameterSet,
    points: Sequence[jax.Array],
    multipliers: Sequence[jax.Array | None],
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
      points: y, the leaves of a tree, of any real dtypes.
      multipliers: s >= 0, one array a point and of its shape; None is 1. Only their
        ratios matter.

    Returns:
      The leaves of x in the points' dtypes.
    """
    points = list(points)
    if not points:
        return []
    if isinstance(onto, Box):
        return _in_box(onto, points)
    metric = _normalised(list(multipliers), points)
    if isinstance(onto, L2Ball):
        return _in_ball(onto, points, metric)
    return _in_half_space(onto, points, metric)


def _in_box(box: Box, points: _Arrays) -> _Arrays:
    lower, upper = (spread(bound, points) for bound in box)

    def clip(x, low, high):
        x = x if low is None else jnp.maximum(x, _inward(low, x.dtype, jnp.inf))
        return x if high is None else jnp.minimum(x, _inward(high, x.dtype, -jnp.inf))

    return [clip(*each) for each in zip(points, lower, upper, strict=True)]


def _in_ball(ball: L2Ball, points: _Arrays, s: _Arrays) -> _Arrays:
    """x = c + d / (1 + lambda s), d = y - c, with lambda >= 0 such that |x - c| = R."""
    dtype = compute_dtype(*points)
    pairs = zip(points, spread(ball.center, points), strict=True)
    centers = [_filled(y, c) for y, c in pairs]
    d = [_widened(y) - c for y, c in zip(points, centers, strict=True)]
    # In units of the largest element squares neither overflow nor vanish.
    scale = _positive(_largest(d, dtype))
    z, centers_z = (
        [leaf / scale.astype(leaf.dtype) for leaf in leaves] for leaves in (d, centers)
    )
    radius = jax.tree.leaves(ball.radius)[0].astype(dtype) / scale
    slack = _rounding(points, dtype) * (radius + _norm(centers_z, dtype))
    # In the order that keeps the smallest numbers from vanishing.
    slack += _smallest(points) / scale * sum(y.size for y in points) ** 0.5
    outside = _norm(z, dtype) > radius + slack
    multiplier, norm = _ball_multiplier(z, s, radius, outside)
    # What Newton's method left; all of it where frozen elements alone are outside.
    reached = (radius > 0) & (norm <= radius * (1 + 8 * jnp.finfo(dtype).eps))
    shrink = jnp.where(reached, 1, radius / _positive(norm))

    def move(y, c, away, ratio):
        kept = shrink.astype(away.dtype) / (1 + multiplier.astype(away.dtype) * ratio)
        # A frozen element must not even be rounded.
        moved = (c + kept * away).astype(y.dtype)
        return jnp.where(outside & (kept < 1), moved, y)

    return [move(*each) for each in zip(points, centers, d, s, strict=True)]


def _ball_multiplier(
    z: _Arrays, s: _Arrays, radius: jax.Array, outside: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Lambda, and the norm of z / (1 + lambda s) that it leaves: () arrays.

    The reciprocal of the norm is a concave function of lambda that grows, so Newton's
    method for its meeting 1/R rises from 0 to the solution without passing it, as in
    trust-region methods. If all s are equal it arrives in one step.
    """
    dtype = radius.dtype
    close = radius * (1 + 4 * jnp.finfo(dtype).eps)

    def shrunk(a, ratio, multiplier):
        return a / (1 + multiplier.astype(a.dtype) * ratio)

    def evaluate(multiplier):
        x = [shrunk(*each, multiplier) for each in zip(z, s, strict=True)]
        falling = [
            shrunk(ratio * a * a, ratio, multiplier)
            for a, ratio in zip(x, s, strict=True)
        ]
        return multiplier, _norm(x, dtype), _total(falling, dtype)

    def goes_on(carry):
        step, rising, (_, norm, _) = carry
        return (step < _NEWTON_STEPS) & rising & (norm > close)

    def newton(carry):
        step, _, (multiplier, norm, slope) = carry
        excess = norm / _positive(radius) - 1
        further = multiplier + excess * (norm * norm / _positive(slope))
        further = jnp.minimum(further, jnp.asarray(_LARGEST_MULTIPLIER, dtype))
        return step + 1, further > multiplier, evaluate(further)

    start = jnp.zeros([], jnp.int32), outside, evaluate(jnp.zeros([], dtype))
    _, _, (multiplier, norm, _) = jax.lax.while_loop(goes_on, newton, start)
    return multiplier, norm


def _in_half_space(half: HalfSpace, points: _Arrays, s: _Arrays) -> _Arrays:
    """x = y - lambda s a with lambda = max(0, <a, y> - b) / sum(s a^2)."""
    dtype = compute_dtype(*points)
    pairs = zip(points, spread(half.normal, points), strict=True)
    normals = [_filled(y, a) for y, a in pairs]
    longest = _positive(_largest(normals, dtype))
    a = [leaf / longest.astype(leaf.dtype) for leaf in normals]
    offset = jax.tree.leaves(half.offset)[0].astype(dtype) / longest
    y = [_widened(leaf) for leaf in points]

    def excess_and_size(at):
        products = [c * x for c, x in zip(a, at, strict=True)]
        size = _total([jnp.abs(each) for each in products], dtype) + jnp.abs(offset)
        return _total(products, dtype) - offset, size

    excess, size = excess_and_size(y)
    least = _smallest(points) * _total([jnp.abs(c) for c in a], dtype)
    outside = excess > _rounding(points, dtype) * size + least
    along = _half_space_direction(a, s, dtype)
    x = _shifted(y, along, excess)
    # Once more against the rounding of the first, which was that of the larger y, and
    # by as much further as the sums may still be wrong.
    excess, size = excess_and_size(x)
    x = _shifted(x, along, excess + 4 * jnp.finfo(dtype).eps * size)
    return [
        jnp.where(outside, moved.astype(leaf.dtype), leaf)
        for moved, leaf in zip(x, points, strict=True)
    ]


def _shifted(y: _Arrays, along: _Arrays, by: jax.Array) -> _Arrays:
    return [p - by.astype(p.dtype) * q for p, q in zip(y, along, strict=True)]


def _half_space_direction(a: _Arrays, s: _Arrays, dtype: jnp.dtype) -> _Arrays:
    """s a / sum(s a^2); where all products are 0, a / sum(a^2)."""
    products = [ratio * c for ratio, c in zip(s, a, strict=True)]
    frozen = _largest(products, dtype) <= 0
    roots = [jnp.where(frozen, 1, jnp.sqrt(ratio)) for ratio in s]
    # With max(s a^2) = 1 small ratios do not vanish when squared.
    scale = _positive(_largest([r * c for r, c in zip(roots, a, strict=True)], dtype))
    roots = [root / scale.astype(root.dtype) for root in roots]
    t = [root * c for root, c in zip(roots, a, strict=True)]
    length = _positive(_total([leaf * leaf for leaf in t], dtype))
    pairs = zip(roots, t, strict=True)
    return [root * (leaf / length.astype(leaf.dtype)) for root, leaf in pairs]


def _normalised(multipliers: list[jax.Array | None], points: _Arrays) -> _Arrays:
    """The multipliers in units of their maximum, all 1 if all are 0."""
    dtype = compute_dtype(*points)

    def finite(s, y):
        wide = compute_dtype(y)
        if s is None:
            return jnp.ones_like(y, wide)
        return jnp.minimum(s.astype(wide), jnp.finfo(wide).max)

    s = [finite(*each) for each in zip(multipliers, points, strict=True)]
    largest = _largest(s, dtype)
    scale = _positive(largest)
    return [jnp.where(largest > 0, leaf / scale.astype(leaf.dtype), 1) for leaf in s]


def spread(field: Any, points: Sequence[Any]) -> Sequence[jax.Array | None]:
    """One array for each point, or None: of one that is not there, or the only one."""
    leaves = jax.tree.leaves(field)
    if not leaves:
        return [None] * len(points)
    return leaves * len(points) if len(leaves) == 1 < len(points) else leaves


def _filled(y: jax.Array, value: jax.Array | None) -> jax.Array:
    """The value as an array like y, in its compute dtype; 0 where there is none."""
    dtype = compute_dtype(y)
    if value is None:
        return jnp.zeros_like(y, dtype)
    return jnp.full_like(y, value, dtype) if value.ndim == 0 else value.astype(dtype)


def _inward(bound: jax.Array, dtype: jnp.dtype, inside: float) -> jax.Array:
    """The number of a dtype nearest to a bound among those on its inner side."""
    near = bound.astype(dtype)
    wide = compute_dtype(bound, near)
    rounded, exact = near.astype(wide), bound.astype(wide)
    wrong = rounded < exact if inside > 0 else rounded > exact
    return jnp.where(wrong, jnp.nextafter(near, jnp.full_like(near, inside)), near)


def _rounding(points: _Arrays, dtype: jnp.dtype) -> float:
    stored = max(float(jnp.finfo(y.dtype).eps) for y in points)
    return 2 * stored + 8 * float(jnp.finfo(dtype).eps)


def _smallest(points: _Arrays) -> float:
    """The smallest positive number that all points' dtypes hold."""
    held = [
        # XLA keeps the subnormal numbers of float16 only, with float32 behind them.
        info.smallest_subnormal if info.dtype == jnp.float16 else info.tiny
        for info in (jnp.finfo(y.dtype) for y in points)
    ]
    return max(float(number) for number in held)


def _widened(leaf: jax.Array) -> jax.Array:
    return leaf.astype(compute_dtype(leaf))


def _positive(value: jax.Array) -> jax.Array:
    """A divisor: the value, or 1 where it is 0.

    Not a tiny number: XLA makes (a / b) / c into a / (b c), whose product would vanish.
    """
    return jnp.where(value > 0, value, 1)


def _norm(leaves: _Arrays, dtype: jnp.dtype) -> jax.Array:
    return jnp.sqrt(_total([leaf * leaf for leaf in leaves], dtype))


def _total(leaves: _Arrays, dtype: jnp.dtype) -> jax.Array:
    """The sum of all elements: () of a dtype."""
    return sum((jnp.sum(x).astype(dtype) for x in leaves), jnp.zeros([], dtype))


def _largest(leaves: _Arrays, dtype: jnp.dtype) -> jax.Array:
    """max |leaf| over all elements: () of a dtype, 0 of none."""
    largest = [jnp.max(jnp.abs(x), initial=0).astype(dtype) for x in leaves]
    return jnp.max(jnp.stack(largest), initial=0)
