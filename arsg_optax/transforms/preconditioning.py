"""The preconditioner of ARSG and NAMSG: RMS scaling that never grows back."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._moments import moments_like, update_moment
from arsg_optax._precision import check_storage_dtype
from arsg_optax._rounding import SECOND_MOMENT, written
from arsg_optax._trees import per_leaf
from arsg_optax._validation import check
from arsg_optax.transforms._second_moment import divide_by_root, root


class ScaleByNonincreasingRmsState(NamedTuple):
    """State of :func:`scale_by_nonincreasing_rms`."""

    count: jax.Array  # () int32, updates so far.
    nu: optax.Updates  # v_t, shaped as the parameters.
    nu_max: optax.Updates  # The running maximum of eps and v_1 ... v_t.
    # (). Not named eps, which optax.tree.get finds in injected hyper-parameters.
    applied_eps: jax.Array

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

    where :math:`g_t` is ``raw_gradient`` inside
    :func:`arsg_optax.chain_on_gradient`, else the incoming update :math:`d_t`.
    Unlike AMSGrad in Optax, nothing is added to the root and no moment is bias
    corrected: ``eps`` is where :math:`\hat v` starts, so it bounds the scaling by
    :math:`1/\sqrt\epsilon`.

    A gradient element whose square overflows (above 1.8e19 in float32) saturates
    :math:`v_t` and :math:`\hat v_t` at the largest finite number; the state stays
    finite, and an element whose :math:`\hat v` exceeds a quarter of it stops moving. In
    exact arithmetic its steps would be tiny from then on, which is what a
    non-increasing preconditioner means: clip gradients to avoid it.

    Args:
      b2: decay rate of the second moment, in [0, 1).
      eps: initial value of the maximum, in units of the squared gradient, at least
        1.18e-38. 1e-8 is the papers' fast mode, 1e-3 their fine mode, which
        generalizes better.
      nu_dtype: dtype that stores both moments: bfloat16 (the average rounded
        stochastically, and the maximum taken of what is stored, so that it can exceed
        its float32 twin by about 4 %), float32 or float64; None is the parameter's
        dtype, but float32 at least.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`. Updates come out in the
      parameters' dtypes, or where ``update`` gets no params in those they came in.

    Raises:
      ValueError: if an argument is out of range, if ``b2`` or ``eps`` has 16 bits,
        or if gradients are not real floating point or do not fit the state.

    References:
      Chen et al, `An Adaptive Remote Stochastic Gradient Method for Training Neural
      Networks <https://arxiv.org/abs/1905.01422>`_, 2020, Algorithm 1, lines 5 to 7.
    """
    check("b2", b2)
    check("eps", eps)
    nu_dtype = check_storage_dtype("nu_dtype", nu_dtype)

    def start(params):
        return ScaleByNonincreasingRmsState(
            count=jnp.zeros([], jnp.int32),
            nu=moments_like(params, nu_dtype),
            nu_max=moments_like(params, nu_dtype, fill=eps),
            applied_eps=as_scalar(eps),
        )

    def advance(state, gradient, step):
        beta = value_at("b2", b2, state.count)
        nu = update_moment(gradient, state.nu, beta, step, SECOND_MOMENT, order=2)
        return ScaleByNonincreasingRmsState(
            count=increment(state.count),
            nu=nu,
            nu_max=jax.tree.map(_larger, state.nu_max, nu),
            applied_eps=state.applied_eps,
        )

    return divide_by_root(start, advance)


@per_leaf
def _larger(largest, squares):
    larger = jnp.maximum(largest, squares)
    return written(larger) if larger.dtype == jnp.bfloat16 else larger
