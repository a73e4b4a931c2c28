"""SAdam's second moment: a softplus of the root instead of a constant beside it."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, increment, value_at
from arsg_optax._moments import moments_like
from arsg_optax._precision import check_storage_dtype
from arsg_optax._validation import check
from arsg_optax.transforms._second_moment import (
    averaged_squares,
    divide_by_root,
    root_from_zero,
)


class ScaleBySoftplusRmsState(NamedTuple):
    """State of :func:`scale_by_softplus_rms`; scalars have the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    nu: optax.Updates  # v_t, shaped as the parameters.
    # Both (). Not named sharpness and eps, which optax.tree.get finds in injected
    # hyper-parameters.
    applied_sharpness: jax.Array
    applied_eps: jax.Array

    def denominator(self) -> optax.Updates:
        """What the last update was divided by, shaped as the parameters."""

        def divisor(v):
            r = root_from_zero(v)
            sharpness = self.applied_sharpness.astype(r.dtype)
            # softplus(s r) / s, whose product may overflow harmlessly here.
            smooth = r + jnp.log1p(jnp.exp(-sharpness * r)) / sharpness
            return jnp.maximum(smooth, self.applied_eps.astype(r.dtype))

        return jax.tree.map(divisor, self.nu)


def scale_by_softplus_rms(
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-8,
    *,
    sharpness: chex.Numeric = 50.0,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divides updates by a softplus of the root of the second moment.

    With :math:`\beta_2` = ``b2``, :math:`\kappa` = ``sharpness`` and :math:`\epsilon` =
    ``eps``, from :math:`v_0 = 0`,

    .. math::

      \begin{align*}
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        u_t &\leftarrow d_t / \max\left(
          \log(1 + e^{\kappa \sqrt{v_t}}) / \kappa, \epsilon \right)
      \end{align*}

    where :math:`g_t` is ``raw_gradient`` inside
    :func:`arsg_optax.chain_on_gradient`, else the incoming update :math:`d_t`. The
    divisor is :math:`\sqrt{v_t}` where that is large beside :math:`1/\kappa`, and
    levels off at :math:`\log(2)/\kappa` below. Nothing is bias corrected.

    The paper has no :math:`\epsilon`. Our choice: it is the smallest divisor. With the
    defaults it never acts, since the softplus is at least 0.0139; it guards a
    sharpness so large that nothing is left of :math:`\log(2)/\kappa`.

    A gradient element whose square overflows (above 1.8e19 in float32) saturates
    :math:`v_t` at the largest finite number and stays there; the state stays finite and
    an element whose :math:`v_t` exceeds a quarter of it stops moving. Clip gradients to
    avoid it.

    Args:
      b2: decay rate of the second moment, in [0, 1). 0.999 is Adam's.
      eps: the smallest divisor, in units of the gradient, at least 1.18e-38.
      sharpness: of the softplus, in units of 1/gradient, above 0 and such that float32
        holds it. 50 is the paper's; the larger, the closer to a bare root.
      nu_dtype: dtype that stores the second moment: bfloat16 (rounded stochastically),
        float32 or float64; None is the parameter's dtype, but float32 at least.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`. Updates come out in the
      parameters' dtypes, or where ``update`` gets no params in those they came in.

    Raises:
      ValueError: if an argument is out of range, if a hyper-parameter has 16 bits,
        or if gradients are not real floating point or do not fit the state.

    References:
      Tong et al, `Calibrating the Adaptive Learning Rate to Improve Convergence of ADAM
      <https://arxiv.org/abs/1908.00700>`_, 2019; as :math:`h_t` in Chen et al, `An
      Adaptive Remote Stochastic Gradient Method for Training Neural Networks
      <https://arxiv.org/abs/1905.01422>`_, 2020, eq. 7.
    """
    check("b2", b2)
    check("eps", eps)
    check("sharpness", sharpness)
    nu_dtype = check_storage_dtype("nu_dtype", nu_dtype)

    def start(params):
        return ScaleBySoftplusRmsState(
            count=jnp.zeros([], jnp.int32),
            nu=moments_like(params, nu_dtype),
            applied_sharpness=as_scalar(sharpness),
            applied_eps=as_scalar(eps),
        )

    def advance(state, gradient, step):
        beta = value_at("b2", b2, state.count)
        return ScaleBySoftplusRmsState(
            count=increment(state.count),
            nu=averaged_squares(gradient, state.nu, beta, step),
            applied_sharpness=as_scalar(sharpness),
            applied_eps=as_scalar(eps),
        )

    return divide_by_root(start, advance)
