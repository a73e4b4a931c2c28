"""SWNTS: from an adaptive method to SGD, at a step size measured at the switch."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import default_float, increment
from arsg_optax._precision import cast_updates, compute_dtype, product
from arsg_optax._reductions import Axes, AxisName, Whole, as_axes
from arsg_optax._states import find_states
from arsg_optax._trees import check_real, check_updates
from arsg_optax._validation import check, check_transforms
from arsg_optax._wrapping import where
from arsg_optax.transforms._links import known_denominator


class SwitchToSgdState(NamedTuple):
    """State of :func:`switch_to_sgd`."""

    count: jax.Array  # () int32, updates so far.
    switched: jax.Array  # () bool.
    scale: jax.Array  # (), default float dtype: c, 0 before the switch.
    preconditioner_state: optax.OptState

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {"switched": self.switched}

    def denominator(self) -> optax.Updates:
        """What the last update was divided by, shaped as the parameters."""

        def divisor(inner):
            constant = 1 / jnp.where(self.switched, self.scale, 1).astype(inner.dtype)
            return jnp.where(self.switched, constant, inner)

        return jax.tree.map(divisor, known_denominator(self.preconditioner_state))


def switch_to_sgd(
    preconditioner: optax.GradientTransformation,
    *,
    switch_at: chex.Numeric,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""A preconditioner that turns into a constant at a given update.

    Until then the link is the preconditioner: it makes :math:`u_t` of the direction
    :math:`\hat m_t` that reaches it. At update ``switch_at`` it takes the constant for
    which the projection of :math:`c\,\hat m_t` onto :math:`u_t` is :math:`u_t` itself,

    .. math:: c \leftarrow \|u_t\|^2 / \langle \hat m_t, u_t \rangle,

    over the whole tree, and from this update on it passes on :math:`c\,\hat m_t`. With
    the learning rate :math:`\alpha_t` behind it that is SGD with momentum at the step
    size :math:`\hat\alpha_t = \alpha_t c`, the paper's; a schedule of the learning rate
    goes on. If the inner product is not positive, the switch waits for the next update
    at which it is. After the switch the preconditioner's state rests. Updates come out
    in the parameters' dtypes, or without ``params`` in those they came in.

    Args:
      preconditioner: the link to switch off, such as
        :func:`arsg_optax.scale_by_nonincreasing_rms`; it divides all leaves, masks go
        around the whole optimizer.
      switch_at: update that computes the constant and already uses it, an integer, at
        least 0; updates are counted from 0.
      axis_name: as in :func:`arsg_optax.project`.

    Raises:
      ValueError: if ``switch_at`` is out of range, if the preconditioner is masked, if
        gradients are not real floating point or do not fit the state, or if an array is
        split inside :func:`jax.shard_map` and ``axis_name`` is None.

    References:
      NAMSG, `Chen et al 2019 <https://arxiv.org/abs/1905.01422v2>`_, section 5, SWNTS.
    """
    check("switch_at", switch_at)
    axes = as_axes(axis_name)
    check_transforms("preconditioner", preconditioner)
    preconditioner = optax.with_extra_args_support(preconditioner)

    def init_fn(params):
        check_real("params", params)
        inner_state = preconditioner.init(params)
        found = find_states(inner_state)
        if any(isinstance(each.state, optax.MaskedState) for each in found):
            raise ValueError(
                "preconditioner must divide every leaf, got a masked or partitioned "
                "one: after the switch one constant multiplies all of them; mask or "
                "partition the whole optimizer."
            )
        return SwitchToSgdState(
            count=jnp.zeros([], jnp.int32),
            switched=jnp.zeros([], jnp.bool_),
            scale=jnp.zeros([], default_float()),
            preconditioner_state=inner_state,
        )

    def update_fn(updates, state, params=None, **extra_args):
        divided, inner_state = preconditioner.update(
            updates, state.preconditioner_state, params, **extra_args
        )
        check_updates("updates", updates, divided)
        aligned = _inner_product(updates, divided, axes)
        squared = _inner_product(divided, divided, axes)
        due = state.count >= jnp.asarray(switch_at).astype(jnp.int32)
        constant = squared / jnp.where(aligned > 0, aligned, 1)
        possible = (aligned > 0) & (constant > 0) & jnp.isfinite(constant)
        now = due & ~state.switched & possible
        switched, scale = state.switched | now, jnp.where(now, constant, state.scale)

        def choose(direction, u):
            dtype = compute_dtype(direction, u)
            sgd = scale.astype(dtype) * direction.astype(dtype)
            return jnp.where(switched, sgd, u.astype(dtype))

        chosen = jax.tree.map(choose, updates, divided)
        new_state = SwitchToSgdState(
            count=increment(state.count),
            switched=switched,
            scale=scale,
            preconditioner_state=where(
                state.switched, state.preconditioner_state, inner_state
            ),
        )
        return cast_updates(chosen, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _inner_product(one: optax.Updates, other: optax.Updates, axes: Axes) -> jax.Array:
    """The inner product over the whole tree: () of the default float dtype."""
    products = jax.tree.leaves(jax.tree.map(product, one, other))
    return Whole(products, axes, default_float()).sum(products)
