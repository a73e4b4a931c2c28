"""Measurements on one's own loss that settle an optimizer's settings.

Functions of a loss and its parameters. The step size, found by training with all
candidates at once: :func:`search_learning_rate`; several hyper-parameters, by
successive halving: :func:`search`. A step size from formulas, without a grid:
:func:`probe_learning_rate`, of what :func:`curvature` measures and
:func:`suggest_learning_rate` concludes. Which arrays belong on AdaRem-S's sphere:
:func:`scale_invariant_leaves`.
"""

from arsg_optax.tuning.curvature import Curvature, curvature
from arsg_optax.tuning.halving_search import Search, search
from arsg_optax.tuning.learning_rate_probe import gradient_rms, probe_learning_rate
from arsg_optax.tuning.learning_rate_search import (
    LearningRateSearch,
    search_learning_rate,
)
from arsg_optax.tuning.learning_rate_suggestion import (
    LearningRateSuggestion,
    suggest_learning_rate,
)
from arsg_optax.tuning.scale_invariance import scale_invariant_leaves
from arsg_optax.tuning.space import LogUniform, Uniform

__all__ = [
    "Curvature",
    "LearningRateSearch",
    "LearningRateSuggestion",
    "LogUniform",
    "Search",
    "Uniform",
    "curvature",
    "gradient_rms",
    "probe_learning_rate",
    "scale_invariant_leaves",
    "search",
    "search_learning_rate",
    "suggest_learning_rate",
]
