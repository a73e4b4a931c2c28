"""Measurements on one's own loss that settle an optimizer's settings.

Functions of a loss and its parameters; they call the loss a few times before training
and return plain values. Which arrays belong on AdaRem-S's sphere:
:func:`scale_invariant_leaves`.
"""

from arsg_optax.tuning.scale_invariance import scale_invariant_leaves

__all__ = ["scale_invariant_leaves"]
