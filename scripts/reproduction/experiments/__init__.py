"""The experiments by name: which entrants run, with which settings, in which sizes."""

from collections.abc import Mapping

from arsg_optax.demos.errors import find_named
from scripts.reproduction.experiments.adarem_paper import ADAREM_PAPER
from scripts.reproduction.experiments.arsg_paper import ARSG_PAPER
from scripts.reproduction.experiments.entrants import Experiment
from scripts.reproduction.experiments.namsg_paper import NAMSG_PAPER
from scripts.reproduction.experiments.today import TODAY
from scripts.reproduction.experiments.variants import VARIANTS

EXPERIMENTS: Mapping[str, Experiment] = {
    experiment.name: experiment
    for experiment in (*ARSG_PAPER, *NAMSG_PAPER, *ADAREM_PAPER, *TODAY, *VARIANTS)
}


def find_experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        UsageError: if there is none; it lists those that there are.
    """
    return find_named(EXPERIMENTS, "experiment", name)
