"""RSG, the remote stochastic gradient method."""

from typing import Any

import optax

from arsg_optax.transforms._decay import Mask
from arsg_optax.transforms.remote_chain import remote_chain


def rsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.999,
    observation: optax.ScalarOrSchedule | None = 0.1,
    *,
    distance: optax.ScalarOrSchedule | None = None,
    exact: bool = False,
    debias: bool = False,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""RSG: momentum with the gradient taken far ahead of the iterate.

    SGD with a slow momentum, whose gradients are taken at an *observation point*
    :math:`\eta = \mu\beta/(1-\beta)` momentum steps ahead of the iterate (99.9 by
    default). The training loop holds the observation point; evaluate at the iterate,
    :func:`arsg_optax.eval_params`, which carries far less gradient noise. Heavy ball,
    Nesterov, QHM, ASGD and others are RSG with other values:
    :mod:`arsg_optax.hyperparams` converts them.

    Let :math:`\alpha_t` be the learning rate, :math:`\beta_t` and :math:`\mu_t` the
    arguments ``b1`` and ``observation``, :math:`\gamma` the weight decay and
    :math:`y_t` the parameters. From :math:`m_0 = 0`,

    .. math::

      \begin{align*}
        m_t &\leftarrow \beta_t m_{t-1} + (1-\beta_t) g_t \\
        y_{t+1} &\leftarrow y_t
          - \alpha_t \left( (1-\mu_t) m_t + \mu_t g_t + \gamma y_t \right)
      \end{align*}

    The momentum is an average, not a sum, so learning rates are those of
    ``optax.sgd`` divided by ``1 - momentum``. State: one array per parameter, four
    bytes in float32, two in bfloat16.

    When to use it: where SGD with momentum works well, and where memory is short.

    Args:
      learning_rate: step size along the average, finite and at least 0, or a
        schedule. The paper uses 5 for logistic regression on MNIST.
      b1: decay rate of the momentum, in [0, 1), or a schedule. The default averages
        over a thousand gradients.
      observation: observation factor, dimensionless, in [0, 1), or a schedule; 0 is
        heavy ball, ``1 - b1`` Nesterov. The paper's default is 0.1 for ``b1=0.999``.
      weight_decay: decoupled, as in ``optax.adamw``. The paper's L2 decay comes before
        everything: ``optax.chain(optax.add_decayed_weights(wd), rsg(...))``.
      distance, exact, debias, mask, mu_dtype: as in :func:`arsg_optax.remote_chain`.

    Raises:
      ValueError: if an argument is out of range.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.rsg(learning_rate=1.0)
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f'Objective function: from 14.00 to {f(params):.2f}')
      Objective function: from 14.00 to 1.37

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, eq. 3.
    """
    return remote_chain(
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
