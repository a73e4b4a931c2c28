"""Adam's second moment as a preconditioner."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._moments import moments_like
from arsg_optax._precision import check_storage_dtype
from arsg_optax._validation import check, check_flag
from arsg_optax.transforms._second_moment import (
    averaged_squares,
    corrected_root,
    divide_by_root,
)


class ScaleByAdamRmsState(NamedTuple):
    """State of :func:`scale_by_adam_rms`; scalars are of the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    nu: optax.Updates  # v_t, shaped as the parameters.
    # (), total weight of the squares in v_t, 1 - prod(b2); 1 where it is not corrected.
    nu_weight: jax.Array
    # Both (). Not named eps and eps_root, which optax.tree.get finds in injected
    # hyper-parameters.
    applied_eps: jax.Array
    applied_eps_root: jax.Array

    def denominator(self) -> optax.Updates:
        """What the last update was divided by, shaped as the parameters."""
        constants = self.nu_weight, self.applied_eps, self.applied_eps_root
        return jax.tree.map(lambda v: corrected_root(v, *constants), self.nu)


def scale_by_adam_rms(
    b2: optax.ScalarOrSchedule = 0.999,
    eps: chex.Numeric = 1e-8,
    *,
    eps_root: chex.Numeric = 0.0,
    debias: bool = True,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divides updates by the root of Adam's second moment.

    With :math:`\beta_2` = ``b2`` and :math:`\epsilon` = ``eps``, from :math:`v_0 = 0`,

    .. math::

      \begin{align*}
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        u_t &\leftarrow d_t / \left(
          \sqrt{v_t / (1-\beta_2^t) + \bar\epsilon} + \epsilon \right)
      \end{align*}

    with :math:`\bar\epsilon` = ``eps_root``. :math:`g_t` is ``raw_gradient`` inside
    :func:`arsg_optax.chain_on_gradient`, else the incoming update :math:`d_t`. Instead
    of :math:`1-\beta_2^t` the state carries the total weight of the squares in
    :math:`v_t`, the same number, which stays right when ``b2`` moves with time.

    ``arsg(preconditioner=scale_by_adam_rms(), debias=True)`` is generalized ARSG with
    Adam as the authors released it; with ``observation=0.0`` it is Adam.

    A gradient element whose square overflows (above 1.8e19 in float32) saturates
    :math:`v_t` at the largest finite number and stays there; the state stays finite and
    an element whose corrected :math:`v_t` exceeds a quarter of it stops moving, as it
    does in Optax's Adam above all of it. Clip gradients to avoid it.

    Args:
      b2: decay rate of the second moment, in [0, 1), or a schedule. 0.999 is Adam's.
      eps: added to the root, in units of the gradient, at least 1.18e-38. 1e-8 is
        Adam's; it bounds the scaling by :math:`1/\epsilon`.
      eps_root: added inside of the root, in units of the squared gradient, at least 0,
        as in Optax.
      debias: divide :math:`v_t` by the total weight of its squares, as Adam does. False
        leaves it as it is: the first steps are then :math:`1/\sqrt{1-\beta_2}` times as
        long.
      nu_dtype: dtype that stores the second moment: bfloat16 (rounded stochastically),
        float32 or float64; None is the parameter's dtype, but float32 at least.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`. Updates come out in the
      parameters' dtypes, or where ``update`` gets no params in those they came in.

    Raises:
      ValueError: if an argument is out of range, if a hyper-parameter has 16 bits,
        or if gradients are not real floating point or do not fit the state.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.arsg(
      ...     learning_rate=0.1,
      ...     preconditioner=arsg_optax.scale_by_adam_rms(),
      ...     debias=True,
      ... )
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      ...     print(f'Objective function: {f(params):.2f}')
      Objective function: 12.83
      Objective function: 11.72
      Objective function: 10.68
      Objective function: 9.70
      Objective function: 8.78

    References:
      Kingma and Ba, `Adam: A Method for Stochastic Optimization
      <https://arxiv.org/abs/1412.6980>`_, 2015, Algorithm 1; as :math:`h_t` in Chen et
      al, `An Adaptive Remote Stochastic Gradient Method for Training Neural Networks
      <https://arxiv.org/abs/1905.01422>`_, 2020, eq. 7.
    """
    check("b2", b2, schedule=True)
    check("eps", eps)
    check("eps_root", eps_root)
    check_flag("debias", debias)
    nu_dtype = check_storage_dtype("nu_dtype", nu_dtype)

    def start(params):
        return ScaleByAdamRmsState(
            count=jnp.zeros([], jnp.int32),
            nu=moments_like(params, nu_dtype),
            nu_weight=jnp.zeros([], default_float()),
            applied_eps=as_scalar(eps),
            applied_eps_root=as_scalar(eps_root),
        )

    def advance(state, gradient, step):
        beta = value_at("b2", b2, state.count)
        weight = beta * state.nu_weight + (1 - beta)
        return ScaleByAdamRmsState(
            count=increment(state.count),
            nu=averaged_squares(gradient, state.nu, beta, step),
            nu_weight=weight if debias else jnp.ones_like(state.nu_weight),
            applied_eps=as_scalar(eps),
            applied_eps_root=as_scalar(eps_root),
        )

    return divide_by_root(start, advance)
