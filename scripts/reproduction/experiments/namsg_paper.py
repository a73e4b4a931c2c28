"""The NAMSG paper's experiments: its figures 2 and 3."""

from collections.abc import Mapping

from arsg_optax.demos.tasks import find_task
from scripts.reproduction.experiments import grids
from scripts.reproduction.experiments.entrants import (
    ASSUMED,
    GRID,
    Entrant,
    Experiment,
    Size,
)


def _entrants(task: str) -> tuple[Entrant, ...]:
    """Step size and the squares' decay from a grid, momenta 0.9.

    The strategies to generalize take their step from a held-out part of the training
    set: NAMSG1 and SWNTS1 are the paper's with a "relatively large" one.
    """
    known = find_task(task).settings

    def searched(label: str, name: str, like: str, held_out: bool) -> Entrant:
        grid = {GRID: grids.namsg_paper(known[like])}
        # A strategy's own step is known only once it is searched.
        fixed = {} if held_out else {ASSUMED: known[like]}
        return Entrant(label, name, fixed, grid, held_out=held_out)

    sgd = grids.sgd(grids.IMAGE_STEPS, (0.9,))
    return (
        Entrant("SGD", "sgd", {ASSUMED: known["sgd"]}, {GRID: sgd}),
        searched("Adam", "adam", "adam", held_out=False),
        searched("NAdam", "nadam", "nadam", held_out=False),
        searched("AMSGrad", "amsgrad", "amsgrad", held_out=False),
        searched("NAMSG", "namsg", "namsg", held_out=False),
        searched("NAMSG1", "namsg", "namsg", held_out=True),
        searched("SWNTS", "swnts", "swnts", held_out=False),
        searched("SWNTS1", "swnts1", "swnts", held_out=True),
    )


def _experiment(
    task: str,
    source: str,
    seeds: int,
    small: Size,
    panels: tuple[str, str],
    of_grids: str = "",
) -> Experiment:
    sizes: Mapping[str, Size] = {
        "full": Size(
            "all of the protocol; grids of our own, as the paper prints none"
            + of_grids,
            seeds,
            seeds,
            searches=True,
        ),
        "small": small,
    }
    return Experiment(task, task, source, _entrants(task), sizes, *panels)


NAMSG_PAPER = (
    _experiment(
        "namsg-mnist-logreg",
        "NAMSG paper, figure 2, top",
        10,
        Size(
            "no grids; 10,000 of 60,000 images, 5 of 20 epochs, three of ten seeds",
            3,
            3,
            epochs=5,
            examples=10_000,
        ),
        ("NAMSG 2, top left", "NAMSG 2, top right"),
    ),
    _experiment(
        "namsg-mnist-cnn",
        "NAMSG paper, figure 2, bottom",
        10,
        Size("no grids; one of ten seeds", 1, 1),
        ("NAMSG 2, bottom left", "NAMSG 2, bottom right"),
    ),
    _experiment(
        "namsg-cifar10",
        "NAMSG paper, figure 3",
        5,
        Size(
            "no grids; 10,000 of 50,000 images, 8 of 75 epochs, one of five seeds",
            1,
            1,
            epochs=8,
            examples=10_000,
        ),
        ("NAMSG 3, left", "NAMSG 3, right"),
        ", in all epochs instead of 20",
    ),
)
