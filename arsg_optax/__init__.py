"""Remote-observation momentum for JAX: RSG, ARSG, NAMSG and AdaRem on Optax.

Start with :func:`arsg` and :func:`eval_params`. The named optimizers are in
`optimizers`; most are one call of :func:`remote_chain`, which `transforms` holds beside
the links that it takes. `constraints` keeps parameters in a set or on a sphere,
`policies` change an optimizer while it runs. The README is a tour.
"""

from arsg_optax import dynamics, hyperparams, tuning
from arsg_optax._states import STATE_FORMAT
from arsg_optax.constraints.projection import ProjectState, project
from arsg_optax.constraints.sets import Box, HalfSpace, L2Ball
from arsg_optax.constraints.sphere import ConstrainToSphereState, constrain_to_sphere
from arsg_optax.constraints.sphere_learning_rate import (
    ScaleBySphereLearningRateState,
    scale_by_sphere_learning_rate,
)
from arsg_optax.evaluation import eval_params, metrics
from arsg_optax.optimizers._matrices import hidden_matrices
from arsg_optax.optimizers.adarem import adarem
from arsg_optax.optimizers.adarem_s import adarem_s
from arsg_optax.optimizers.arsg import arsg
from arsg_optax.optimizers.arsgb import arsgb
from arsg_optax.optimizers.arsgw import arsgw
from arsg_optax.optimizers.namsg import namsg
from arsg_optax.optimizers.orsg import orsg
from arsg_optax.optimizers.rsg import rsg
from arsg_optax.optimizers.swnts import swnts
from arsg_optax.policies.observation_boost import (
    ObservationBoostState,
    observation_boost,
)
from arsg_optax.policies.switch import SwitchToSgdState, switch_to_sgd
from arsg_optax.policies.value_averaging import AverageValueState, average_value
from arsg_optax.schedules import falling_observation, log_time_momentum
from arsg_optax.transforms.adam_rms import ScaleByAdamRmsState, scale_by_adam_rms
from arsg_optax.transforms.averaging import AverageRemotelyState, average_remotely
from arsg_optax.transforms.combining import (
    DeclareElementwiseState,
    chain_on_gradient,
    declare_elementwise,
)
from arsg_optax.transforms.learning_rate import (
    ScaleByLearningRateState,
    scale_by_learning_rate,
)
from arsg_optax.transforms.observation import RemoteObservationState, remote_observation
from arsg_optax.transforms.orthogonalization import (
    MatrixAxes,
    OrthogonalizeState,
    orthogonalize,
)
from arsg_optax.transforms.oscillation import TrackOscillationState, track_oscillation
from arsg_optax.transforms.preconditioning import (
    ScaleByNonincreasingRmsState,
    scale_by_nonincreasing_rms,
)
from arsg_optax.transforms.rectified_rms import (
    ScaleByRectifiedRmsState,
    scale_by_rectified_rms,
)
from arsg_optax.transforms.remote_chain import RemoteChainState, remote_chain
from arsg_optax.transforms.resilience import ScaleByResilienceState, scale_by_resilience
from arsg_optax.transforms.softplus_rms import (
    ScaleBySoftplusRmsState,
    scale_by_softplus_rms,
)
from arsg_optax.transforms.two_point import ObserveRemotelyState, observe_remotely

__version__ = "0.1.0"

__all__ = [
    "AverageRemotelyState",
    "AverageValueState",
    "Box",
    "ConstrainToSphereState",
    "DeclareElementwiseState",
    "HalfSpace",
    "L2Ball",
    "MatrixAxes",
    "ObservationBoostState",
    "ObserveRemotelyState",
    "OrthogonalizeState",
    "ProjectState",
    "RemoteChainState",
    "RemoteObservationState",
    "STATE_FORMAT",
    "ScaleByAdamRmsState",
    "ScaleByLearningRateState",
    "ScaleByNonincreasingRmsState",
    "ScaleByRectifiedRmsState",
    "ScaleByResilienceState",
    "ScaleBySoftplusRmsState",
    "ScaleBySphereLearningRateState",
    "SwitchToSgdState",
    "TrackOscillationState",
    "adarem",
    "adarem_s",
    "arsg",
    "arsgb",
    "arsgw",
    "average_remotely",
    "average_value",
    "chain_on_gradient",
    "constrain_to_sphere",
    "declare_elementwise",
    "dynamics",
    "eval_params",
    "falling_observation",
    "hidden_matrices",
    "hyperparams",
    "log_time_momentum",
    "metrics",
    "namsg",
    "observation_boost",
    "observe_remotely",
    "orsg",
    "orthogonalize",
    "project",
    "remote_chain",
    "remote_observation",
    "rsg",
    "scale_by_adam_rms",
    "scale_by_learning_rate",
    "scale_by_nonincreasing_rms",
    "scale_by_rectified_rms",
    "scale_by_resilience",
    "scale_by_softplus_rms",
    "scale_by_sphere_learning_rate",
    "switch_to_sgd",
    "swnts",
    "track_oscillation",
    "tuning",
]
