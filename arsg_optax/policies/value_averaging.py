"""The mean loss over accumulated batches, for optimizers inside MultiSteps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._validation import check_loss
from arsg_optax._wrapping import (
    Wrappable,
    as_extra_args,
    has_accepted,
    has_stepped,
    where,
)


class MeanValue(NamedTuple):
    """A running mean of finite values."""

    count: jax.Array  # () int32
    mean: jax.Array  # () float32; 0 without values, so that a state is finite.

    def value(self) -> jax.Array:
        """The mean, () float32; NaN without values."""
        return jnp.where(self.count > 0, self.mean, jnp.nan)


def no_values() -> MeanValue:
    """The mean of nothing."""
    return MeanValue(jnp.zeros([], jnp.int32), jnp.zeros([], jnp.float32))


def include(values: MeanValue, value: jax.Array) -> MeanValue:
    """Adds a () value; one that is not finite is ignored."""
    value = value.astype(jnp.float32)
    finite = jnp.isfinite(value)
    count = values.count + finite.astype(jnp.int32)
    share = 1 / jnp.maximum(count, 1).astype(jnp.float32)
    mean = values.mean + share * (value - values.mean)
    return MeanValue(count, jnp.where(finite, mean, values.mean))


class AverageValueState(NamedTuple):
    """State of :func:`average_value`."""

    pending: MeanValue  # Of the losses since the last step.
    inner_state: optax.OptState


def average_value(inner: Wrappable) -> optax.GradientTransformationExtraArgs:
    """Gives an optimizer the mean loss since its last step instead of the newest.

    :class:`optax.MultiSteps` hands the last batch's ``value=`` to the optimizer inside,
    while the gradients are averaged. Around it, this averages the losses too: with
    ``average_value(optax.MultiSteps(arsgb(0.05), 4))`` the observation boost judges the
    mean of the four batches. Left out are values that are not finite, and those of
    batches whose gradient :class:`optax.MultiSteps` skipped; without values the mean is
    NaN.
    ``update`` needs ``value=loss``, or ``loss=loss``, and hands the mean on under the
    same name.

    Args:
      inner: an optimizer with an :class:`optax.MultiSteps` in it.

    Raises:
      ValueError: if ``update`` gets neither ``value`` nor ``loss``, or both.
    """
    inner = as_extra_args(inner)

    def init_fn(params):
        return AverageValueState(no_values(), inner.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        name, loss = check_loss(extra_args, "average_value averages")
        pending = include(state.pending, loss)
        extra_args[name] = pending.value()
        updates, inner_state = inner.update(
            updates, state.inner_state, params, **extra_args
        )
        accepted = has_accepted(state.inner_state, inner_state)
        stepped = has_stepped(state.inner_state, inner_state)
        pending = where(accepted, pending, state.pending)
        pending = where(stepped, no_values(), pending)
        return updates, AverageValueState(pending, inner_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
