"""ARSGW: ARSG with Adam's second moment, for what AdamW is used for."""

from typing import Any

import chex
import optax

from arsg_optax.schedules import log_time_momentum
from arsg_optax.transforms._decay import Mask
from arsg_optax.transforms.adam_rms import scale_by_adam_rms
from arsg_optax.transforms.remote_chain import remote_chain


def arsgw(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = log_time_momentum(),  # noqa: B008 - it is a function
    b2: optax.ScalarOrSchedule = 0.99,
    eps: chex.Numeric = 1e-8,
    observation: optax.ScalarOrSchedule | None = 0.2,
    *,
    distance: optax.ScalarOrSchedule | None = None,
    exact: bool = False,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""ARSGW: what to write where one would write :func:`optax.adamw`.

    :func:`arsg_optax.arsg` with Adam's second moment, a momentum that grows with the
    run and decoupled decay. Let :math:`\alpha_t` be the learning rate, :math:`\beta_t`,
    :math:`\beta_2`, :math:`\epsilon` and :math:`\mu_t` the arguments ``b1``, ``b2``,
    ``eps`` and ``observation``, :math:`\gamma` the weight decay. From 0,

    .. math::

      \begin{align*}
        m_t &\leftarrow \beta_t m_{t-1} + (1-\beta_t) g_t,
          \qquad \beta_t = (t+1)/(t+1+8) \\
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        y_{t+1} &\leftarrow y_t - \alpha_t \left( ((1-\mu_t) m_t + \mu_t g_t) / \left(
          \sqrt{v_t / (1-\beta_2^t)} + \epsilon \right) + \gamma y_t \right)
      \end{align*}

    State: two arrays per parameter, eight bytes in float32, as Adam's. With
    ``observation=0.0`` it is AdamW whose first moment is not corrected for its start.
    Two arguments differ from those of ``optax.adamw``: the decay is 0 by default, not
    1e-4, and the fifth argument is the observation.

    Args:
      learning_rate: finite and at least 0, or a schedule: that of AdamW to begin with.
      b1: decay rate of the momentum, in [0, 1), or a schedule.
      b2: decay rate of the second moment, in [0, 1), or a schedule.
      eps: added to the root, in units of the gradient.
      observation: observation factor, dimensionless, in [0, 1), or a schedule, such as
        :func:`arsg_optax.falling_observation`. The default was chosen on one text and
        confirmed on other tasks (docs/evidence.md).
      weight_decay: decoupled, multiplied by the learning rate, as in ``optax.adamw``.
      nu_dtype: dtype that stores the second moment.
      distance, exact, mask, mu_dtype: as in :func:`arsg_optax.remote_chain`.

    Raises:
      ValueError: if an argument is out of range.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.arsgw(learning_rate=0.1)
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f'Objective function: from 14.00 to {f(params):.2f}')
      Objective function: from 14.00 to 9.02

    References:
      Chen et al, `An Adaptive Remote Stochastic Gradient Method for Training Neural
      Networks <https://arxiv.org/abs/1905.01422>`_, 2020, eq. 7; the momentum's
      schedule from Ferbach et al, `Logarithmic-time Schedules for Scaling Language
      Models with Momentum <https://arxiv.org/abs/2602.05298>`_, 2026.
    """
    return remote_chain(
        scale_by_adam_rms(b2, eps, nu_dtype=nu_dtype),
        learning_rate=learning_rate,
        b1=b1,
        observation=observation,
        distance=distance,
        exact=exact,
        weight_decay=weight_decay,
        mask=mask,
        mu_dtype=mu_dtype,
    )
