"""Conversions between RSG's hyper-parameters and those of related optimizers.

RSG (ARSG eq. 3) starts from m = 0 and repeats, with the gradient g taken at y,

    m <- b1 m + (1 - b1) g
    y <- y - learning_rate ((1 - observation) m + observation g)

Each `from_*` returns the RSG that takes its gradients at the same points as its source
started at rest, whatever the gradients are: `rsg(**params._asdict())`. Where the source
goes on with the direction (an rms, a sign), the docstring has the call. Constants are
scalars or arrays that broadcast, Python, NumPy or traced JAX. Ranges are checked for
Python and NumPy numbers; a traced value cannot be compared.

With b1 or observation outside [0, 1) the recursion may still be a valid algorithm,
but it is not RSG (ARSG requires both ranges) and `rsg` refuses it, so conversions
that end there raise. observation = 1 is plain SGD, which RSG writes as b1 = 0.
"""

from arsg_optax.hyperparams._params import QHMParams, RSGParams
from arsg_optax.hyperparams.averaging import (
    from_gpa,
    from_primal_averaging,
    from_schedule_free,
)
from arsg_optax.hyperparams.classical import (
    distance_from_observation,
    from_asgd,
    from_heavy_ball,
    from_mass,
    from_nesterov,
    from_pid,
    from_qhm,
    from_robust_momentum,
    from_synthesized_nesterov,
    from_two_state,
    observation_from_distance,
    to_qhm,
)
from arsg_optax.hyperparams.language_models import (
    from_adana,
    from_ademamix_without_fast,
    from_dana,
    from_ema_nesterov,
    from_lion,
    from_mars_approx,
    from_muon_momentum,
    from_outer_nesterov,
    from_simplified_ademamix,
)

__all__ = [
    "QHMParams",
    "RSGParams",
    "distance_from_observation",
    "from_adana",
    "from_ademamix_without_fast",
    "from_asgd",
    "from_dana",
    "from_ema_nesterov",
    "from_gpa",
    "from_heavy_ball",
    "from_lion",
    "from_mars_approx",
    "from_mass",
    "from_muon_momentum",
    "from_nesterov",
    "from_outer_nesterov",
    "from_pid",
    "from_primal_averaging",
    "from_qhm",
    "from_robust_momentum",
    "from_schedule_free",
    "from_simplified_ademamix",
    "from_synthesized_nesterov",
    "from_two_state",
    "observation_from_distance",
    "to_qhm",
]
