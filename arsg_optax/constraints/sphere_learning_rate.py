"""SLR, the learning rate on the sphere that equals one off it with weight decay."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._precision import cast_updates
from arsg_optax._reductions import AxisName
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

    On weights whose scale does not matter, because they feed a normalization layer, SGD
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

    and for leaves off the mask :math:`\theta_{t+1} \leftarrow (1 - \alpha_t \gamma)
    \theta_t - \alpha_t u_t`. The ratio is kept within [1e-8, 1e18], and stays where an
    array gets no update. That, and dtypes, are as in
    :func:`arsg_optax.constrain_to_sphere`.

    With a given radius the first gradient is taken at :math:`\theta_0`, off the sphere.
    The link then steps from :math:`R \theta_0 / \|\theta_0\|`, where the gradient is
    :math:`\|\theta_0\|/R` times the one taken. A direction that remembers gradients has
    seen the one taken; for AdaRem, :func:`arsg_optax.adarem_s` puts that right.

    A policy around the chain may pass the extra argument ``learning_rate_scale``, a ()
    array, that multiplies :math:`\alpha_t`, in the decay as well.

    Args:
      learning_rate: :math:`\alpha_t`, that of the optimizer off the sphere: finite and
        at least 0, or a schedule.
      mask: which leaves are on a sphere, as in :func:`arsg_optax.constrain_to_sphere`,
        but without a default: only weights that feed a normalization layer qualify, not
        classifiers, embeddings, scales and biases.
      weight_decay: :math:`\gamma`, decoupled and multiplied by the learning rate, or a
        schedule; members and others alike.
      scope: "leaf" gives each array a sphere and a ratio of its own, "tree" one of each
        to all members together. The paper does not say which; "leaf" is our choice, as
        scales of different layers are independent.
      radius, axis_name: as in :func:`arsg_optax.constrain_to_sphere`.

    Raises:
      ValueError: as in :func:`arsg_optax.constrain_to_sphere`.

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

    It rescales updates by the norm held over a given radius, or is told that
    :func:`_spheres.gradient_on_sphere` has done so.
    """
    if mask is None:
        raise ValueError(
            "mask must name the leaves on a sphere, got None; True takes all, but only "
            "weights that feed a normalization layer qualify."
        )
    check("learning_rate", learning_rate)
    check("weight_decay", weight_decay)
    shared = _spheres.spheres(radius, scope, mask, axis_name)

    def init_fn(params):
        check_real("params", params)
        return ScaleBySphereLearningRateState(
            count=jnp.zeros([], jnp.int32),
            applied_learning_rate=jnp.zeros([], default_float()),
            member=_spheres.no_member(params),
            radius=shared.filled(params, 0.0),
            ratio=shared.filled(params, 1.0),
        )

    def update_fn(updates, state, params=None, *, learning_rate_scale=None, **_):
        pairs = shared.match(updates, params, state.member)
        scale = learning_rate_scale
        rate = value_at("learning_rate", learning_rate, state.count, scale)
        decay = value_at("weight_decay", weight_decay, state.count)
        held = shared.norms(pairs.points, pairs)
        at = shared.radii(held, pairs, state)
        ratio, start, onto = state.ratio, held, jnp.ones_like(held)
        if radius is not None:
            ratio, start = _ratio_at(at, state, held), at
            onto = _spheres.onto_factor(at, held)
        moved = _moved(pairs, rate, decay, ratio, onto, rescales)
        norm = shared.norms(moved, pairs)
        steps, used = _spheres.steps_onto(pairs, moved, at, held, norm)
        new_state = ScaleBySphereLearningRateState(
            count=increment(state.count),
            applied_learning_rate=as_scalar(rate),
            member=_spheres.remember(pairs, state.member),
            radius=at,
            ratio=_grown(ratio, norm, start, used),
        )
        steps = pairs.structure.unflatten(steps)
        return cast_updates(steps, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _moved(pairs, rate, decay, ratio, onto, rescales) -> list[jax.Array]:
    """y for members, and for the others their whole steps."""
    kept, count = 1 - rate * decay, len(pairs.points)
    rates = _spheres.per_leaf(rate / jnp.square(ratio), count)

    def move(update, point, member, own_rate, factor):
        dtype = point.dtype
        if not member:
            decayed = update + jnp.asarray(decay, dtype) * point
            return jnp.asarray(-rate, dtype) * decayed
        own_rate = own_rate / factor if rescales else own_rate
        return (kept * factor).astype(dtype) * point - own_rate.astype(dtype) * update

    return jax.tree.map(move, *pairs[:3], rates, _spheres.per_leaf(onto, count))


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
