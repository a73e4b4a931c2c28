"""NAMSG, ARSG by its observation distance."""

from typing import Any

import chex
import optax

from arsg_optax.optimizers.arsg import arsg
from arsg_optax.transforms._decay import Mask


def namsg(
    learning_rate: optax.ScalarOrSchedule = 0.002,
    b1: optax.ScalarOrSchedule = 0.9,
    b2: chex.Numeric = 0.99,
    eps: chex.Numeric = 1e-8,
    distance: optax.ScalarOrSchedule = 0.9,
    *,
    exact: bool = False,
    preconditioner: optax.GradientTransformation | None = None,
    debias: bool = False,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""NAMSG: :func:`arsg_optax.arsg` given the observation distance.

    The gradient is taken :math:`\eta_t` momentum steps ahead of the iterate; a
    distance of ``b1`` is Nesterov's. Let :math:`\alpha_t` be the learning rate,
    :math:`\beta_{1t}, \beta_2, \epsilon` and :math:`\eta_t` the arguments ``b1``,
    ``b2``, ``eps`` and ``distance``, :math:`\gamma` the weight decay and :math:`y_t`
    the parameters. The update is ARSG's with
    :math:`\mu_t = \eta_t (1-\beta_{1t})/\beta_{1t}`: from
    :math:`m_0 = 0, v_0 = 0, \hat v_0 = \epsilon`,

    .. math::

      \begin{align*}
        m_t &\leftarrow \beta_{1t} m_{t-1} + (1-\beta_{1t}) g_t \\
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        \hat v_t &\leftarrow \max(\hat v_{t-1}, v_t) \\
        y_{t+1} &\leftarrow y_t - \alpha_t \left(
          ((1-\mu_t) m_t + \mu_t g_t) / \sqrt{\hat v_t} + \gamma y_t \right)
      \end{align*}

    State: three arrays per parameter, twelve bytes in float32, six in bfloat16.

    When to use it: to follow the NAMSG paper, or where the distance, not the factor, is
    what you schedule; with the same values it is ARSG.

    Args:
      learning_rate: finite and at least 0, or a schedule. This and the next four
        defaults are the paper's.
      b1: decay rate of the momentum, in (0, 1), or a schedule.
      b2: decay rate of the second moment, in [0, 1); the paper also tries 0.999.
      eps: where the maximum of the second moment starts, see
        :func:`arsg_optax.arsg`.
      distance: observation distance in momentum steps, at least 0 and below
        ``b1 / (1 - b1)``, or a schedule: the paper's experiments raise it linearly
        from 0.9 to 3.0 over the first epoch,
        ``optax.linear_schedule(0.9, 3.0, steps_per_epoch)``.
      exact: the exact two-point form, whose iterate is right under every schedule, see
        :func:`arsg_optax.remote_chain`; the default is the concise form, eq. 8;
        eq. 6 of the paper is the exact one.
      preconditioner: see :func:`arsg_optax.arsg`.
      debias: see :func:`arsg_optax.remote_observation`.
      weight_decay: decoupled, multiplied by the learning rate, as in ``optax.adamw``.
      mask: tree of booleans or a callable, which selects the leaves that decay.
      mu_dtype: dtype that stores the momentum, see :func:`arsg_optax.arsg`.
      nu_dtype: the same for both second moments.

    Returns:
      The corresponding :class:`optax.GradientTransformationExtraArgs`.

    Raises:
      ValueError: if an argument is out of range.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.namsg(learning_rate=0.1)
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      ...     print(f'Objective function: {f(params):.2f}')
      Objective function: 11.83
      Objective function: 9.89
      Objective function: 8.13
      Objective function: 6.56
      Objective function: 5.20

    References:
      Chen et al, `NAMSG: An Efficient Method for Training Neural Networks
      <https://arxiv.org/abs/1905.01422v2>`_, 2019, Algorithm 1.
    """
    return arsg(
        learning_rate,
        b1,
        b2,
        eps,
        observation=None,
        distance=distance,
        exact=exact,
        preconditioner=preconditioner,
        debias=debias,
        weight_decay=weight_decay,
        mask=mask,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
