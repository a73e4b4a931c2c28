"""The sphere: parameters that keep the norm they had, or a given one."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import increment
from arsg_optax._reductions import AxisName, as_axes
from arsg_optax._trees import check_real
from arsg_optax._validation import check_radius
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

        Args:
          leaves: arrays in the order of ``member``.

        Returns:
          The arrays in their dtypes; unchanged before the first update.
        """
        return _spheres.onto_spheres(leaves, self.member, self.radius)


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

    For weights that a normalisation follows: their length changes nothing but the
    length of their gradient, so a fixed length keeps gradients comparable over time.
    Here the learning rate stays what it was;
    :func:`arsg_optax.scale_by_sphere_learning_rate` also adapts it. Spheres are around
    the origin.

    Args:
      radius: R, between 1e-12 and 1e18, for every sphere; None takes the norm that the
        parameters hold at the first update.
      scope: "leaf" gives each array a sphere of its own, "tree" one to all members
        together.
      mask: tree of booleans, a prefix of one or a callable that makes it from the
        parameters: which leaves are on a sphere, by default all. The others' updates
        pass through.
      axis_name: the mesh axis, or the tuple of axes, along which arrays may be split
        inside :func:`jax.shard_map`; see :func:`arsg_optax.project`.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs` whose updates are in the
      parameters' dtypes. It gives an array no update whose norm, or that of
      :math:`y`, is 0 or outside of [1e-12, 1e18], infinity included: an array of zeros
      stays. NaN comes out where :math:`y` holds NaN.

    Raises:
      ValueError: if an argument is out of range, if ``update`` gets no params, if
        updates, params, mask and state do not fit each other, or if a member is split
        inside :func:`jax.shard_map` and ``axis_name`` is None.

    Examples:
      >>> import arsg_optax, jax.numpy as jnp, optax
      >>> solver = optax.chain(
      ...     arsg_optax.arsg(learning_rate=0.1), arsg_optax.constrain_to_sphere()
      ... )
      >>> params = jnp.array([3.0, 4.0])
      >>> state = solver.init(params)
      >>> updates, state = solver.update(jnp.array([-1.0, 0.0]), state, params)
      >>> params = optax.apply_updates(params, updates)
      >>> print(f'{jnp.linalg.norm(params):.4f}')
      5.0000

    References:
      Adaptive Gradient Method with Resilience and Momentum, section 3.4 and
      Algorithm 2.
    """
    check_radius(radius)
    _spheres.check_scope(scope)
    axes = as_axes(axis_name)
    everywhere = True if mask is None else mask

    def init_fn(params):
        check_real("params", params)
        return ConstrainToSphereState(
            count=jnp.zeros([], jnp.int32),
            member=_spheres.no_member(params),
            radius=_spheres.filled_like_norms(params, scope, 0.0),
        )

    def update_fn(updates, state, params=None, **extra_args):
        del extra_args
        pairs = _spheres.match(updates, params, everywhere, state.member)
        moved = [
            point + update if member else update
            for update, point, member in zip(*pairs[:3], strict=True)
        ]
        held = _spheres.norms(pairs.points, pairs.member, scope, axes)
        norm = _spheres.norms(moved, pairs.member, scope, axes)
        at = _spheres.radius_now(radius, state, held, pairs.member)
        steps, _ = _spheres.steps_onto(pairs, moved, at, held, norm)
        new_state = ConstrainToSphereState(
            count=increment(state.count),
            member=_spheres.remember(pairs.member, state.member),
            radius=at,
        )
        return pairs.rebuild(steps), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
