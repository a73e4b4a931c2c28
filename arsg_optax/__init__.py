"""Remote-observation momentum for JAX: RSG, ARSG, NAMSG and AdaRem on Optax.

See the README for a tour, `optimizers` for the named optimizers, `transforms` for
the links they are chained from.
"""

from arsg_optax import dynamics, hyperparams
from arsg_optax.evaluation import eval_params, metrics
from arsg_optax.optimizers.adarem import adarem
from arsg_optax.optimizers.arsg import arsg
from arsg_optax.optimizers.namsg import namsg
from arsg_optax.optimizers.rsg import rsg
from arsg_optax.transforms.combining import chain_on_gradient
from arsg_optax.transforms.learning_rate import (
    ScaleByLearningRateState,
    scale_by_learning_rate,
)
from arsg_optax.transforms.observation import (
    RemoteObservationState,
    remote_observation,
)
from arsg_optax.transforms.preconditioning import (
    ScaleByNonincreasingRmsState,
    scale_by_nonincreasing_rms,
)
from arsg_optax.transforms.resilience import (
    ScaleByResilienceState,
    scale_by_resilience,
)

__version__ = "0.1.0"

__all__ = [
    "RemoteObservationState",
    "ScaleByLearningRateState",
    "ScaleByNonincreasingRmsState",
    "ScaleByResilienceState",
    "adarem",
    "arsg",
    "chain_on_gradient",
    "dynamics",
    "eval_params",
    "hyperparams",
    "metrics",
    "namsg",
    "remote_observation",
    "rsg",
    "scale_by_learning_rate",
    "scale_by_nonincreasing_rms",
    "scale_by_resilience",
]
