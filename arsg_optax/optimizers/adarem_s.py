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

    Where batch norm follows a weight its length does nothing but scale the gradient.
    Weight decay changes the length all the time, and makes a poor past average of
    gradients that are not comparable. On a sphere they are; what the decay would have
    done to the step size is done by the sphere's learning rate instead, so learning
    rate and decay are chosen as for AdaRem or SGD off the sphere.

    Let :math:`\alpha_t` be the learning rate, :math:`\beta_t, \lambda_t, \epsilon` the
    arguments ``b1``, ``resilience`` and ``eps``, :math:`\gamma` the weight decay,
    :math:`R` the radius and :math:`\theta_t` the parameters on the sphere. The initial
    state is :math:`m_0 = 0`, :math:`\rho_0 = \|\theta_0\|/R`. Then

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

    State: one array per parameter, four bytes in float32, two in bfloat16. A gradient's
    element that is infinite or NaN spoils its own parameter and momentum, for good, and
    on a sphere all parameters of that sphere, as they share its norm.

    When to use it: in place of AdaRem where normalization follows the weights.

    Args:
      learning_rate: that of AdaRem off the sphere, finite and at least 0, or a
        schedule.
      b1: decay rate of the momentum, in [0, 1), or a schedule. The paper gives no
        value; the default is the usual one of SGD.
      resilience: in [0, 1], or a schedule. The default is where the paper starts;
        :func:`arsg_optax.scale_by_resilience` has its decay, once an epoch.
      sphere_mask: which leaves are on a sphere: tree of booleans, a prefix of one, or a
        callable that makes it from the parameters. Only weights that a normalisation
        follows qualify, so there is no default.
      eps: added to the denominator, in units of the squared gradient. The paper gives
        no value; gradients below its square root get no resilience, so our earlier
        default, Adam's 1e-8, switched the method off below 1e-4.
      scope: the maximum of the momentum is over the whole "tree" or each "leaf".
      weight_decay: decoupled, multiplied by the learning rate but not by the
        resilience, or a schedule.
      radius: R, between 1e-12 and 1e18, for every sphere; None takes the norm that the
        parameters hold at the first update.
      sphere_scope: one sphere for each "leaf" or for the whole "tree" of members.
      mu_dtype: dtype that stores the momentum; ``jnp.bfloat16`` is rounded
        stochastically. None is the parameter's dtype, but float32 at least.
      axis_name: mesh axes over which maximum and norms go inside :func:`jax.shard_map`,
        see :func:`arsg_optax.scale_by_resilience`.

    Returns:
      The corresponding :class:`optax.GradientTransformationExtraArgs`.

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
      ...     print(f'Objective function: {f(params):.2f}')
      Objective function: 0.44
      Objective function: 0.19
      Objective function: 0.08
      Objective function: 0.03
      Objective function: 0.01

    References:
      Adaptive Gradient Method with Resilience and Momentum, section 3.4 and
      Algorithm 2.
    """
    links = [
        chain_on_gradient(
            scale_by_resilience(
                b1,
                resilience,
                eps=eps,
                scope=scope,
                mu_dtype=mu_dtype,
                axis_name=axis_name,
            )
        ),
        sphere_learning_rate(
            learning_rate,
            sphere_mask,
            weight_decay,
            radius,
            sphere_scope,
            rescales=False,
            axis_name=axis_name,
        ),
    ]
    if radius is not None:
        links.insert(
            0, gradient_on_sphere(sphere_mask, radius, sphere_scope, axis_name)
        )
    return optax.chain(*links)
