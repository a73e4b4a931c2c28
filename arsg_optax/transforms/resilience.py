"""Resilience: steps that agree with the momentum grow, the others shrink."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._moments import moments_like, update_moment
from arsg_optax._precision import (
    cast_updates,
    check_storage_dtype,
    compute_dtype,
    product,
)
from arsg_optax._reductions import Axes, AxisName, as_axes, leaf_max
from arsg_optax._rounding import RESILIENCE
from arsg_optax._trees import check_real, per_leaf
from arsg_optax._validation import check
from arsg_optax.transforms.combining import gradient_for_statistics


class ScaleByResilienceState(NamedTuple):
    """State of :func:`scale_by_resilience`; scalars are of the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    mu: optax.Updates  # m_t, shaped as the parameters.
    # max|m_t|: () for scope "tree", else one per leaf. Taken when m_t is written,
    # so the next update need not read it twice; a vector, not a tree of scalars, which
    # could pass for a tree of parameters.
    mu_max: jax.Array
    # (), of the last update, 0 before the first; not named as the arguments, which
    # optax.tree.get finds in injected hyper-parameters.
    applied_resilience: jax.Array
    applied_eps: jax.Array

    elementwise = True  # What `remote_chain` asks of a link: factors around 1.

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {"momentum_max": self.mu_max, "resilience": self.applied_resilience}


def scale_by_resilience(
    b1: optax.ScalarOrSchedule = 0.9,
    resilience: optax.ScalarOrSchedule = 0.999,
    *,
    eps: chex.Numeric = 1e-30,
    scope: str = "tree",
    mu_dtype: Any | None = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Multiplies updates by AdaRem's agreement of gradient and momentum.

    With :math:`\beta` = ``b1``, :math:`\lambda` = ``resilience`` and
    :math:`\epsilon` = ``eps``, from :math:`m_1 = 0`,

    .. math::

      \begin{align*}
        b_t &\leftarrow g_t \odot m_t / (|g_t| \max|m_t| + \epsilon) \\
        u_t &\leftarrow (1 + \lambda_t b_t) \odot d_t \\
        m_{t+1} &\leftarrow \beta_t m_t + (1-\beta_t) g_t
      \end{align*}

    where :math:`g_t` is ``raw_gradient`` inside :func:`arsg_optax.chain_on_gradient`,
    else the incoming update :math:`d_t`. The maximum is over finite values: an element
    of the gradient that is infinite or NaN spoils its own update and momentum, for
    good, and no other. Updates come out in the parameters' dtypes, or without
    ``params`` in those they came in.

    Args:
      b1: decay rate of the momentum, in [0, 1), or a schedule; the paper gives no
        value, 0.9 is our choice.
      resilience: in [0, 1], or a schedule of it. The paper multiplies it by 0.999
        once an epoch: ``lambda count: 0.999 ** (1 + count // steps_per_epoch)``.
      eps: added to the denominator as printed, in units of the squared gradient. The
        paper gives no value. Adam's 1e-8 would switch the method off for gradients
        below 1e-4, the default does so below 1e-15.
      scope: "tree" takes the maximum over all arrays, as the paper's bold vector
        suggests; "leaf" over each array by itself.
      mu_dtype: dtype that stores the momentum, as in :func:`arsg_optax.remote_chain`.
      axis_name: the mesh axes along which :func:`jax.shard_map` splits arrays, or ():
        each device then has whole arrays of its own. The maximum of an array goes over
        those of them along which JAX knows it to vary. Not needed under ``jit``.

    Raises:
      ValueError: if an argument is out of range, if a hyper-parameter has 16 bits,
        if gradients are not real floating point or do not fit the state, or if a
        momentum varies along an axis of `shard_map` and ``axis_name`` is None. With
        ``check_vma=False`` that cannot be known, and each device would take the
        maximum of its own parts.

    References:
      Adaptive Gradient Method with Resilience and Momentum, eq. 1 and Algorithm 1.
    """
    check("b1", b1)
    check("resilience", resilience)
    check("eps", eps)
    if scope not in ("tree", "leaf"):
        raise ValueError(
            f"scope must be 'tree' or 'leaf', got {scope!r}; 'tree' is the paper's."
        )
    mu_dtype = check_storage_dtype("mu_dtype", mu_dtype)
    axes = as_axes(axis_name)

    def init_fn(params):
        check_real("params", params)
        mu = moments_like(params, mu_dtype)
        # Zeros that vary along the axes that later maxima vary along, so that the state
        # has one type in a scan inside shard_map.
        mu_max = jnp.zeros_like(jax.eval_shape(lambda: _largest(mu, mu, scope, axes)))
        return ScaleByResilienceState(
            count=jnp.zeros([], jnp.int32),
            mu=mu,
            mu_max=mu_max,
            applied_resilience=jnp.zeros([], default_float()),
            applied_eps=jnp.zeros([], default_float()),
        )

    def update_fn(
        updates, state, params=None, *, raw_gradient=None, shared_step=None, **_
    ):
        step = state.count if shared_step is None else shared_step
        gradient = gradient_for_statistics(updates, raw_gradient, state.mu)
        beta = value_at("b1", b1, state.count)
        mu = update_moment(gradient, state.mu, beta, step, RESILIENCE)
        new_state = ScaleByResilienceState(
            count=increment(state.count),
            mu=mu,
            mu_max=_largest(mu, gradient, scope, axes),
            applied_resilience=as_scalar(
                value_at("resilience", resilience, state.count)
            ),
            applied_eps=as_scalar(value_at("eps", eps, state.count)),
        )
        factors = resilience_factors(state, new_state, gradient)
        scaled = jax.tree.map(product, updates, factors)
        return cast_updates(scaled, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def resilience_factors(
    before: ScaleByResilienceState, after: ScaleByResilienceState, gradient: Any
) -> optax.Updates:
    """a_t = 1 + lambda_t b_t of the update between two states, in float32 at least.

    Its statistics came from the gradient. The factors are 1 where there was no update.
    """
    # Before the first update it is 0, and the quotient of zeros would be NaN.
    eps = jnp.where(after.applied_eps > 0, after.applied_eps, 1)
    leaves, structure = jax.tree.flatten(before.mu)
    maxima = before.mu_max  # One for all leaves, or one each.
    maxima = [maxima] * len(leaves) if maxima.shape == () else list(maxima)

    def factor(g, m, m_max):
        return _factor(g, m, m_max, eps, after.applied_resilience)

    return jax.tree.map(factor, gradient, before.mu, structure.unflatten(maxima))


@per_leaf
def _factor(gradient, momentum, momentum_max, eps, strength):
    agreement = _agreement(gradient, momentum, momentum_max, eps)
    return 1 + jnp.asarray(strength, agreement.dtype) * agreement


@jax.custom_jvp
def _agreement(gradient, momentum, momentum_max, eps):
    """b_t, in [-1, 1].

    Written as m/max|m| * g/(|g| + eps/max|m|), which is the paper's quotient without
    its product |g| max|m|: in float32 that is 0 for two factors of 1e-23.
    """
    ratio, sign, *_ = _agreement_parts(gradient, momentum, momentum_max, eps)
    return ratio * sign


@_agreement.defjvp
def _agreement_jvp(primals, tangents):
    """The derivative, whose plain form squares |g| and max|m|, so that 0 gives NaN."""
    ratio, sign, largest, threshold, size = _agreement_parts(*primals)
    dg, dm, dmax, deps = (jnp.asarray(each, ratio.dtype) for each in tangents)
    dratio = (dm - ratio * dmax) / largest
    dthreshold = (deps - threshold * dmax) / largest
    dsign = ((1 - jnp.abs(sign)) * dg - sign * dthreshold) / size
    return ratio * sign, dratio * sign + ratio * dsign


def _agreement_parts(gradient, momentum, momentum_max, eps):
    dtype = compute_dtype(gradient, momentum)
    g, m, largest, eps = (
        jnp.asarray(x, dtype) for x in (gradient, momentum, momentum_max, eps)
    )
    limits = jnp.finfo(dtype)
    # Without momentum, as at the first update, m is 0 and any divisor will do.
    largest = jnp.where(largest >= limits.tiny, largest, 1)
    threshold = jnp.clip(eps / largest, limits.tiny, limits.max)
    size = jnp.abs(g) + threshold
    return m / largest, g / size, largest, threshold, size


def _largest(
    momentum: optax.Updates, gradient: optax.Updates, scope: str, axes: Axes
) -> jax.Array:
    """max|m| over the finite elements of a tree as () or of each leaf as (leaves,)."""
    dtype, pairs = default_float(), map(jax.tree.leaves, (momentum, gradient))
    maxima = [
        leaf_max(_finite_max(m, g), axes, m).astype(dtype)
        for m, g in zip(*pairs, strict=True)
    ]
    each = jnp.stack(maxima) if maxima else jnp.zeros((0,), dtype)
    return jnp.max(each, initial=0) if scope == "tree" else each


@per_leaf
def _finite_max(momentum, gradient):
    """max|m| without infinite and NaN elements, so that they harm no other element."""
    # On a TPU a maximum shares its kernel only with outputs of its own width: those are
    # the momentum and, of the gradient's width, the parameter.
    dtype = max(momentum.dtype, gradient.dtype, key=lambda dtype: dtype.itemsize)

    def selected(m):
        finite = jnp.where(jnp.abs(m) < jnp.inf, m, 0).astype(dtype)
        return jnp.max(jnp.abs(finite), initial=0)

    def checked(m):
        # On a CPU the selection is an array of its own, and slow, so first without it.
        largest = jnp.max(jnp.abs(m), initial=0).astype(dtype)
        return jax.lax.cond(largest < jnp.inf, lambda _: largest, selected, m)

    return jax.lax.platform_dependent(momentum, cpu=checked, default=selected)
