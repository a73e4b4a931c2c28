"""SLR, the learning rate on the sphere that equals one off it with weight decay."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import (
    as_scalar,
    default_float,
    increment,
    scaled,
    value_at,
)
from arsg_optax._reductions import AxisName, as_axes
from arsg_optax._trees import check_real
from arsg_optax._validation import check
from arsg_optax.constraints import _spheres

# Without a gradient the ratio falls with every decay. Below this alpha / rho^2 would
# leave float32's range some day, and 0 times infinity is NaN.
_LEAST_RATIO, _LARGEST_RATIO = 1e-8, 1e18


class ScaleBySphereLearningRateState(NamedTuple):
    """State of :func:`scale_by_sphere_learning_rate`.

    `radius` and `ratio` are of the default float dtype: (leaves,) for scope "leaf" and
    () for "tree". Vectors, not trees of scalars, which could pass for trees of
    parameters.
    """

    count: jax.Array  # () int32, updates so far.
    # (), default float dtype, alpha_t of the last update, its scale included.
    applied_learning_rate: jax.Array
    # (leaves,) bool, which leaves are on a sphere; all False before the first update.
    member: jax.Array
    radius: jax.Array  # R; 0 before the first update and for leaves on no sphere.
    ratio: jax.Array  # rho_t; 1 before the first update and for leaves on no sphere.

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {"learning_rate": self.applied_learning_rate}


def scale_by_sphere_learning_rate(
    learning_rate: optax.ScalarOrSchedule,
    *,
    mask: _spheres.Mask,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    radius: chex.Numeric | None = None,
    scope: str = "leaf",
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Decay, learning rate and sphere in one link, equal to SGD off the sphere.

    On weights whose scale does not matter, because a normalisation follows them, SGD
    with weight decay and this link compute the same functions step by step, whatever
    their norms do. It takes the place of decay, learning rate and constraint.

    Let :math:`\alpha_t` be the learning rate, :math:`\gamma` the weight decay,
    :math:`R` = ``radius`` and :math:`u_t` the incoming update. The norm ratio
    :math:`\rho_t` is that of the equivalent network off the sphere to R; it starts at
    :math:`\rho_0 = \|\theta_0\|/R`, which is 1 by default. Then

    .. math::

      \begin{align*}
        y &\leftarrow (1 - \alpha_t \gamma) \theta_t - (\alpha_t / \rho_t^2) u_t \\
        \theta_{t+1} &\leftarrow R \, y / \|y\| \\
        \rho_{t+1} &\leftarrow \rho_t \|y\| / R
      \end{align*}

    and for leaves off the mask
    :math:`\theta_{t+1} \leftarrow (1 - \alpha_t \gamma) \theta_t - \alpha_t u_t`.

    With a given radius the first gradient is taken at :math:`\theta_0`, off the sphere.
    The link then steps from :math:`R \theta_0 / \|\theta_0\|`, where the gradient is
    :math:`\|\theta_0\|/R` times the one taken. A direction that remembers gradients has
    seen the one taken; for AdaRem, :func:`arsg_optax.adarem_s` puts that right.

    A policy around the chain may pass the extra argument ``learning_rate_scale``, a ()
    array, that multiplies :math:`\alpha_t`, in the decay as well.

    Args:
      learning_rate: :math:`\alpha_t`, that of the optimizer off the sphere: finite and
        at least 0, or a schedule.
      mask: which leaves are on a sphere: tree of booleans, a prefix of one, or a
        callable that makes it from the parameters. There is no default: only weights
        that a normalisation follows qualify, not classifiers, embeddings, scales and
        biases.
      weight_decay: :math:`\gamma`, decoupled and multiplied by the learning rate, or a
        schedule; members and others alike.
      radius: R, between 1e-12 and 1e18, for every sphere; None takes the norm that the
        parameters hold at the first update.
      scope: "leaf" gives each array a sphere and a ratio of its own, "tree" one of each
        to all members together. The paper does not say which; "leaf" is our choice, as
        scales of different layers are independent.
      axis_name: the mesh axis, or the tuple of axes, along which arrays may be split
        inside :func:`jax.shard_map`; see :func:`arsg_optax.project`.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs` whose updates are in the
      parameters' dtypes. It gives an array no update, and its ratio stays, where the
      norm of the array or of :math:`y` is 0 or outside of [1e-12, 1e18], infinity
      included: an array of zeros stays. NaN comes out where :math:`y` holds NaN. The
      ratio is kept within [1e-8, 1e18].

    Raises:
      ValueError: if an argument is out of range, if ``update`` gets no params, if
        updates, params, mask and state do not fit each other, or if a member is split
        inside :func:`jax.shard_map` and ``axis_name`` is None.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return x[0] / jnp.linalg.norm(x)
      >>> solver = arsg_optax.scale_by_sphere_learning_rate(1.0, mask=True)
      >>> params = jnp.array([1., 2., 2.])
      >>> state = solver.init(params)
      >>> for _ in range(3):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      ...     print(f'{f(params):.3f} {jnp.linalg.norm(params):.3f}')
      0.233 3.000
      0.129 3.000
      0.022 3.000

    References:
      Adaptive Gradient Method with Resilience and Momentum, section 3.4.1. Its
      Algorithm 2 multiplies the decay by the sphere's rate too; the equivalence needs
      :math:`\alpha_t` there.
    """
    return sphere_learning_rate(
        learning_rate, mask, weight_decay, radius, scope, True, axis_name
    )


def sphere_learning_rate(
    learning_rate: optax.ScalarOrSchedule,
    mask: _spheres.Mask,
    weight_decay: optax.ScalarOrSchedule,
    radius: chex.Numeric | None,
    scope: str,
    rescales: bool,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    """The link behind :func:`scale_by_sphere_learning_rate`.

    Args:
      learning_rate: this and the next four as there.
      mask: see there.
      weight_decay: see there.
      radius: see there.
      scope: see there.
      rescales: whether updates are multiplied by the norm held over a given radius;
        not behind :func:`_spheres.gradient_on_sphere`, which has done it.
      axis_name: see there.
    """
    if mask is None:
        raise ValueError(
            "mask must name the leaves on a sphere, got None; True takes all, but only "
            "weights that a normalisation follows qualify."
        )
    check("learning_rate", learning_rate)
    check("weight_decay", weight_decay)
    check("radius", radius)
    _spheres.check_scope(scope)
    axes = as_axes(axis_name)

    def init_fn(params):
        check_real("params", params)
        return ScaleBySphereLearningRateState(
            count=jnp.zeros([], jnp.int32),
            applied_learning_rate=jnp.zeros([], default_float()),
            member=_spheres.no_member(params),
            radius=_spheres.filled_like_norms(params, scope, 0.0),
            ratio=_spheres.filled_like_norms(params, scope, 1.0),
        )

    def update_fn(
        updates, state, params=None, *, learning_rate_scale=None, **extra_args
    ):
        del extra_args
        pairs = _spheres.match(updates, params, mask, state.member)
        rate = value_at("learning_rate", learning_rate, state.count)
        rate = scaled(rate, learning_rate_scale)
        decay = value_at("weight_decay", weight_decay, state.count)
        held = _spheres.norms(pairs.points, pairs.member, scope, axes)
        at = _spheres.radius_now(radius, state, held, pairs.member)
        ratio, onto = state.ratio, None
        if radius is not None:
            ratio = _ratio_at(at, state, held)
            onto = _spheres.onto_factor(at, held)
        moved = _moved(pairs, rate, decay, ratio, onto, rescales)
        norm = _spheres.norms(moved, pairs.member, scope, axes)
        steps, used = _spheres.steps_onto(pairs, moved, at, held, norm)
        new_state = ScaleBySphereLearningRateState(
            count=increment(state.count),
            applied_learning_rate=as_scalar(rate),
            member=_spheres.remember(pairs.member, state.member),
            radius=at,
            ratio=_grown(ratio, norm, held if onto is None else at, used),
        )
        return pairs.rebuild(steps), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _moved(
    pairs: _spheres.Pairs,
    rate: float | jax.Array,
    decay: float | jax.Array,
    ratio: jax.Array,
    onto: jax.Array | None,
    rescales: bool,
) -> list[jax.Array]:
    """y for members, and for the others their whole steps."""
    count = len(pairs.points)
    kept, rates = 1 - rate * decay, _spheres.per_leaf(rate / jnp.square(ratio), count)
    factors = [None] * count if onto is None else _spheres.per_leaf(onto, count)

    def move(update, point, member, own_rate, factor):
        dtype = point.dtype
        if not member:
            decayed = update + jnp.asarray(decay, dtype) * point
            return jnp.asarray(-rate, dtype) * decayed
        own_kept = kept
        if factor is not None:
            own_kept = kept * factor
            own_rate = own_rate / factor if rescales else own_rate
        steady = jnp.asarray(own_kept, dtype) * point
        return steady - own_rate.astype(dtype) * update

    leaves = zip(*pairs[:3], rates, factors, strict=True)
    return [move(*leaf) for leaf in leaves]


def _ratio_at(
    radius: jax.Array, state: ScaleBySphereLearningRateState, held: jax.Array
) -> jax.Array:
    """The norm off the sphere over a given radius, even where that was changed."""
    off_sphere = jnp.where(state.count == 0, held, state.ratio * state.radius)
    usable = _spheres.representable(radius) & _spheres.representable(off_sphere)
    ratio = off_sphere / jnp.where(usable, radius, 1)
    return jnp.where(usable, _bounded(ratio), state.ratio)


def _grown(
    ratio: jax.Array, norm: jax.Array, held: jax.Array, used: jax.Array
) -> jax.Array:
    """The ratio after a step from the sphere to `norm`, its own where it was unused.

    Over the norm held, not over R: in 16 bits the two differ by more than many steps
    do, and always in one direction while roundings swallow them.
    """
    grown = ratio * (norm / jnp.where(used, held, 1))
    return jnp.where(used, _bounded(grown), ratio)


def _bounded(ratio: jax.Array) -> jax.Array:
    return jnp.clip(ratio, _LEAST_RATIO, _LARGEST_RATIO)
