"""The sphere: parameters that keep the norm they had, or a given one."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import increment
from arsg_optax._precision import cast_updates
from arsg_optax._reductions import AxisName
from arsg_optax._states import real_leaves, replaced
from arsg_optax._trees import check_real
from arsg_optax.constraints import _spheres


class ConstrainToSphereState(NamedTuple):
    """State of :func:`constrain_to_sphere`."""

    count: jax.Array  # () int32, updates so far.
    # (leaves,) bool, which leaves are on a sphere; all False before the first update.
    member: jax.Array
    # R, default float dtype: (leaves,) for scope "leaf", 0 for leaves on no sphere, and
    # () for "tree"; 0 before the first update. Vectors, not trees of scalars, which
    # could pass for trees of parameters.
    radius: jax.Array

    def onto_sphere(self, leaves: Sequence[jax.Array]) -> list[jax.Array]:
        """Maps members radially onto their spheres; other leaves stay as they are.

        Leaves are in the order of ``member``, and keep their dtypes. Before the first
        update none is moved.
        """
        return _spheres.onto_spheres(leaves, self.member, self.radius)

    def constrain(
        self, point: optax.Params, held: optax.Params, moved: frozenset[str]
    ) -> optax.Params:
        """The iterate, a tree that the link sees, mapped onto the spheres.

        With spheres of their own only leaves that moved from where they are held are
        mapped.
        """
        del held
        leaves = real_leaves(point)
        mapped = dict(zip(leaves, self.onto_sphere(list(leaves.values())), strict=True))
        if self.radius.ndim:  # Each leaf has a sphere of its own.
            mapped = {path: mapped[path] for path in mapped if path in moved}
        return replaced(point, mapped)


def constrain_to_sphere(
    *,
    radius: chex.Numeric | None = None,
    scope: str = "leaf",
    mask: _spheres.Mask | None = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps parameters on a sphere; the last link, behind the learning rate.

    With :math:`u_t` the incoming update and :math:`R` = ``radius``,

    .. math::

      \begin{align*}
        y &\leftarrow \theta_t + u_t \\
        \theta_{t+1} &\leftarrow R \, y / \|y\|
      \end{align*}

    It is for weights that feed a normalization layer: their length changes nothing but
    the length of their gradient, so a fixed length keeps gradients comparable over
    time. Here the learning rate stays what it was;
    :func:`arsg_optax.scale_by_sphere_learning_rate` also adapts it. Spheres are around
    the origin. Updates come out in the parameters' dtypes. An array gets none where its
    norm, or that of :math:`y`, is 0 or outside of [1e-12, 1e18], infinity included. NaN
    comes out where :math:`y` holds NaN.

    Args:
      radius: R, between 1e-12 and 1e18, for every sphere; None takes the norm that the
        parameters hold at the first update.
      scope: "leaf" gives each array a sphere of its own, "tree" one to all members
        together.
      mask: tree of booleans, a prefix of one or a callable that makes it from the
        parameters: which leaves are on a sphere, by default all. The others' updates
        pass through.
      axis_name: as in :func:`arsg_optax.project`.

    Raises:
      ValueError: if an argument is out of range, if ``update`` gets no params, if
        updates, params, mask and state do not fit each other, or if a member is split
        inside :func:`jax.shard_map` and ``axis_name`` is None.

    References:
      Adaptive Gradient Method with Resilience and Momentum, section 3.4, Algorithm 2.
    """
    shared = _spheres.spheres(radius, scope, mask, axis_name)

    def init_fn(params):
        check_real("params", params)
        return ConstrainToSphereState(
            count=jnp.zeros([], jnp.int32),
            member=_spheres.no_member(params),
            radius=shared.filled(params, 0.0),
        )

    def update_fn(updates, state, params=None, **_):
        pairs = shared.match(updates, params, state.member)

        def move(update, point, member):
            return point + update if member else update

        moved = jax.tree.map(move, *pairs[:3])
        held, norm = (shared.norms(leaves, pairs) for leaves in (pairs.points, moved))
        at = shared.radii(held, pairs, state)
        steps, _ = _spheres.steps_onto(pairs, moved, at, held, norm)
        new_state = ConstrainToSphereState(
            increment(state.count), _spheres.remember(pairs, state.member), at
        )
        steps = pairs.structure.unflatten(steps)
        return cast_updates(steps, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
