"""AdaRem, the adaptive gradient method with resilience and momentum."""

from typing import Any

import chex
import optax

from arsg_optax._reductions import AxisName
from arsg_optax.transforms._decay import Mask, decoupled_decay
from arsg_optax.transforms.combining import chain_on_gradient
from arsg_optax.transforms.learning_rate import scale_by_learning_rate
from arsg_optax.transforms.resilience import scale_by_resilience


def adarem(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.9,
    resilience: optax.ScalarOrSchedule = 0.999,
    *,
    eps: chex.Numeric = 1e-30,
    scope: str = "tree",
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""AdaRem: SGD whose steps grow along the momentum and shrink against it.

    Each element of the gradient is multiplied by a factor in
    :math:`[1-\lambda, 1+\lambda]`: up to twice where the gradient has the sign of its
    past average, down to nothing where it opposes it, so that oscillations die out.
    The momentum only sets the factor, it takes no steps of its own.

    Let :math:`\alpha_t` be the learning rate, :math:`\beta_t, \lambda_t, \epsilon`
    the arguments ``b1``, ``resilience`` and ``eps``, :math:`\gamma` the weight decay
    and :math:`\theta_t` the parameters. From :math:`m_1 = 0`,

    .. math::

      \begin{align*}
        b_t &\leftarrow g_t \odot m_t / (|g_t| \max|m_t| + \epsilon) \\
        \theta_{t+1} &\leftarrow \theta_t - \alpha_t \left(
          (1 + \lambda_t b_t) \odot g_t + \gamma \theta_t \right) \\
        m_{t+1} &\leftarrow \beta_t m_t + (1-\beta_t) g_t
      \end{align*}

    State: one array per parameter, four bytes in float32, two in bfloat16. A gradient's
    element that is infinite or NaN spoils its own parameter and momentum, for good, and
    no other.

    When to use it: in place of SGD with momentum, at its step size, where some weights
    oscillate.

    Args:
      learning_rate: finite and at least 0, or a schedule; the paper takes that of
        SGD with momentum, 0.4 for ImageNet at a batch of 1024.
      weight_decay: decoupled, multiplied by the learning rate but not by the
        resilience, or a schedule.
      mask: tree of booleans or a callable, which selects the leaves that decay.
      b1, resilience, eps, scope, mu_dtype, axis_name: as in
        :func:`arsg_optax.scale_by_resilience`, with the reasons for their defaults.

    Raises:
      ValueError: if an argument is out of range, or if a momentum is split inside
        `shard_map` and ``axis_name`` is None.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.adarem(learning_rate=0.1)
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f'Objective function: from 14.00 to {f(params):.2f}')
      Objective function: from 14.00 to 0.25

    References:
      Adaptive Gradient Method with Resilience and Momentum, Algorithm 1.
    """
    direction = scale_by_resilience(
        b1, resilience, eps=eps, scope=scope, mu_dtype=mu_dtype, axis_name=axis_name
    )
    return optax.chain(
        chain_on_gradient(direction),
        decoupled_decay(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
