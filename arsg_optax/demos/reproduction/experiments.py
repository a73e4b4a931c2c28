"""The experiments by name."""

from collections.abc import Mapping

from arsg_optax.demos.errors import find_named
from arsg_optax.demos.reproduction.adarem_paper import ADAREM_PAPER
from arsg_optax.demos.reproduction.arsg_paper import ARSG_PAPER
from arsg_optax.demos.reproduction.entrants import Experiment
from arsg_optax.demos.reproduction.namsg_paper import NAMSG_PAPER

EXPERIMENTS: Mapping[str, Experiment] = {
    experiment.name: experiment
    for experiment in (*ARSG_PAPER, *NAMSG_PAPER, *ADAREM_PAPER)
}


def find_experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        UsageError: if there is none; it lists those that there are.
    """
    return find_named(EXPERIMENTS, "experiment", name)
