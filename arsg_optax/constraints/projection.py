"""Projection: the updates of any optimizer, kept in a set of parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._precision import cast_updates, compute_dtype
from arsg_optax._state_search import by_path, find_states
from arsg_optax._trees import check_real, map_updates
from arsg_optax._wrapping import Wrappable, as_extra_args
from arsg_optax.constraints._set_arguments import check_set, held, refreshed
from arsg_optax.constraints.sets import Box, ParameterSet, nearest
from arsg_optax.transforms.resilience import (
    ScaleByResilienceState,
    resilience_factors,
)


class ProjectState(NamedTuple):
    """State of :func:`project`."""

    # The set with arrays in it: () of the default float dtype for numbers, shaped as
    # the parameters for trees. `eval_params` maps the iterate onto it.
    onto: ParameterSet
    inner_state: optax.OptState


def project(
    inner: Wrappable, onto: ParameterSet
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
    whose weight is infinite, because its second moment overflowed or a is 0, stays
    where the update put it, if the others can reach the set without it.

    With remote observation the constraint is on the observation point, which the
    training loop holds; :func:`arsg_optax.eval_params` maps the iterate onto the same
    set. The momentum is not projected.

    Where :math:`y_t` is in the set, its update comes out bit for bit; in a box this
    holds for each element by itself. From parameters in a box the next ones are in it
    exactly, in their own dtype, as :func:`optax.apply_updates` forms them. The ball and
    the half-space are met up to rounding, and what they have met they leave alone, see
    ``arsg_optax.constraints.sets.nearest``. A step is rounded in its own units, so
    parameters that start far outside, or take a step much longer than they are to the
    edge of a half-space, may need another update to be in.

    AdaRem's factors are formed again from the gradient that `project` is given. They
    are the applied ones where the resilience sees the same gradient, or one of the
    same signs, up to its ``eps``: put gradient clipping and :class:`optax.MultiSteps`
    around `project`, not inside.

    Args:
      inner: any optimizer, its learning rate included.
      onto: a :class:`arsg_optax.Box`, :class:`arsg_optax.L2Ball` or
        :class:`arsg_optax.HalfSpace`. Numbers and () arrays are taken in the default
        float dtype, trees are rounded to the parameters' compute dtypes (float32 for 16
        bits) and kept in the state, one array a parameter.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`. Updates come out in the
      parameters' dtypes.

    Raises:
      ValueError: if the set is empty or does not fit the parameters, or if ``update``
        gets no params.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum((x - 2) ** 2)
      >>> solver = arsg_optax.project(optax.sgd(0.25), arsg_optax.Box(0.0, 1.0))
      >>> params = jnp.array([0.5, -3.0])
      >>> state = solver.init(params)
      >>> for _ in range(2):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      ...     print(params)
      [1. 0.]
      [1. 1.]

    References:
      Chen et al, `An Adaptive Remote Stochastic Gradient Method for Training Neural
      Networks <https://arxiv.org/abs/1905.01422>`_, 2020, Algorithm 1, line 7; Adaptive
      Gradient Method with Resilience and Momentum, Algorithm 1.
    """
    check_set(onto)
    inner = as_extra_args(inner)

    def init_fn(params):
        check_real("params", params)
        return ProjectState(onto=held(onto, params), inner_state=inner.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError(
                "params must be given to update where they are projected, got None; "
                "call update(gradients, state, params)."
            )
        steps, inner_state = inner.update(
            updates, state.inner_state, params, **extra_args
        )
        steps = cast_updates(steps, params, updates)
        needed = map_updates(lambda _, param: param, steps, params)
        current = refreshed(onto, state.onto, needed)
        multipliers = {}
        if not isinstance(current, Box):  # There the weights drop out.
            multipliers = _multipliers(state.inner_state, inner_state, updates)
        paths = by_path(steps)
        projected = _project(
            current,
            jax.tree.leaves(needed),
            list(paths.values()),
            [multipliers.get(path) for path in paths],
        )
        new_steps = jax.tree.unflatten(jax.tree.structure(steps), projected)
        return new_steps, ProjectState(onto=current, inner_state=inner_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _project(
    onto: ParameterSet,
    params: list[jax.Array],
    steps: list[jax.Array],
    multipliers: list[jax.Array | None],
) -> list[jax.Array]:
    """The steps to the nearest points, leaf by leaf, in the steps' dtypes."""
    points = _sums(params, steps)
    moved = nearest(onto, points, multipliers)
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
    return [_rounded(jnp.asarray(p) + u) for p, u in zip(params, steps, strict=True)]


def _rounded(x: jax.Array) -> jax.Array:
    """The same, but of 16 bits for certain, where XLA may keep excess precision."""
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
        return jnp.where(y == x, u, jnp.where(tiny, least, jnp.nextafter(u, toward)))

    return [shorter(*each) for each in zip(sums, inside, steps, strict=True)]


def preconditioner_multipliers(state: optax.OptState) -> dict[str, jax.Array]:
    """One over all denominators in a state, by path; leaves left out have none."""
    products: dict[str, jax.Array] = {}
    for found in find_states(state):
        if hasattr(found.state, "denominator"):
            for path, divisor in by_path(found.state.denominator()).items():
                products[path] = _product(products.get(path), 1 / divisor)
    return products


def _multipliers(
    before: optax.OptState, after: optax.OptState, gradient: optax.Updates
) -> dict[str, jax.Array]:
    """What the gradient was multiplied by, by path; leaves left out were not."""
    gradients, products = by_path(gradient), preconditioner_multipliers(after)
    for path in products:
        _at(gradients, path)
    for old, new in zip(find_states(before), find_states(after), strict=True):
        if isinstance(new.state, ScaleByResilienceState):
            seen = jax.tree_util.tree_map_with_path(
                lambda path, _: _at(gradients, jax.tree_util.keystr(path)),
                new.state.mu,
            )
            factors = by_path(resilience_factors(old.state, new.state, seen))
            for path, factor in factors.items():
                products[path] = _product(products.get(path), factor)
    return products


def _product(one: jax.Array | None, other: jax.Array) -> jax.Array:
    if one is None:
        return other
    dtype = compute_dtype(one, other)
    return one.astype(dtype) * other.astype(dtype)


def _at(gradients: dict[str, jax.Array], path: str) -> jax.Array:
    if path not in gradients:
        raise ValueError(
            "inner must keep its statistics in the parameters' tree structure, got "
            f"them for '{path}'; put wrappers that change it, such as optax.flatten, "
            "around project."
        )
    return gradients[path]
