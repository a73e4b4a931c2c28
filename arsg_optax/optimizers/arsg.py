"""ARSG, the adaptive remote stochastic gradient method."""

from typing import Any

import chex
import optax

from arsg_optax.transforms._decay import Mask
from arsg_optax.transforms.preconditioning import scale_by_nonincreasing_rms
from arsg_optax.transforms.remote_chain import remote_chain


def arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.999,
    b2: chex.Numeric = 0.99,
    eps: chex.Numeric = 1e-8,
    observation: optax.ScalarOrSchedule | None = 0.1,
    *,
    distance: optax.ScalarOrSchedule | None = None,
    exact: bool = False,
    preconditioner: optax.GradientTransformation | None = None,
    debias: bool = False,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""ARSG: remote observation with a non-increasing preconditioner.

    :func:`arsg_optax.rsg` divided by the root of the largest second moment so far.
    Only the step size is left to choose; the paper's problems need 0.001 to 0.1.
    Evaluate at the iterate, :func:`arsg_optax.eval_params`.

    Let :math:`\alpha_t` be the learning rate, :math:`\beta_{1t}, \beta_2, \epsilon`
    and :math:`\mu_t` the arguments ``b1``, ``b2``, ``eps`` and ``observation``,
    :math:`\gamma` the weight decay and :math:`y_t` the parameters. From
    :math:`m_0 = 0, v_0 = 0, \hat v_0 = \epsilon`,

    .. math::

      \begin{align*}
        m_t &\leftarrow \beta_{1t} m_{t-1} + (1-\beta_{1t}) g_t \\
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        \hat v_t &\leftarrow \max(\hat v_{t-1}, v_t) \\
        y_{t+1} &\leftarrow y_t - \alpha_t \left(
          ((1-\mu_t) m_t + \mu_t g_t) / \sqrt{\hat v_t} + \gamma y_t \right)
      \end{align*}

    Nothing is added to the root and nothing is bias corrected. State: three arrays per
    parameter, twelve bytes in float32; in bfloat16 six, less than Adam's eight. The
    exact form needs no more.

    ``eps`` is a *squared* gradient: the default 1e-8 divides like a gradient of 1e-4,
    which is larger than most gradients of a large network. ``metrics(state,
    share_at_eps=True)`` measures which share of the elements still stands at ``eps``.
    If it stays large, lower ``eps``, or take ``preconditioner=scale_by_adam_rms()``.

    When to use it: first, where you would take Adam or AMSGrad.

    Args:
      learning_rate: finite and at least 0, or a schedule.
      b1: decay rate of the momentum, in [0, 1), or a schedule. The default averages
        over a thousand gradients; runs of that length may want less.
      b2: decay rate of the second moment, in [0, 1), the paper's for all its problems.
      eps: where the maximum of the second moment starts, in units of the squared
        gradient: 1e-8 is the paper's fast mode, 1e-3 its fine mode, which
        generalizes better.
      observation: observation factor, dimensionless, in [0, 1), or a schedule. 0.1
        is the paper's for all its problems, a hundred momentum steps ahead.
      preconditioner: another link in place of
        :func:`arsg_optax.scale_by_nonincreasing_rms` (generalized ARSG); ``b2``,
        ``eps`` and ``nu_dtype`` are unused then.
      debias: correct the momentum for its start at 0. The released code does so with
        Adam's preconditioner, the paper's Algorithm 1 does not.
      weight_decay: decoupled, as in ``optax.adamw``. The paper's L2 decay comes before
        everything: ``optax.chain(optax.add_decayed_weights(wd), arsg(...))``.
      nu_dtype: dtype that stores both second moments.
      distance, exact, mask, mu_dtype: as in :func:`arsg_optax.remote_chain`.

    Raises:
      ValueError: if an argument is out of range.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.arsg(learning_rate=0.1)
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f'Objective function: from 14.00 to {f(params):.2f}')
      Objective function: from 14.00 to 10.44

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, Algorithm 1.
    """
    if preconditioner is None:
        preconditioner = scale_by_nonincreasing_rms(b2, eps, nu_dtype=nu_dtype)
    return remote_chain(
        preconditioner,
        learning_rate=learning_rate,
        b1=b1,
        observation=observation,
        distance=distance,
        exact=exact,
        debias=debias,
        weight_decay=weight_decay,
        mask=mask,
        mu_dtype=mu_dtype,
    )
