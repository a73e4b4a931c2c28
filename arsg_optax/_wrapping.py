"""What every wrapper of another optimizer needs."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax._states import find_states
from arsg_optax._validation import check_transforms

Wrappable = optax.GradientTransformation | optax.MultiSteps


def as_extra_args(inner: Wrappable) -> optax.GradientTransformationExtraArgs:
    """The inner optimizer, with an update that takes any extra arguments."""
    if isinstance(inner, optax.GradientTransformationExtraArgs):
        return inner
    takes = takes_extra_args(inner)
    init: Any = inner.init
    update: Any = inner.update
    if takes:
        # MultiSteps is no GradientTransformationExtraArgs but takes extra arguments;
        # Optax's own helper would drop them.
        return optax.GradientTransformationExtraArgs(init, update)
    return optax.with_extra_args_support(optax.GradientTransformation(init, update))


def takes_extra_args(inner: Wrappable) -> bool:
    """Whether the extra arguments of an update reach the inner optimizer at all."""
    if isinstance(inner, optax.GradientTransformationExtraArgs):
        return True
    check_transforms("inner", inner)
    parameters = inspect.signature(inner.update).parameters.values()
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def has_stepped(before: optax.OptState, after: optax.OptState) -> jax.Array:
    """Whether the update between two states took a step: () bool.

    Not where an :class:`optax.MultiSteps` inside only accumulated, or an
    :func:`optax.apply_if_finite` inside refused the gradient.
    """
    stepped = has_accepted(before, after)
    for old, new in _pairs(before, after):
        if isinstance(new, optax.MultiStepsState):
            stepped &= jnp.asarray(old.gradient_step != new.gradient_step)
    return stepped


def has_accepted(before: optax.OptState, after: optax.OptState) -> jax.Array:
    """Whether a gradient was used: for a step, or to be accumulated. () bool."""
    accepted = jnp.asarray(True)
    for old, new in _pairs(before, after):
        if isinstance(new, optax.MultiStepsState):
            gathered = jnp.asarray(old.mini_step != new.mini_step)
            accepted &= gathered | jnp.asarray(old.gradient_step != new.gradient_step)
        elif isinstance(new, optax.ApplyIfFiniteState):
            # After too many refusals it lets a bad gradient through.
            through = _counts_differ(old.inner_state, new.inner_state)
            accepted &= jnp.asarray(new.last_finite) | through
    return accepted


def _pairs(before: optax.OptState, after: optax.OptState) -> list[tuple[Any, Any]]:
    pairs = zip(find_states(before), find_states(after), strict=True)
    return [(old.state, new.state) for old, new in pairs]


def _counts_differ(before: Any, after: Any) -> jax.Array:
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    differ = jnp.asarray(False)
    for old, new in pairs:
        if jnp.shape(new) == () and jnp.issubdtype(jnp.result_type(new), jnp.integer):
            differ |= jnp.asarray(old != new)
    return differ


def where(condition: jax.Array, one: Any, other: Any) -> Any:
    """One of two trees of the same structure, by a () bool."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
