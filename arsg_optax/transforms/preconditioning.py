"""The preconditioner of ARSG and NAMSG: RMS scaling that never grows back."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float
from arsg_optax._moments import moments_like
from arsg_optax._rounding import written
from arsg_optax._trees import per_leaf
from arsg_optax._validation import check
from arsg_optax.transforms._second_moment import divide_by_root, root


class ScaleByNonincreasingRmsState(NamedTuple):
    """State of :func:`scale_by_nonincreasing_rms`."""

    count: jax.Array  # () int32, updates so far.
    nu: optax.Updates  # v_t, shaped as the parameters.
    nu_max: optax.Updates  # The running maximum of eps and v_1 ... v_t.
    applied_eps: jax.Array  # ()

    def denominator(self) -> optax.Updates:
        """What the last update was divided by, shaped as the parameters."""
        return jax.tree.map(root, self.nu_max)

    def share_at_eps(self) -> jax.Array:
        """Which share of all elements has never exceeded eps, from 0 to 1: ()."""
        dtype, leaves = default_float(), jax.tree.leaves(self.nu_max)
        eps = jnp.asarray(self.applied_eps)
        counts = [
            jnp.sum(leaf <= eps.astype(leaf.dtype), dtype=jnp.int32).astype(dtype)
            for leaf in leaves
        ]
        elements = max(sum(leaf.size for leaf in leaves), 1)
        return sum(counts, jnp.zeros([], dtype)) / elements


def scale_by_nonincreasing_rms(
    b2: chex.Numeric = 0.99, eps: chex.Numeric = 1e-8, *, nu_dtype: Any | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Divides updates by the root of the largest second moment so far.

    With :math:`\beta_2` = ``b2`` and :math:`\epsilon` = ``eps``, from
    :math:`v_0 = 0` and :math:`\hat v_0 = \epsilon`,

    .. math::

      \begin{align*}
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        \hat v_t &\leftarrow \max(\hat v_{t-1}, v_t) \\
        u_t &\leftarrow d_t / \sqrt{\hat v_t}
      \end{align*}

    with :math:`g_t`, :math:`d_t`, dtypes and overflow as in
    :func:`arsg_optax.scale_by_adam_rms`. Unlike AMSGrad in Optax, nothing is added to
    the root and no moment is bias corrected: ``eps`` is where :math:`\hat v` starts, so
    it bounds the scaling by :math:`1/\sqrt\epsilon`.

    Args:
      b2: decay rate of the second moment, in [0, 1).
      eps: initial value of the maximum, in units of the squared gradient, at least
        1.18e-38. 1e-8 is the papers' fast mode, 1e-3 their fine mode, which
        generalizes better.
      nu_dtype: dtype that stores both moments, as in
        :func:`arsg_optax.scale_by_adam_rms`; in bfloat16 the maximum is taken of
        rounded averages and can exceed its float32 twin by about 4 %.

    Raises:
      ValueError: as in :func:`arsg_optax.scale_by_adam_rms`.

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, Algorithm 1, lines 5
      to 7.
    """
    check("b2", b2)
    check("eps", eps)

    def start(count, nu):
        largest = moments_like(nu, nu_dtype, fill=eps)
        return ScaleByNonincreasingRmsState(count, nu, largest, as_scalar(eps))

    def advance(state, beta, count, nu):
        del beta
        largest = jax.tree.map(_larger, state.nu_max, nu)
        return state._replace(count=count, nu=nu, nu_max=largest)

    # The maximum never forgets an overflow, so the average may.
    return divide_by_root(start, advance, b2, nu_dtype, sticky=False)


@per_leaf
def _larger(largest, squares):
    larger = jnp.maximum(largest, squares)
    return written(larger) if larger.dtype == jnp.bfloat16 else larger
