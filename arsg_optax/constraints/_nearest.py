"""The nearest point of a ball and of a half-space in a weighted norm.

Lists hold one array per leaf: points y of any real dtypes, everything else in the
leaves' compute dtypes. The multipliers s are normalised, see :func:`normalised`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from arsg_optax._precision import compute_dtype
from arsg_optax._reductions import Whole

_NEWTON_STEPS = 64
# Beyond, lambda s would overflow float32; such elements count as frozen.
_LARGEST_MULTIPLIER = 1e30

_Arrays = list[jax.Array]


def in_ball(
    points: _Arrays, centers: _Arrays, radius: jax.Array, s: _Arrays, whole: Whole
) -> _Arrays:
    """x = c + d / (1 + lambda s), d = y - c, with lambda >= 0 such that |x - c| = R."""
    dtype = whole.dtype
    d = jax.tree.map(lambda y, c: widened(y) - c, points, centers)
    # In units of the largest element squares neither overflow nor vanish.
    scale = _positive(whole.max(d))
    z, centers_z = (_over(leaves, scale) for leaves in (d, centers))
    radius = radius.astype(dtype) / scale
    slack = _rounding(points, dtype) * (radius + whole.norm(centers_z))
    # In the order that keeps the smallest numbers from vanishing.
    slack += _smallest(points) / scale * whole.size() ** 0.5
    outside = whole.norm(z) > radius + slack
    multiplier, norm = _ball_multiplier(z, s, radius, outside, whole)
    # What Newton's method left; all of it where frozen elements alone are outside.
    reached = (radius > 0) & (norm <= radius * (1 + 8 * jnp.finfo(dtype).eps))
    shrink = jnp.where(reached, 1, radius / _positive(norm))

    def move(y, c, away, ratio):
        kept = shrink.astype(away.dtype) / (1 + multiplier.astype(away.dtype) * ratio)
        # A frozen element must not even be rounded.
        moved = (c + kept * away).astype(y.dtype)
        return jnp.where(outside & (kept < 1), moved, y)

    return jax.tree.map(move, points, centers, d, s)


def _ball_multiplier(
    z: _Arrays, s: _Arrays, radius: jax.Array, outside: jax.Array, whole: Whole
) -> tuple[jax.Array, jax.Array]:
    """Lambda, and the norm of z / (1 + lambda s) that it leaves: () arrays.

    The reciprocal of the norm is a concave function of lambda that grows, so Newton's
    method for its meeting 1/R rises from 0 to the solution without passing it, as in
    trust-region methods. If all s are equal it arrives in one step.
    """
    dtype = radius.dtype
    close = radius * (1 + 4 * jnp.finfo(dtype).eps)

    def evaluate(multiplier):
        def shrunk(a, ratio):
            return a / (1 + multiplier.astype(a.dtype) * ratio)

        x = jax.tree.map(shrunk, z, s)
        falling = jax.tree.map(lambda a, ratio: shrunk(ratio * a * a, ratio), x, s)
        return multiplier, whole.norm(x), whole.sum(falling)

    def goes_on(carry):
        step, rising, (_, norm, _) = carry
        return (step < _NEWTON_STEPS) & rising & (norm > close)

    def newton(carry):
        step, _, (multiplier, norm, slope) = carry
        excess = norm / _positive(radius) - 1
        further = multiplier + excess * (norm * norm / _positive(slope))
        further = jnp.minimum(further, jnp.asarray(_LARGEST_MULTIPLIER, dtype))
        return step + 1, further > multiplier, evaluate(further)

    # 0, but different by device where the norm is, as the loop's carry has to be.
    zero = jnp.where(outside, jnp.zeros([], dtype), jnp.zeros([], dtype))
    start = jnp.zeros([], jnp.int32), outside, evaluate(zero)
    _, _, (multiplier, norm, _) = jax.lax.while_loop(goes_on, newton, start)
    return multiplier, norm


def in_half_space(
    points: _Arrays, normals: _Arrays, offset: jax.Array, s: _Arrays, whole: Whole
) -> _Arrays:
    """x = y - lambda s a with lambda = max(0, <a, y> - b) / sum(s a^2)."""
    dtype = whole.dtype
    longest = _positive(whole.max(normals))
    a = _over(normals, longest)
    offset = offset.astype(dtype) / longest
    y = [widened(leaf) for leaf in points]

    def excess_and_size(at):
        products = jax.tree.map(jnp.multiply, a, at)
        size = whole.sum([jnp.abs(each) for each in products])
        return whole.sum(products) - offset, size + jnp.abs(offset)

    excess, size = excess_and_size(y)
    least = _smallest(points) * whole.sum([jnp.abs(c) for c in a])
    outside = excess > _rounding(points, dtype) * size + least
    along = _half_space_direction(a, s, whole)
    x = _shifted(y, along, excess)
    # Once more against the rounding of the first, which was that of the larger y, and
    # by as much further as the sums may still be wrong.
    excess, size = excess_and_size(x)
    x = _shifted(x, along, excess + 4 * jnp.finfo(dtype).eps * size)
    return jax.tree.map(
        lambda leaf, moved: jnp.where(outside, moved.astype(leaf.dtype), leaf),
        points,
        x,
    )


def _shifted(y: _Arrays, along: _Arrays, by: jax.Array) -> _Arrays:
    return jax.tree.map(lambda p, q: p - by.astype(p.dtype) * q, y, along)


def _half_space_direction(a: _Arrays, s: _Arrays, whole: Whole) -> _Arrays:
    """s a / sum(s a^2); where all products are 0, a / sum(a^2)."""
    frozen = whole.max(jax.tree.map(jnp.multiply, s, a)) <= 0
    roots = [jnp.where(frozen, 1, jnp.sqrt(ratio)) for ratio in s]
    # With max(s a^2) = 1 small ratios do not vanish when squared.
    t = jax.tree.map(jnp.multiply, roots, a)
    roots = _over(roots, _positive(whole.max(t)))
    t = jax.tree.map(jnp.multiply, roots, a)
    return jax.tree.map(jnp.multiply, roots, _over(t, _positive(whole.dot(t, t))))


def normalised(
    multipliers: Sequence[jax.Array | None], points: _Arrays, whole: Whole
) -> _Arrays:
    """The multipliers in units of their maximum, all 1 if all are 0."""

    def finite(s, y):
        wide = compute_dtype(y)
        if s is None:
            return jnp.ones_like(y, wide)
        return jnp.minimum(s.astype(wide), jnp.finfo(wide).max)

    s = [finite(*each) for each in zip(multipliers, points, strict=True)]
    largest = whole.max(s)
    return [jnp.where(largest > 0, leaf, 1) for leaf in _over(s, _positive(largest))]


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


def widened(leaf: jax.Array) -> jax.Array:
    """In its compute dtype."""
    return leaf.astype(compute_dtype(leaf))


def _over(leaves: _Arrays, scale: jax.Array) -> _Arrays:
    return [leaf / scale.astype(leaf.dtype) for leaf in leaves]


def _positive(value: jax.Array) -> jax.Array:
    """A divisor: the value, or 1 where it is 0.

    Not a tiny number: XLA makes (a / b) / c into a / (b c), whose product would vanish.
    """
    return jnp.where(value > 0, value, 1)
