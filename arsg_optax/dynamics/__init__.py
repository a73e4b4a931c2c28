"""The papers' theory as functions of tau = αλ, b1 and the observation factor.

They say how fast RSG converges along an eigenvector of curvature λ, how much gradient
noise stays, where it diverges, which hyper-parameters follow, and what is left of a
start and of noise along time, under any schedules. The papers' schedules and bounds on
regret are here, too. All functions are pure, broadcast like NumPy's, and work under
jit, vmap and grad; Python numbers out of range raise ValueError, arrays are not
checked. Results are float32, or float64 where x64 is on; 16-bit arguments are computed
in float32.
"""

from arsg_optax.dynamics.evolution import GainAndNoise, gain_and_noise
from arsg_optax.dynamics.linear import (
    Eigenvalues,
    eigenvalues,
    gain_factor,
    gain_matrix,
)
from arsg_optax.dynamics.namsg_regret import (
    namsg_corollary1_bound,
    namsg_harmonic_bound,
    namsg_theorem1_bound,
)
from arsg_optax.dynamics.noise import final_loss, variance_limit
from arsg_optax.dynamics.rates import (
    OptimalHyperparams,
    optimal_hyperparams,
    theorem1_rate,
)
from arsg_optax.dynamics.regions import (
    ComplexRegion,
    boost_ratio,
    complex_region,
    convergence_bound,
    fastest_tau,
    symmetric_point,
)
from arsg_optax.dynamics.regret import (
    adarem_derived_bound,
    adarem_theorem1_bound,
    arsg_theorem3_bound,
    arsg_theorem3_step_size,
)
from arsg_optax.dynamics.remote_gain import max_gain_expectation
from arsg_optax.dynamics.schedules import (
    AdaRemSchedules,
    ARSGSchedules,
    NAMSGSchedules,
    adarem_theorem1_schedules,
    arsg_theorem2_schedules,
    arsg_theorem3_schedules,
    namsg_corollary1_schedules,
    namsg_harmonic_schedules,
    namsg_theorem1_schedules,
)
from arsg_optax.dynamics.simulation import Trajectory, simulate
from arsg_optax.dynamics.stationarity import (
    Theorem2Coefficients,
    arsg_theorem2_bound,
    arsg_theorem2_coefficients,
    arsg_theorem2_derived_coefficients,
)

__all__ = [
    "ARSGSchedules",
    "AdaRemSchedules",
    "ComplexRegion",
    "Eigenvalues",
    "GainAndNoise",
    "NAMSGSchedules",
    "OptimalHyperparams",
    "Theorem2Coefficients",
    "Trajectory",
    "adarem_derived_bound",
    "adarem_theorem1_bound",
    "adarem_theorem1_schedules",
    "arsg_theorem2_bound",
    "arsg_theorem2_coefficients",
    "arsg_theorem2_derived_coefficients",
    "arsg_theorem2_schedules",
    "arsg_theorem3_bound",
    "arsg_theorem3_schedules",
    "arsg_theorem3_step_size",
    "boost_ratio",
    "complex_region",
    "convergence_bound",
    "eigenvalues",
    "fastest_tau",
    "final_loss",
    "gain_and_noise",
    "gain_factor",
    "gain_matrix",
    "max_gain_expectation",
    "namsg_corollary1_bound",
    "namsg_corollary1_schedules",
    "namsg_harmonic_bound",
    "namsg_harmonic_schedules",
    "namsg_theorem1_bound",
    "namsg_theorem1_schedules",
    "optimal_hyperparams",
    "simulate",
    "symmetric_point",
    "theorem1_rate",
    "variance_limit",
]
