"""Measurements on your own loss that choose an optimizer's settings.

All are functions of a loss and its parameters. :func:`search_learning_rate` finds the
step size by training with all candidates at once, and :func:`search` finds several
hyper-parameters by successive halving. :func:`probe_learning_rate` needs no grid: it
computes a step size from what :func:`curvature` measures, by
:func:`suggest_learning_rate`. :func:`scale_invariant_leaves` finds the arrays that
belong on AdaRem-S's sphere.
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
