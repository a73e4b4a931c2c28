"""Pictures of the theory, as Matplotlib figures.

Matplotlib is imported when a figure is asked for: `pip install "arsg_optax[demos]"`.
Everything is computed in float64, whatever the process's own setting. A figure belongs
to no window and no global state: write it with its `savefig`.
"""

from arsg_optax.dynamics.plot.arsg_figure import arsg_figure_1
from arsg_optax.dynamics.plot.namsg_figure import namsg_figure_1
from arsg_optax.dynamics.plot.parameter_map import gain_and_noise_map
from arsg_optax.dynamics.plot.sampling import evaluate
from arsg_optax.dynamics.plot.time_figure import gain_and_noise_along_time

__all__ = [
    "arsg_figure_1",
    "evaluate",
    "gain_and_noise_along_time",
    "gain_and_noise_map",
    "namsg_figure_1",
]
