"""Adam's second moment as a preconditioner."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float
from arsg_optax._validation import check, check_flag
from arsg_optax.transforms._second_moment import corrected_root, divide_by_root


class ScaleByAdamRmsState(NamedTuple):
    """State of :func:`scale_by_adam_rms`; scalars are of the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    nu: optax.Updates  # v_t, shaped as the parameters.
    # (), total weight of the squares in v_t, 1 - prod(b2); 1 where it is not corrected.
    nu_weight: jax.Array
    applied_eps: jax.Array  # ()
    applied_eps_root: jax.Array  # ()

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

    With :math:`\beta_2` = ``b2``, :math:`\epsilon` = ``eps`` and :math:`\bar\epsilon` =
    ``eps_root``, from :math:`v_0 = 0`,

    .. math::

      \begin{align*}
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        u_t &\leftarrow d_t / \left(
          \sqrt{v_t / (1-\beta_2^t) + \bar\epsilon} + \epsilon \right)
      \end{align*}

    where :math:`g_t` is ``raw_gradient`` inside :func:`arsg_optax.chain_on_gradient`,
    else the incoming update :math:`d_t`. For :math:`1-\beta_2^t` the state carries the
    total weight of the squares in :math:`v_t`, which stays right when ``b2`` moves.
    Updates come out in the parameters' dtypes, or without ``params`` in those they came
    in. ``arsg(preconditioner=scale_by_adam_rms(), debias=True)`` is generalized ARSG as
    the authors released it, and Adam with ``observation=0.0``.

    A gradient element whose square overflows (above 1.8e19 in float32) saturates
    :math:`v_t`, for good, and an element whose corrected :math:`v_t` exceeds a quarter
    of the largest number stops moving. Clip gradients to avoid it.

    Args:
      b2: decay rate of the second moment, in [0, 1), or a schedule. 0.999 is Adam's.
      eps: added to the root, in units of the gradient, at least 1.18e-38; 1e-8 is
        Adam's.
      eps_root: added inside of the root, in units of the squared gradient, at least 0.
      debias: divide :math:`v_t` by the total weight of its squares, as Adam does. False
        makes the first steps :math:`1/\sqrt{1-\beta_2}` times as long.
      nu_dtype: dtype that stores the second moment: bfloat16 (rounded stochastically),
        float32 or float64; None is the parameter's dtype, but float32 at least.

    Raises:
      ValueError: if an argument is out of range, if a hyper-parameter has 16 bits,
        or if gradients are not real floating point or do not fit the state.

    References:
      `Adam <https://arxiv.org/abs/1412.6980>`_, Kingma and Ba 2015, Algorithm 1; as
      :math:`h_t` in ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, eq. 7.
    """
    check("b2", b2, schedule=True)
    check("eps", eps)
    check("eps_root", eps_root)
    check_flag("debias", debias)

    def start(count, nu):
        weight = jnp.zeros([], default_float())
        return ScaleByAdamRmsState(
            count, nu, weight, as_scalar(eps), as_scalar(eps_root)
        )

    def advance(state, beta, count, nu):
        weight = beta * state.nu_weight + (1 - beta)
        weight = weight if debias else jnp.ones_like(state.nu_weight)
        return start(count, nu)._replace(nu_weight=weight)

    return divide_by_root(start, advance, b2, nu_dtype)
