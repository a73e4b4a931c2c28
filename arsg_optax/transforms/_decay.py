"""Decoupled weight decay: a function, and a link that calls it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, increment, value_at
from arsg_optax._precision import cast_updates, compute_dtype
from arsg_optax._trees import (
    chosen_of,
    map_updates,
    per_leaf,
    require_params,
    spread,
)
from arsg_optax._validation import check

Mask = Any | Callable[[optax.Params], Any] | None


class DecayScheduleState(NamedTuple):
    """State of a decay that is a schedule."""

    count: jax.Array  # () int32, updates so far.


def decoupled_decay(
    weight_decay: optax.ScalarOrSchedule, mask: Mask
) -> optax.GradientTransformation:
    """Adds the decayed parameters to the updates; nothing for a static 0.0.

    That link needs no params in `update`, and its state has the structure of that of a
    number, as an optimizer and its :func:`optax.inject_hyperparams` twin need.
    """
    check("weight_decay", weight_decay)
    if switched_off(weight_decay):
        return optax.identity()

    def init_fn(params):
        del params
        if callable(weight_decay):
            return DecayScheduleState(count=jnp.zeros([], jnp.int32))
        return optax.EmptyState()

    def update_fn(updates, state, params=None, **_):
        rate = value_at("weight_decay", weight_decay, getattr(state, "count", 0))
        if callable(weight_decay):
            state = DecayScheduleState(count=increment(state.count))
        return cast_updates(decay(updates, params, rate, mask), params, updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def switched_off(weight_decay: optax.ScalarOrSchedule) -> bool:
    """Whether a decay is the number 0, so that `update` needs no params for it."""
    return isinstance(weight_decay, (int, float)) and weight_decay == 0


def decay(
    updates: optax.Updates,
    params: optax.Params | None,
    rate: float | jax.Array,
    mask: Mask = None,
) -> optax.Updates:
    """Updates plus the rate times the parameters, in float32 at least.

    :func:`optax.add_decayed_weights` multiplies 16-bit parameters by a float32 rate
    where one is injected, which strict promotion refuses, and takes schedules in newer
    versions only.

    The mask says which leaves decay, as in :func:`optax.masked`; None is all of them.
    """
    params = require_params(params, "weight_decay is used")
    rate = as_scalar(rate)
    if mask is None:
        return map_updates(lambda u, p: _add(u, p, rate), updates, params)
    flags = iter(
        spread(
            "mask",
            chosen_of(mask, updates),
            updates,
            "give it a boolean for every leaf, or a callable that makes such a tree "
            "from the parameters.",
            is_leaf=lambda node: node is None,
        )
    )
    return map_updates(
        lambda u, p: _add(u, p, rate) if next(flags) else u, updates, params
    )


@per_leaf
def _add(update, param, rate):
    dtype = compute_dtype(update, param)
    u, p, rate = (jnp.asarray(x, dtype) for x in (update, param, rate))
    return u + rate * p
