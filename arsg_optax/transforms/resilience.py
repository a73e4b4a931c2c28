"""Resilience: steps that agree with the momentum grow, the others shrink."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._moments import moments_like, update_moment
from arsg_optax._precision import cast_updates, check_storage_dtype, compute_dtype
from arsg_optax._rounding import RESILIENCE, rounding_step, rounds_by_count
from arsg_optax._trees import check_real, per_leaf
from arsg_optax._validation import check
from arsg_optax.transforms.combining import gradient_for_statistics


@rounds_by_count
class ScaleByResilienceState(NamedTuple):
    """State of :func:`scale_by_resilience`; scalars are of the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    mu: optax.Updates  # m_t, shaped as the parameters.
    # max|m_t|: () for scope "tree", else one entry a leaf. Taken when m_t is written,
    # so the next update need not read it twice; a vector, not a tree of scalars, which
    # could pass for a tree of parameters.
    mu_max: jax.Array
    # (), of the last update, 0 before the first; not named as the arguments, which
    # optax.tree.get finds in injected hyper-parameters.
    applied_resilience: jax.Array
    applied_eps: jax.Array


def scale_by_resilience(
    b1: optax.ScalarOrSchedule = 0.9,
    resilience: optax.ScalarOrSchedule = 0.999,
    *,
    eps: chex.Numeric = 1e-8,
    scope: str = "tree",
    mu_dtype: Any | None = None,
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

    where :math:`d_t` is the incoming update and :math:`g_t` is ``raw_gradient``
    inside :func:`arsg_optax.chain_on_gradient`, else :math:`d_t` as well. The factor
    lies in :math:`[1-\lambda, 1+\lambda]`; the momentum is updated afterwards.

    Args:
      b1: decay rate of the momentum, in [0, 1), or a schedule; the paper gives no
        value, 0.9 is our choice.
      resilience: in [0, 1], or a schedule of it. The paper multiplies it by 0.999
        once an epoch: ``lambda count: 0.999 ** (1 + count // steps_per_epoch)``.
      eps: added to the denominator as printed, in units of the squared gradient.
      scope: "tree" takes the maximum over all arrays, as the paper's bold vector
        suggests; "leaf" over each array by itself.
      mu_dtype: dtype that stores the momentum: bfloat16 (rounded stochastically),
        float32 or float64; None is the parameter's dtype, but float32 at least.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`. Updates come out in the
      parameters' dtypes, or where ``update`` gets no params in those they came in.

    Raises:
      ValueError: if an argument is out of range, if a hyper-parameter has 16 bits,
        or if gradients are not real floating point or do not fit the state.

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

    def init_fn(params):
        check_real("params", params)
        shape = () if scope == "tree" else (len(jax.tree.leaves(params)),)
        return ScaleByResilienceState(
            count=jnp.zeros([], jnp.int32),
            mu=moments_like(params, mu_dtype),
            mu_max=jnp.zeros(shape, default_float()),
            applied_resilience=jnp.zeros([], default_float()),
            applied_eps=jnp.zeros([], default_float()),
        )

    def update_fn(
        updates,
        state,
        params=None,
        *,
        raw_gradient=None,
        shared_step=None,
        **extra_args,
    ):
        del extra_args
        step = rounding_step(shared_step, state.count)
        gradient = gradient_for_statistics(updates, raw_gradient, state.mu)
        beta = value_at("b1", b1, state.count)
        strength = value_at("resilience", resilience, state.count)
        constant = value_at("eps", eps, state.count)

        def scale(d, g, m, m_max):
            agreement = _agreement(g, m, m_max, constant)
            dtype = compute_dtype(d, agreement)
            return jnp.asarray(d, dtype) * _factor(agreement.astype(dtype), strength)

        maxima = _spread(state.mu_max, state.mu)
        scaled = jax.tree.map(scale, updates, gradient, state.mu, maxima)
        mu = update_moment(gradient, state.mu, beta, step, RESILIENCE)
        new_state = ScaleByResilienceState(
            count=increment(state.count),
            mu=mu,
            mu_max=_largest(mu, scope),
            applied_resilience=as_scalar(strength),
            applied_eps=as_scalar(constant),
        )
        return cast_updates(scaled, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def resilience_factors(
    before: ScaleByResilienceState, after: ScaleByResilienceState, gradient: Any
) -> optax.Updates:
    """a_t = 1 + lambda_t b_t, which an update multiplied its incoming updates by.

    Args:
      before: the state that the update started from.
      after: the state that it returned.
      gradient: what it took its statistics from, a tree as the momentum's.

    Returns:
      Tree of the factors, in float32 at least; 1 where no update has been made.
    """

    # Before the first update it is 0, and the quotient of zeros would be NaN.
    eps = jnp.where(after.applied_eps > 0, after.applied_eps, 1)

    def factor(g, m, m_max):
        agreement = _agreement(g, m, m_max, eps)
        return _factor(agreement, after.applied_resilience)

    return jax.tree.map(factor, gradient, before.mu, _spread(before.mu_max, before.mu))


@per_leaf
def _factor(agreement, strength):
    return 1 + jnp.asarray(strength, agreement.dtype) * agreement


@per_leaf
def _agreement(gradient, momentum, momentum_max, eps):
    """b_t, in [-1, 1].

    Written as sign(g) m/max|m| / (1 + eps/(|g| max|m|)), which is the paper's
    quotient without its overflow: where |g| max|m| is 0 or infinite the last factor
    is 0 or 1, never NaN.
    """
    dtype = compute_dtype(gradient, momentum)
    g, m, largest = (x.astype(dtype) for x in (gradient, momentum, momentum_max))
    aligned = jnp.sign(g) * (m / jnp.maximum(largest, jnp.finfo(dtype).tiny))
    return aligned / (1 + jnp.asarray(eps, dtype) / (jnp.abs(g) * largest))


def _spread(maxima, tree):
    """Gives each leaf of a tree its maximum."""
    leaves, structure = jax.tree.flatten(tree)
    each = [maxima] * len(leaves) if maxima.shape == () else list(maxima)
    return jax.tree.unflatten(structure, each)


def _largest(tree, scope):
    """max|m| of a tree as () or of each leaf as (leaves,)."""
    dtype = default_float()
    maxima = [
        jnp.max(jnp.abs(leaf), initial=0).astype(dtype)
        for leaf in jax.tree.leaves(tree)
    ]
    each = jnp.stack(maxima) if maxima else jnp.zeros((0,), dtype)
    return jnp.max(each, initial=0) if scope == "tree" else each
