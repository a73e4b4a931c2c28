"""At the edge of a set: the part of a step that does not lead back inside.

Where a constraint is active the gradient does not vanish, and neither does the momentum
along it. The iterate behind the observation point would lie far inside the set, though
the parameters rest at its edge: with the projection in the loop both rest there.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from arsg_optax._precision import compute_dtype
from arsg_optax.constraints.sets import Box, HalfSpace, L2Ball, ParameterSet, spread

# Relative distance from the edge within which a point counts as lying on it.
_EDGE = 1e-5


def without_inward_part(
    onto: ParameterSet,
    points: Sequence[jax.Array],
    offsets: Sequence[jax.Array],
    multipliers: Sequence[jax.Array | None],
) -> list[jax.Array]:
    """Offsets from points of a set, less what leads inside from its edge.

    In a box these are the elements at a bound that it does not push out. In the ball
    and the half-space it is the part along the normal in the metric: with the normal n
    and the multipliers s, d - s n <n, d> / <n, s n> where <n, d> < 0.

    Args:
      onto: as in :func:`arsg_optax.constraints.sets.nearest`.
      points: in the set.
      offsets: d, shaped as the points.
      multipliers: s, as there.

    Returns:
      The offsets in their dtypes.
    """
    if isinstance(onto, Box):
        bounds = (spread(bound, points) for bound in onto)
        return [_in_box(*each) for each in zip(points, offsets, *bounds, strict=True)]
    normals, at_edge = _normals(onto, points)
    scales = [
        jnp.ones_like(n) if s is None else s.astype(n.dtype)
        for s, n in zip(multipliers, normals, strict=True)
    ]
    length = _inner(normals, [s * n for s, n in zip(scales, normals, strict=True)])
    steps = [d.astype(n.dtype) for d, n in zip(offsets, normals, strict=True)]
    inward = _inner(normals, steps)
    usable = at_edge & (inward < 0) & (length > 0)
    share = jnp.where(usable, inward / jnp.where(usable, length, 1), 0)
    return [
        (d.astype(n.dtype) - share.astype(n.dtype) * s * n).astype(d.dtype)
        for d, n, s in zip(offsets, normals, scales, strict=True)
    ]


def _in_box(point, offset, lower, upper):
    """0 where the point is at a bound and the offset points away from it."""
    kept = jnp.ones(point.shape, jnp.bool_)
    if lower is not None:
        kept &= (point > lower.astype(point.dtype)) | (offset < 0)
    if upper is not None:
        kept &= (point < upper.astype(point.dtype)) | (offset > 0)
    return jnp.where(kept, offset, jnp.zeros_like(offset))


def _normals(
    onto: L2Ball | HalfSpace, points: Sequence[jax.Array]
) -> tuple[list[jax.Array], jax.Array]:
    """Outer normals, of any length, and whether the point is at the edge: () bool."""
    wide = [point.astype(compute_dtype(point)) for point in points]
    if not isinstance(onto, HalfSpace):
        centers = spread(onto.center, points)
        normals = [
            x if c is None else x - c.astype(x.dtype)
            for x, c in zip(wide, centers, strict=True)
        ]
        radius = jax.tree.leaves(onto.radius)[0]
        distance = jnp.sqrt(_inner(normals, normals))
        return normals, distance >= (1 - _EDGE) * radius.astype(distance.dtype)
    normals = [
        jnp.zeros_like(x) if a is None else jnp.broadcast_to(a, x.shape).astype(x.dtype)
        for x, a in zip(wide, spread(onto.normal, points), strict=True)
    ]
    offset = jax.tree.leaves(onto.offset)[0]
    reached = _inner(normals, wide)
    size = _inner([jnp.abs(a) for a in normals], [jnp.abs(x) for x in wide]) + jnp.abs(
        offset
    ).astype(reached.dtype)
    return normals, reached >= offset.astype(reached.dtype) - _EDGE * size


def _inner(one: Sequence[jax.Array], other: Sequence[jax.Array]) -> jax.Array:
    """Over all leaves: () of their widest compute dtype."""
    dtype = compute_dtype(*one)
    products = [jnp.sum(a * b).astype(dtype) for a, b in zip(one, other, strict=True)]
    return sum(products, jnp.zeros([], dtype))
