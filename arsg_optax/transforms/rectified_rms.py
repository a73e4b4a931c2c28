"""RAdam's second moment: Adam's, once enough gradients have been seen."""

import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, value_at
from arsg_optax._validation import check
from arsg_optax.transforms._second_moment import corrected_root, divide_by_root


class ScaleByRectifiedRmsState(NamedTuple):
    """State of :func:`scale_by_rectified_rms`; scalars have the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    nu: optax.Updates  # v_t, shaped as the parameters.
    nu_weight: jax.Array  # (), total weight of the squares in v_t: 1 - prod(b2).
    rectification: jax.Array  # (), r_t, or 0 where the variance is intractable.
    applied_eps: jax.Array  # ()

    def denominator(self) -> optax.Updates:
        """What the last update was divided by, shaped as the parameters."""
        tractable = self.rectification > 0
        r = jnp.where(tractable, self.rectification, 1)

        def divisor(v):
            divided = corrected_root(v, self.nu_weight, self.applied_eps)
            return jnp.where(tractable, divided / r.astype(divided.dtype), 1)

        return jax.tree.map(divisor, self.nu)


def scale_by_rectified_rms(
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-8,
    *,
    threshold: chex.Numeric = 5.0,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divides updates by the root of RAdam's second moment.

    With :math:`\beta_2` = ``b2``, :math:`\epsilon` = ``eps``, from :math:`v_0 = 0` and
    with :math:`\rho_\infty = 2/(1-\beta_2) - 1`,

    .. math::

      \begin{align*}
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        \rho_t &\leftarrow \rho_\infty - 2 t \beta_2^t / (1-\beta_2^t) \\
        r_t &\leftarrow \sqrt{\frac{(\rho_t-4)(\rho_t-2)\rho_\infty}
          {(\rho_\infty-4)(\rho_\infty-2)\rho_t}} \\
        u_t &\leftarrow \begin{cases}
          r_t d_t / \left( \sqrt{v_t / (1-\beta_2^t)} + \epsilon \right)
            & \rho_t \ge \text{threshold} \\
          d_t & \text{else}
        \end{cases}
      \end{align*}

    with :math:`g_t`, :math:`d_t`, dtypes and overflow as in
    :func:`arsg_optax.scale_by_adam_rms`. :math:`\rho_t` counts the gradients that
    :math:`v_t` averages. While they are too few, the variance of :math:`1/\sqrt{v_t}`
    is not finite and the update passes undivided: with the defaults the first five, and
    all of them where :math:`\rho_\infty` does not exceed the threshold.
    ``arsg(preconditioner=scale_by_rectified_rms(), debias=True)`` with
    ``observation=0.0`` is RAdam.

    Args:
      b2: decay rate of the second moment, in [0, 1). 0.999 is RAdam's.
      eps: added to the root, in units of the gradient, at least 1.18e-38.
      threshold: the :math:`\rho_t` from which on :math:`v_t` is used, finite and at
        least 4, where the variance is infinite: 4 itself is never rectified. The paper
        has 4; its released code and Optax have 5, which is our default.
      nu_dtype: as in :func:`arsg_optax.scale_by_adam_rms`.

    Raises:
      ValueError: as in :func:`arsg_optax.scale_by_adam_rms`.

    References:
      `RAdam <https://arxiv.org/abs/1908.03265>`_, Liu et al 2020, Algorithm 2; as
      :math:`h_t` in ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, eq. 7.
    """
    check("b2", b2)
    check("eps", eps)
    check("threshold", threshold)

    def start(count, nu):
        weight, r = (jnp.zeros([], default_float()) for _ in range(2))
        return ScaleByRectifiedRmsState(count, nu, weight, r, as_scalar(eps))

    def advance(state, beta, count, nu):
        least = value_at("threshold", threshold, state.count)
        return start(count, nu)._replace(
            nu_weight=beta * state.nu_weight + (1 - beta),
            rectification=_rectification(beta, count, least),
        )

    return divide_by_root(start, advance, b2, nu_dtype)


def _rectification(beta, count, threshold):
    """r_t, or 0 where the variance is intractable: () of the default float dtype."""
    longest = jnp.asarray((1 + beta) / (1 - beta), default_float())
    # In float32 rho_t may come out above its limit, by rounding.
    length = jnp.minimum(_average_length(beta, count), longest)
    tractable = (length >= threshold) & (length > 4)
    # Any length above 4 keeps the unused branch free of NaN.
    rho, rho_inf = (jnp.where(tractable, x, 5) for x in (length, longest))
    squared = (rho - 4) / (rho_inf - 4) * ((rho - 2) / (rho_inf - 2)) * (rho_inf / rho)
    return jnp.where(tractable, jnp.sqrt(squared), 0)


def _average_length(beta, count):
    """rho_t without its cancellation.

    As printed it is the difference of two numbers near 2/(1-b2), which leaves float32
    no digit of the first rho_t where b2 is near 1. With L = -log(b2) it equals
    coth(L/2) - t (coth(tL/2) - 1) and so t c(tL/2) + 1 - c(L/2), a sum of positive
    parts, where c(z) = 1 - coth(z) + 1/z falls from 1 to 0.
    """
    # The logarithm of a Python number is taken in double precision.
    exact = isinstance(beta, float) and beta > 0
    rate = -math.log(beta) if exact else -jnp.log(beta)
    half = jnp.asarray(rate, default_float()) / 2
    t = count.astype(default_float())
    return t * _complement(t * half) + (1 - _complement(half))


def _complement(z):
    """1 - coth(z) + 1/z for z > 0, to rounding."""
    # Below 1 the difference loses digits; a continued fraction of coth(z) - 1/z,
    # whose parts are all positive, does not.
    small = jnp.minimum(z, 1)
    fraction = jnp.full_like(small, 19)
    for odd in range(17, 1, -2):
        fraction = odd + small * small / fraction
    return jnp.where(z < 1, 1 - small / fraction, 1 / z - 2 / jnp.expm1(2 * z))
