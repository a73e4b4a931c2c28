"""What every wrapper of another optimizer needs."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax._state_search import find_states

Wrappable = optax.GradientTransformation | optax.MultiSteps


def as_extra_args(inner: Wrappable) -> optax.GradientTransformationExtraArgs:
    """The inner optimizer, with an update that takes any extra arguments."""
    if isinstance(inner, optax.GradientTransformationExtraArgs):
        return inner
    init: Any = inner.init
    update: Any = inner.update
    parameters = inspect.signature(update).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        # MultiSteps is no GradientTransformationExtraArgs but takes extra arguments;
        # Optax's own helper would drop them.
        return optax.GradientTransformationExtraArgs(init, update)
    return optax.with_extra_args_support(optax.GradientTransformation(init, update))


def has_stepped(before: optax.OptState, after: optax.OptState) -> jax.Array:
    """Whether an optimizer took a step, rather than gather or reject a gradient.

    Args:
      before: the optimizer's state.
      after: its state after an update.

    Returns:
      () bool: False where an :class:`optax.MultiSteps` inside only accumulated, or
      an :func:`optax.apply_if_finite` inside refused the gradient.
    """
    stepped = jnp.asarray(True)
    for old, new in zip(find_states(before), find_states(after), strict=True):
        if isinstance(new.state, optax.MultiStepsState):
            steps = old.state.gradient_step, new.state.gradient_step
            stepped &= jnp.asarray(steps[0] != steps[1])
        elif isinstance(new.state, optax.ApplyIfFiniteState):
            stepped &= jnp.asarray(new.state.last_finite)
    return stepped
