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

    The gradient is taken :math:`\eta_t` = ``distance`` momentum steps ahead of the
    iterate; a distance of ``b1`` is Nesterov's. The update and the state are those of
    ARSG with the factor :math:`\mu_t = \eta_t (1-\beta_{1t})/\beta_{1t}`.

    When to use it: to follow the NAMSG paper, or where the distance, not the factor, is
    what you schedule; with the same values it is ARSG.

    Args:
      learning_rate: finite and at least 0, or a schedule. This and the next four
        defaults are the paper's.
      b1: decay rate of the momentum, in (0, 1), or a schedule.
      b2: decay rate of the second moment, in [0, 1); the paper also tries 0.999.
      distance: observation distance in momentum steps, at least 0 and below
        ``b1 / (1 - b1)``, or a schedule: the paper's experiments raise it linearly
        from 0.9 to 3.0 over the first epoch,
        ``optax.linear_schedule(0.9, 3.0, steps_per_epoch)``.
      exact: the two-point form, eq. 6 of the paper; the default is the concise form,
        eq. 8.
      eps, preconditioner, debias, weight_decay, mask, mu_dtype, nu_dtype: as in
        :func:`arsg_optax.arsg`.

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
      >>> print(f'Objective function: from 14.00 to {f(params):.2f}')
      Objective function: from 14.00 to 5.20

    References:
      NAMSG, `Chen et al 2019 <https://arxiv.org/abs/1905.01422v2>`_, Algorithm 1.
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
