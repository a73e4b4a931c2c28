"""SAdam's second moment: a softplus of the root instead of a constant beside it."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar
from arsg_optax._validation import check
from arsg_optax.transforms._second_moment import divide_by_root, root_from_zero


class ScaleBySoftplusRmsState(NamedTuple):
    """State of :func:`scale_by_softplus_rms`; scalars have the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    nu: optax.Updates  # v_t, shaped as the parameters.
    applied_sharpness: jax.Array  # ()
    applied_eps: jax.Array  # ()

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

    with :math:`g_t`, :math:`d_t`, dtypes and overflow as in
    :func:`arsg_optax.scale_by_adam_rms`. The divisor is :math:`\sqrt{v_t}` where that
    is large beside :math:`1/\kappa`, and levels off at :math:`\log(2)/\kappa` below.
    Nothing is bias corrected.

    The paper has no :math:`\epsilon`. Our choice: it is the smallest divisor. With the
    defaults it never acts, since the softplus is at least 0.0139.

    Args:
      b2: decay rate of the second moment, in [0, 1). 0.999 is Adam's.
      eps: the smallest divisor, in units of the gradient, at least 1.18e-38.
      sharpness: of the softplus, in units of 1/gradient, above 0 and such that float32
        holds it. 50 is the paper's; the larger, the closer to a bare root.
      nu_dtype: as in :func:`arsg_optax.scale_by_adam_rms`.

    Raises:
      ValueError: as in :func:`arsg_optax.scale_by_adam_rms`.

    References:
      `SAdam <https://arxiv.org/abs/1908.00700>`_, Tong et al 2019; as :math:`h_t` in
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, eq. 7.
    """
    check("b2", b2)
    check("eps", eps)
    check("sharpness", sharpness)

    def start(count, nu):
        return ScaleBySoftplusRmsState(count, nu, as_scalar(sharpness), as_scalar(eps))

    def advance(state, beta, count, nu):
        del state, beta
        return start(count, nu)

    return divide_by_root(start, advance, b2, nu_dtype)
