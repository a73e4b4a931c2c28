"""Decoupled weight decay as a link of the named optimizers."""

from collections.abc import Callable
from typing import Any

import optax

from arsg_optax._validation import check_weight_decay

Mask = Any | Callable[[optax.Params], Any] | None


def decoupled_decay(
    weight_decay: optax.ScalarOrSchedule, mask: Mask
) -> optax.GradientTransformation:
    """:func:`optax.add_decayed_weights`, or nothing for a static 0.0.

    The link that does nothing needs no params in `update`, and its state has the
    structure of the decay's, so that an optimizer and its
    :func:`optax.inject_hyperparams` twin have the same inner state.
    """
    check_weight_decay(weight_decay)
    if isinstance(weight_decay, (int, float)) and weight_decay == 0:
        nothing = optax.identity()
        return nothing if mask is None else optax.masked(nothing, mask)
    return optax.add_decayed_weights(weight_decay, mask)
