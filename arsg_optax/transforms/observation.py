"""Remote observation: momentum whose gradient is taken ahead of the iterate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._moments import moments_like, update_moment
from arsg_optax._precision import cast_updates, check_storage_dtype, compute_dtype
from arsg_optax._rounding import FIRST_MOMENT
from arsg_optax._trees import check_real, check_updates, per_leaf
from arsg_optax._validation import check, check_flag


class RemoteObservationState(NamedTuple):
    """State of :func:`remote_observation`; scalars are of the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    mu: optax.Updates  # m_t, shaped as the parameters.
    weight: jax.Array  # (), total weight of the gradients in m_t: 1 - prod(b1).
    applied_observation: jax.Array  # (), the observation factor of the last update.
    applied_distance: jax.Array  # (), the observation distance it stands for.

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {
            "observation": self.applied_observation,
            "distance": self.applied_distance,
        }


def remote_observation(
    b1: optax.ScalarOrSchedule = 0.999,
    observation: optax.ScalarOrSchedule = 0.1,
    *,
    debias: bool = False,
    mu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""The direction of RSG: a mixture of momentum and newest gradient.

    With :math:`\beta` = ``b1`` and :math:`\mu` = ``observation``, from :math:`m_0 = 0`,

    .. math::

      \begin{align*}
        m_t &\leftarrow \beta_t m_{t-1} + (1-\beta_t) g_t \\
        d_t &\leftarrow (1-\mu_t) m_t + \mu_t g_t
      \end{align*}

    A step along :math:`-d_t` moves the *observation point*, where the training loop
    holds the parameters and takes gradients; the *iterate* of plain momentum lies
    :math:`\eta = \mu\beta/(1-\beta)` momentum steps behind it. In a plain
    :func:`optax.chain` nothing records that step, so :func:`arsg_optax.eval_params`
    refuses it: :func:`arsg_optax.remote_chain` has the iterate.

    A policy around the chain may pass the extra argument ``observation_scale``, a ()
    array, which multiplies :math:`\mu`. Updates come out in the parameters' dtypes, or
    without ``params`` in those they came in.

    Args:
      b1, observation: decay rate and factor, in [0, 1), or schedules.
      debias: divide the momentum's part of the direction by the total weight of
        its gradients, :math:`1-\beta^t` for a constant decay. The gradient's part
        stays as it is, as in the authors' released code with Adam's preconditioner.
      mu_dtype: as in :func:`arsg_optax.remote_chain`.

    Raises:
      ValueError: if an argument is out of range, if a hyper-parameter has 16 bits,
        or if gradients are not real floating point or do not fit the state.

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, eq. 3.
    """
    check("b1", b1)
    check("observation", observation)
    check_flag("debias", debias)
    mu_dtype = check_storage_dtype("mu_dtype", mu_dtype)

    def init_fn(params):
        check_real("params", params)
        return RemoteObservationState(
            count=jnp.zeros([], jnp.int32),
            mu=moments_like(params, mu_dtype),
            weight=jnp.zeros([], default_float()),
            applied_observation=jnp.zeros([], default_float()),
            applied_distance=jnp.zeros([], default_float()),
        )

    def update_fn(
        updates, state, params=None, *, observation_scale=None, shared_step=None, **_
    ):
        check_updates("updates", updates, state.mu)
        beta = value_at("b1", b1, state.count)
        factor = value_at("observation", observation, state.count, observation_scale)
        weight = beta * state.weight + (1 - beta)
        step = state.count if shared_step is None else shared_step
        mu = update_moment(updates, state.mu, beta, step, FIRST_MOMENT)
        direction = mix(updates, mu, factor, weight if debias else None)
        new_state = RemoteObservationState(
            count=increment(state.count),
            mu=mu,
            weight=weight,
            applied_observation=as_scalar(factor),
            applied_distance=as_scalar(factor * beta / (1 - beta)),
        )
        return cast_updates(direction, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def mix(
    gradients: optax.Updates,
    momenta: optax.Updates,
    observation: float | jax.Array,
    weight: jax.Array | None,
) -> optax.Updates:
    """(1 - μ) m + μ g in float32 at least, with m / weight for m where it is given."""
    share = 1 - observation
    share = share if weight is None else share / weight
    shares = as_scalar(share), as_scalar(observation)  # Once, not once per leaf.
    return jax.tree.map(lambda g, m: _mixed(g, m, *shares), gradients, momenta)


@per_leaf
def _mixed(gradient, momentum, momentum_share, gradient_share):
    dtype = compute_dtype(gradient, momentum)
    g, m = gradient.astype(dtype), momentum.astype(dtype)
    old, new = (jnp.asarray(x, dtype) for x in (momentum_share, gradient_share))
    return old * m + new * g
