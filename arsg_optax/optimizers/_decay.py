"""Decoupled weight decay as a link of the named optimizers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import increment, value_at
from arsg_optax._precision import cast_updates, compute_dtype
from arsg_optax._trees import map_updates
from arsg_optax._validation import check

Mask = Any | Callable[[optax.Params], Any] | None


class DecayScheduleState(NamedTuple):
    """State of a decay that is a schedule."""

    count: jax.Array  # () int32, updates so far.


def decoupled_decay(
    weight_decay: optax.ScalarOrSchedule, mask: Mask
) -> optax.GradientTransformation:
    """Adds the decayed parameters to the updates; nothing for a static 0.0.

    The link that does nothing needs no params in `update`, and its state has the
    structure of the decay's, so that an optimizer and its
    :func:`optax.inject_hyperparams` twin have the same inner state.
    """
    check("weight_decay", weight_decay)
    static = isinstance(weight_decay, (int, float))
    link = optax.identity() if static and weight_decay == 0 else _decay(weight_decay)
    return link if mask is None else optax.masked(link, mask)


def _decay(weight_decay: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """As `optax.add_decayed_weights`, but computed in float32 at least.

    Optax's multiplies 16-bit parameters by a float32 rate where one is injected,
    which strict promotion refuses, and takes schedules in newer versions only.
    """

    def init_fn(params):
        del params
        if callable(weight_decay):
            return DecayScheduleState(count=jnp.zeros([], jnp.int32))
        return optax.EmptyState()

    def update_fn(updates, state, params=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError(
                "params must be given to update where weight_decay is used, got None; "
                "call update(gradients, state, params)."
            )
        count = state.count if callable(weight_decay) else 0
        rate = value_at("weight_decay", weight_decay, count)
        if callable(weight_decay):
            state = DecayScheduleState(count=increment(state.count))

        def add(u, p):
            dtype = compute_dtype(u, p)
            return u.astype(dtype) + jnp.asarray(rate, dtype) * jnp.asarray(p, dtype)

        decayed = map_updates(add, updates, params)
        return cast_updates(decayed, params, updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
