"""AdaRem-S, AdaRem on the sphere."""

from typing import Any

import chex
import optax

from arsg_optax._reductions import AxisName
from arsg_optax.constraints._spheres import Mask, gradient_on_sphere
from arsg_optax.constraints.sphere_learning_rate import sphere_learning_rate
from arsg_optax.transforms.combining import chain_on_gradient
from arsg_optax.transforms.resilience import scale_by_resilience


def adarem_s(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.9,
    resilience: optax.ScalarOrSchedule = 0.999,
    *,
    sphere_mask: Mask,
    eps: chex.Numeric = 1e-30,
    scope: str = "tree",
    weight_decay: optax.ScalarOrSchedule = 0.0,
    radius: chex.Numeric | None = None,
    sphere_scope: str = "leaf",
    mu_dtype: Any | None = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""AdaRem-S: :func:`arsg_optax.adarem` with normalised weights on a sphere.

    Where batch norm follows a weight, the weight's length only scales the gradient.
    Weight decay changes that length all the time, so past gradients are not comparable
    and their average is poor. On a sphere they are comparable. The sphere's learning
    rate does what the decay would have done to the step size, so learning rate and
    decay are chosen as for AdaRem or SGD off the sphere.

    In AdaRem's symbols, with the radius :math:`R` and the parameters :math:`\theta_t`
    on the sphere, from :math:`m_0 = 0`, :math:`\rho_0 = \|\theta_0\|/R`,

    .. math::

      \begin{align*}
        b_t &\leftarrow g_t \odot m_t / (|g_t| \max|m_t| + \epsilon) \\
        y &\leftarrow (1 - \alpha_t \gamma) \theta_t
          - (\alpha_t / \rho_t^2) (1 + \lambda_t b_t) \odot g_t \\
        m_{t+1} &\leftarrow \beta_t m_t + (1-\beta_t) g_t \\
        \theta_{t+1} &\leftarrow R \, y / \|y\| \\
        \rho_{t+1} &\leftarrow \rho_t \|y\| / R
      \end{align*}

    and AdaRem's update for leaves off the mask. The paper multiplies the decay by the
    sphere's rate as well; our choice is :math:`\alpha_t`, which its derivation needs.
    With a given radius the first gradient is rescaled to the one at
    :math:`R \theta_0 / \|\theta_0\|` before anything else.

    State: AdaRem's. A gradient's element that is infinite or NaN spoils its own
    parameter and momentum, for good, and on a sphere all parameters of that sphere, as
    they share its norm.

    When to use it: in place of AdaRem where the weights feed a normalization layer.

    Args:
      sphere_mask: which leaves are on a sphere, the ``mask`` of
        :func:`arsg_optax.scale_by_sphere_learning_rate`, without a default as there.
      radius, sphere_scope: ``radius`` and ``scope`` there.
      learning_rate, weight_decay, mu_dtype, axis_name: as in :func:`arsg_optax.adarem`.
      b1, resilience, eps, scope: as there.

    Raises:
      ValueError: if an argument is out of range, if ``update`` gets no params, or if an
        array is split inside `shard_map` and ``axis_name`` is None.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return 2 - 2 * x[2] / jnp.linalg.norm(x)
      >>> solver = arsg_optax.adarem_s(learning_rate=1.0, sphere_mask=True)
      >>> params = jnp.array([1., 2., 2.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f'Objective function: from 0.67 to {f(params):.2f}')
      Objective function: from 0.67 to 0.01

    References:
      Adaptive Gradient Method with Resilience and Momentum, section 3.4 and
      Algorithm 2.
    """
    if sphere_mask is None:
        raise ValueError(
            "sphere_mask must name the leaves on a sphere, got None; True takes all, "
            "but only weights that a normalization follows qualify."
        )
    first = ()
    if radius is not None:
        first = (gradient_on_sphere(sphere_mask, radius, sphere_scope, axis_name),)
    direction = scale_by_resilience(
        b1, resilience, eps=eps, scope=scope, mu_dtype=mu_dtype, axis_name=axis_name
    )
    step = sphere_learning_rate(
        learning_rate,
        sphere_mask,
        weight_decay,
        radius,
        sphere_scope,
        rescales=False,
        axis_name=axis_name,
    )
    return optax.chain(*first, chain_on_gradient(direction), step)
