"""Schedules for a momentum whose memory grows with the run.

Each is a function of the number of updates so far, as Optax's schedules are, and works
under `jit`, `vmap` (over its own arguments, too) and `optax.inject_hyperparams`.
"""

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar
from arsg_optax._validation import check


def log_time_momentum(
    delta: chex.Numeric = 8.0, maximum: chex.Numeric | None = None
) -> optax.Schedule:
    r"""Decay rate of a momentum that always averages the same share of the run.

    .. math:: \beta_t = \frac{t+1}{t+1+\delta}

    with :math:`t` the number of updates so far. After :math:`t` updates the gradient of
    update :math:`s` has the weight :math:`\delta s^{\delta-1} / t^\delta` (for large
    :math:`s`), and the mean age of the gradients is :math:`t/(\delta+1)`: the momentum
    is short while the loss falls fast, and long later. So there is no decay rate to
    tune. :math:`\delta=8` is ADana's; its gradients are on average a ninth of the run
    old. :math:`\delta=2` is schedule-free learning's, whose gradients are a third of
    the run old.

    It is meant for ``b1``, and for ``b2`` of :func:`arsg_optax.scale_by_adam_rms`.
    :func:`arsg_optax.falling_observation` is an observation to go with it.

    Args:
      delta: :math:`\delta`, dimensionless, positive. Large is a short momentum.
      maximum: upper limit of the decay rate, in [0, 1), or None for no limit. In
        float32 :math:`1-\beta_t` is known to 1 % after a million updates and to 10 %
        after ten million, a reason for a limit of 0.9999 in longer runs.

    Returns:
      A schedule whose values are () arrays of the default float dtype in (0, 1).

    Raises:
      ValueError: if an argument is out of range.

    Examples:
      >>> import arsg_optax
      >>> b1 = arsg_optax.log_time_momentum(delta=8.0)
      >>> [round(float(b1(count)), 3) for count in (0, 7, 71, 7991)]
      [0.111, 0.5, 0.9, 0.999]
      >>> optimizer = arsg_optax.rsg(1.0, b1=b1, observation=0.2)

    References:
      Ferbach et al, `Logarithmic-time Schedules for Scaling Language Models with
      Momentum <https://arxiv.org/abs/2602.05298>`_, 2026, who count from
      :math:`t = 1`.
    """
    check("delta", delta)
    check("maximum", maximum)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        steps = as_scalar(jnp.asarray(count)) + 1
        decay = steps / (steps + as_scalar(delta))
        if maximum is not None:
            return jnp.minimum(decay, as_scalar(maximum))
        # After 1e8 updates in float32 t + 1 + delta rounds to t + 1.
        return jnp.minimum(decay, jnp.nextafter(jnp.ones_like(decay), 0.0))

    return schedule


def falling_observation(power: chex.Numeric = 0.25) -> optax.Schedule:
    r"""Observation factor that falls with time.

    .. math:: \mu_t = \frac{1}{1 + (t+2)^p}

    with :math:`t` the number of updates so far and :math:`p` = ``power``. Beside
    :func:`arsg_optax.log_time_momentum` the observation distance, :math:`\mu_t
    (t+1)/\delta` momentum steps, still grows, like :math:`t^{1-p}`. A longer average is
    quieter, so the newest gradient deserves less of the step.

    - :math:`p = 1-\kappa` is ADana with spectral dimension :math:`\kappa`, 0.15 for its
      default of 0.85, see :func:`arsg_optax.hyperparams.from_adana`.
    - :math:`p = 0.25` falls from 0.46 over 0.24 after 100 updates to 0.1 after 6,600.
    - :math:`p = 0` is the constant 1/2. For other constants pass a number as
      ``observation``.

    Args:
      power: :math:`p`, dimensionless, in [0, 1). At 1 the observation distance would
        no longer grow with the run.

    Returns:
      A schedule whose values are () arrays of the default float dtype, at most 1/2.

    Raises:
      ValueError: if the power is out of range.

    Examples:
      >>> import arsg_optax
      >>> observation = arsg_optax.falling_observation()
      >>> [round(float(observation(count)), 3) for count in (0, 100, 1000, 10_000)]
      [0.457, 0.239, 0.151, 0.091]
      >>> optimizer = arsg_optax.rsg(1.0, arsg_optax.log_time_momentum(), observation)

    References:
      Ferbach et al, `Logarithmic-time Schedules for Scaling Language Models with
      Momentum <https://arxiv.org/abs/2602.05298>`_, 2026: the form, for
      :math:`p = 1-\kappa`. :math:`p = 0.25` is ours.
    """
    check("power", power)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        since = as_scalar(jnp.asarray(count)) + 2
        return jnp.reciprocal(1 + since ** as_scalar(power))

    return schedule
