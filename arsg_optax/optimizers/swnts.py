"""SWNTS, NAMSG that switches to SGD."""

from typing import Any

import chex
import optax

from arsg_optax._reductions import AxisName
from arsg_optax.optimizers.namsg import namsg
from arsg_optax.policies.switch import switch_to_sgd
from arsg_optax.transforms._decay import Mask
from arsg_optax.transforms.preconditioning import scale_by_nonincreasing_rms


def swnts(
    learning_rate: optax.ScalarOrSchedule = 0.002,
    b1: optax.ScalarOrSchedule = 0.9,
    b2: chex.Numeric = 0.99,
    eps: chex.Numeric = 1e-8,
    distance: optax.ScalarOrSchedule = 0.9,
    *,
    switch_at: chex.Numeric,
    exact: bool = False,
    preconditioner: optax.GradientTransformation | None = None,
    debias: bool = False,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""SWNTS: :func:`arsg_optax.namsg` that turns into SGD, for generalization.

    Up to update ``switch_at``, :math:`s`, it is NAMSG, in whose symbols, with
    :math:`\hat m_s = (1-\mu_s) m_s + \mu_s g_s`, the division by
    :math:`\sqrt{\hat v}` is replaced by one constant, over the whole tree,

    .. math::

      \begin{align*}
        u_s &\leftarrow \hat m_s / \sqrt{\hat v_s} \\
        c &\leftarrow \|u_s\|^2 / \langle \hat m_s, u_s \rangle \\
        y_{t+1} &\leftarrow y_t - \alpha_t \left( c\, \hat m_t + \gamma y_t \right),
          \qquad t \ge s,
      \end{align*}

    so that SGD's step size is the paper's
    :math:`\hat\alpha_s = \|\hat u_s\|^2 / \langle \hat m_s, \hat u_s \rangle =
    \alpha_s c`, with :math:`\hat u_s = \alpha_s u_s`. A schedule of the learning rate
    goes on, see :func:`arsg_optax.switch_to_sgd`. The state is NAMSG's.

    SWNTS1 also smooths the parameters that it tests by an exponential moving average:
    use :func:`optax.incremental_update`, as in the example.

    When to use it: where an adaptive method trains fast and SGD generalizes better.

    Args:
      switch_at: the update that measures c and already uses it, counted from 0.
      preconditioner: what to switch off, by default NAMSG's.
      learning_rate, b1, b2, eps, distance: as in :func:`arsg_optax.namsg`.
      exact, debias, weight_decay, mask, mu_dtype, nu_dtype: as there.
      axis_name: the mesh axis, or the tuple of axes, along which arrays may be split
        inside :func:`jax.shard_map`; see :func:`arsg_optax.project`.

    Raises:
      ValueError: if an argument is out of range.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.swnts(learning_rate=0.1, switch_at=3)
      >>> params = average = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      ...     average = optax.incremental_update(params, average, step_size=0.5)
      >>> print(f'Objective function: {f(params):.2f} {f(average):.2f}')
      Objective function: 4.45 6.02

    References:
      NAMSG, `Chen et al 2019 <https://arxiv.org/abs/1905.01422v2>`_, section 5.
    """
    if preconditioner is None:
        preconditioner = scale_by_nonincreasing_rms(b2, eps, nu_dtype=nu_dtype)
    return namsg(
        learning_rate,
        b1,
        b2,
        eps,
        distance,
        exact=exact,
        preconditioner=switch_to_sgd(
            preconditioner, switch_at=switch_at, axis_name=axis_name
        ),
        debias=debias,
        weight_decay=weight_decay,
        mask=mask,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
