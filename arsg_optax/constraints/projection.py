"""Projection: the updates of any optimizer, kept in a set of parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._precision import cast_updates, compute_dtype
from arsg_optax._reductions import Axes, AxisName, as_axes
from arsg_optax._states import by_path, real_leaves, replaced
from arsg_optax._trees import check_real, map_updates, require_params
from arsg_optax._wrapping import Wrappable, as_extra_args
from arsg_optax.constraints._metric import (
    EuclideanMetric,
    check_known,
    multipliers,
    preconditioner_multipliers,
)
from arsg_optax.constraints._set_arguments import check_set, refreshed
from arsg_optax.constraints._set_arguments import held as held_set
from arsg_optax.constraints._tangents import without_inward_part
from arsg_optax.constraints.sets import Box, ParameterSet, nearest, next_toward


class ProjectState(NamedTuple):
    """State of :func:`project`."""

    # The set with arrays in it: () of the default float dtype for numbers, shaped as
    # the parameters for trees. `eval_params` maps the iterate onto it.
    onto: ParameterSet
    inner_state: optax.OptState
    # EuclideanMetric() or None: `eval_params` maps the iterate in the same metric.
    metric: Any = None

    def multipliers(self, params: optax.Params = ()) -> dict[str, jax.Array]:
        """One over what the preconditioners inside divide by, by path."""
        if isinstance(self.metric, EuclideanMetric):
            return {}
        return preconditioner_multipliers(self.inner_state, params)

    def constrain(
        self, point: optax.Params, held: optax.Params, moved: frozenset[str]
    ) -> optax.Params:
        """The iterate, a tree that `project` sees, mapped onto the set.

        In the metric of the preconditioners inside; from an edge of the set at which
        the held parameters rest it does not lead inside. A resilience's factor is in no
        state; as in the iterate itself, it is left out.
        """
        del moved
        leaves, products = real_leaves(point), self.multipliers(point)
        at = [
            jnp.asarray(y, leaves[path].dtype)
            for path, y in by_path(held).items()
            if path in leaves
        ]
        scales = [products.get(path) for path in leaves]
        pairs = list(zip(at, leaves.values(), strict=True))
        offsets = [leaf - y for y, leaf in pairs]
        kept = without_inward_part(self.onto, at, offsets, scales)
        # Where nothing is taken away the point stays as it is, bit for bit.
        tangent = [
            jnp.where(new == old, leaf, y + new)
            for (y, leaf), old, new in zip(pairs, offsets, kept, strict=True)
        ]
        mapped = nearest(self.onto, tangent, scales)
        return replaced(point, dict(zip(leaves, mapped, strict=True)))


def project(
    inner: Wrappable,
    onto: ParameterSet,
    *,
    metric: str = "optimizer",
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps the parameters in a set, nearest in the optimizer's own norm.

    With the inner optimizer's update :math:`u_t` and a set F,

    .. math::

      \begin{align*}
        y_t &\leftarrow \theta_t + u_t \\
        \theta_{t+1} &\leftarrow \arg\min_{x \in F} \sum_i w_i (x_i - y_{t,i})^2
      \end{align*}

    The weights are what the inner optimizer divides the gradient by, read from its
    state: :math:`\sqrt{\hat v}` in ARSG and NAMSG, so that the sum is
    :math:`\|\hat V^{1/4} (x - y)\|^2`; :math:`1/a` in AdaRem, whose factors are
    :math:`a`; the product where there are several, 1 where there is none. An element
    whose weight is infinite stays where the update put it, if the others can reach the
    set without it. A box needs no weights.

    With remote observation the constraint is on the observation point, which the
    training loop holds; :func:`arsg_optax.eval_params` maps the iterate onto the same
    set. The momentum is not projected.

    Where :math:`y_t` is in the set, its update comes out bit for bit, in a box element
    by element. From parameters in a box the next ones are in it exactly, in their own
    dtype, as :func:`optax.apply_updates` forms them. The ball and the half-space are
    met up to rounding, see ``arsg_optax.constraints.sets.nearest``; parameters that
    start far outside, or take a step much longer than they are, may need another update
    to be in. Updates come out in the parameters' dtypes.

    AdaRem's factors are formed again from the gradient that `project` is given: put
    gradient clipping and :class:`optax.MultiSteps` around `project`, not inside.
    Derivatives go through an update; in a box they are those of clipping, through a
    ball they go forward only.

    Args:
      inner: any optimizer, its learning rate included.
      onto: a :class:`arsg_optax.Box`, :class:`arsg_optax.L2Ball` or
        :class:`arsg_optax.HalfSpace`. Numbers and () arrays are taken in the default
        float dtype, trees are rounded to the parameters' compute dtypes (float32 for 16
        bits) and kept in the state, one array per parameter.
      metric: "optimizer" for the weights above, or "euclidean" for weights of 1, as
        around Optax's preconditioners, which do not say what they divide by.
      axis_name: the mesh axis, or the tuple of axes, along which parameters may be
        split inside :func:`jax.shard_map`. Products and norms are over whole arrays
        then: each leaf is reduced over those of these axes that split it. Along other
        axes it is taken to differ, so () is for whole parameters that differ by device.
        None refuses a split leaf, but cannot notice one without ``check_vma``, where a
        name is refused. Under `jit`, on any sharding, and for a box nothing is needed.

    Raises:
      ValueError: if the set is empty or does not fit the parameters, if ``init`` finds
        that the metric cannot be known, if ``update`` gets no params, or if a parameter
        is split inside :func:`jax.shard_map` and ``axis_name`` is None.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> solver = arsg_optax.project(optax.sgd(0.5), arsg_optax.Box(0.0, 1.0))
      >>> params = jnp.array([0.5, -3.0])
      >>> updates, _ = solver.update(params - 2, solver.init(params), params)
      >>> print(optax.apply_updates(params, updates))
      [1. 0.]

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, Algorithm 1, line 7;
      Adaptive Gradient Method with Resilience and Momentum, Algorithm 1.
    """
    check_set(onto)
    if metric not in ("optimizer", "euclidean"):
        raise ValueError(
            f"metric must be 'optimizer' or 'euclidean', got {metric!r}; 'optimizer' "
            "weights each element by what the optimizer divides its gradient by."
        )
    axes, inner = as_axes(axis_name), as_extra_args(inner)
    euclidean = EuclideanMetric() if metric == "euclidean" else None
    weighted = metric == "optimizer" and not isinstance(onto, Box)

    def init_fn(params):
        check_real("params", params)
        inner_state = inner.init(params)
        if weighted:
            check_known(inner_state, params)
        return ProjectState(held_set(onto, params), inner_state, euclidean)

    def update_fn(updates, state, params=None, **extra_args):
        params = require_params(params, "they are projected")
        steps, inner_state = inner.update(
            updates, state.inner_state, params, **extra_args
        )
        steps = cast_updates(steps, params, updates)
        needed = map_updates(lambda _, param: param, steps, params)
        current, products = refreshed(onto, state.onto, needed), {}
        if weighted:
            products = multipliers(state.inner_state, inner_state, updates, needed)
        paths = by_path(steps)
        projected = _project(
            current,
            jax.tree.leaves(needed),
            list(paths.values()),
            [products.get(path) for path in paths],
            axes,
        )
        new_steps = jax.tree.unflatten(jax.tree.structure(steps), projected)
        return new_steps, ProjectState(current, inner_state, euclidean)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _project(
    onto: ParameterSet,
    params: list[jax.Array],
    steps: list[jax.Array],
    products: list[jax.Array | None],
    axes: Axes,
) -> list[jax.Array]:
    """The steps to the nearest points, leaf by leaf, in the steps' dtypes."""
    points = _sums(params, steps)
    moved = nearest(onto, points, products, axes)
    steps = [
        jnp.where(x == y, u, _difference(x, p))
        for x, y, u, p in zip(moved, points, steps, params, strict=True)
    ]
    return _nudged(onto, params, steps) if isinstance(onto, Box) else steps


def _difference(x: jax.Array, param: jax.Array) -> jax.Array:
    dtype = compute_dtype(x, param)
    return _rounded((x.astype(dtype) - jnp.asarray(param, dtype)).astype(x.dtype))


def _sums(params: list[jax.Array], steps: list[jax.Array]) -> list[jax.Array]:
    """What `optax.apply_updates` will make of parameters and steps."""
    return jax.tree.map(lambda p, u: _rounded(jnp.asarray(p) + u), params, steps)


def _rounded(x: jax.Array) -> jax.Array:
    """The array, 16 bits for certain, where XLA may keep excess precision."""
    return jax.lax.optimization_barrier(x) if x.dtype.itemsize == 2 else x


def _nudged(
    box: Box, params: list[jax.Array], steps: list[jax.Array]
) -> list[jax.Array]:
    """Steps one number shorter where param + step would round to beyond a bound."""
    sums = _sums(params, steps)
    inside = nearest(box, sums, [None] * len(sums))

    def shorter(y, x, u):
        toward = jnp.where(y > x, jnp.full_like(u, -jnp.inf), jnp.full_like(u, jnp.inf))
        # Numbers below the smallest normal one count as 0.
        least = jnp.copysign(jnp.full_like(u, jnp.finfo(u.dtype).tiny), toward)
        tiny = jnp.abs(u) < jnp.abs(least)
        return jnp.where(y == x, u, jnp.where(tiny, least, next_toward(u, toward)))

    return jax.tree.map(shorter, sums, inside, steps)
