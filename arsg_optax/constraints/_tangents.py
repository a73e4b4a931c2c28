"""At the edge of a set: the part of a step that does not lead back inside.

Where a constraint is active the gradient does not vanish, and neither does the momentum
along it. The iterate behind the observation point would lie far inside the set, though
the parameters rest at its edge: with the projection in the loop both rest there.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from arsg_optax._precision import compute_dtype
from arsg_optax._reductions import Axes, Whole
from arsg_optax.constraints._nearest import widened
from arsg_optax.constraints.sets import (
    Box,
    HalfSpace,
    L2Ball,
    ParameterSet,
    filled,
    scalar,
    spread,
)

# Relative distance from the edge within which a point counts as lying on it.
_EDGE = 1e-5


def without_inward_part(
    onto: ParameterSet,
    points: Sequence[jax.Array],
    offsets: Sequence[jax.Array],
    multipliers: Sequence[jax.Array | None],
    axes: Axes = None,
) -> list[jax.Array]:
    """Offsets d from points of a set, less what leads inside from its edge.

    In a box these are the elements at a bound that it does not push out. In the ball
    and the half-space it is the part along the normal in the metric: with the normal n
    and the multipliers s, d - s n <n, d> / <n, s n> where <n, d> < 0.

    Arguments and dtypes are those of :func:`arsg_optax.constraints.sets.nearest`.
    """
    if isinstance(onto, Box):
        bounds = (spread(bound, points) for bound in onto)
        return [_in_box(*each) for each in zip(points, offsets, *bounds, strict=True)]
    if not points:
        return []
    whole = Whole(points, axes, compute_dtype(*points))
    normals, at_edge = _normals(onto, points, whole)
    scales = [
        jnp.ones_like(n) if s is None else s.astype(n.dtype)
        for s, n in zip(multipliers, normals, strict=True)
    ]
    length = whole.dot(normals, jax.tree.map(jnp.multiply, scales, normals))
    steps = jax.tree.map(lambda d, n: d.astype(n.dtype), list(offsets), normals)
    inward = whole.dot(normals, steps)
    usable = at_edge & (inward < 0) & (length > 0)
    share = jnp.where(usable, inward / jnp.where(usable, length, 1), 0)

    def along_edge(d, step, s, n):
        return (step - share.astype(n.dtype) * s * n).astype(d.dtype)

    return jax.tree.map(along_edge, list(offsets), steps, scales, normals)


def _in_box(point, offset, lower, upper):
    """0 where the point is at a bound and the offset points away from it."""
    kept = jnp.ones(point.shape, jnp.bool_)
    if lower is not None:
        kept &= (point > lower.astype(point.dtype)) | (offset < 0)
    if upper is not None:
        kept &= (point < upper.astype(point.dtype)) | (offset > 0)
    return jnp.where(kept, offset, jnp.zeros_like(offset))


def _normals(
    onto: L2Ball | HalfSpace, points: Sequence[jax.Array], whole: Whole
) -> tuple[list[jax.Array], jax.Array]:
    """Outer normals, of any length, and whether the point is at the edge: () bool."""
    wide = [widened(point) for point in points]
    if not isinstance(onto, HalfSpace):
        normals = jax.tree.map(jnp.subtract, wide, filled(onto.center, points))
        radius = scalar(onto.radius).astype(whole.dtype)
        return normals, whole.norm(normals) >= (1 - _EDGE) * radius
    normals = filled(onto.normal, points)
    offset = scalar(onto.offset).astype(whole.dtype)
    products = jax.tree.map(jnp.multiply, normals, wide)
    size = whole.sum([jnp.abs(each) for each in products]) + jnp.abs(offset)
    return normals, whole.sum(products) >= offset - _EDGE * size
