"""An experiment's picture: curves, as the papers draw them, or final losses."""

from collections.abc import Callable, Sequence

import numpy as np

from arsg_optax.demos.report.curves import Curve, Panel, draw
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.kinds import Text
from arsg_optax.demos.tasks.records import Epoch
from scripts.reproduction.experiments.entrants import Experiment
from scripts.reproduction.findings.results import Result
from scripts.reproduction.report.differences import draw_differences

_NATS = "mean cross entropy (nats)"

Number = Callable[[Epoch], float]


def draw_results(
    experiment: Experiment,
    results: Sequence[Result],
    title: str,
    endings: Sequence[str] = ("png", "svg"),
) -> dict[str, bytes]:
    """Draws the results of one kind.

    Args:
        experiment: whose panels they are.
        results: of several methods.
        title: above both panels.
        endings: of the files' names, "png" and "svg".

    Returns:
        The picture by these endings.
    """
    if not experiment.curves:
        return draw_differences(results, experiment.baselines[0], title, endings)
    text = isinstance(find_task(experiment.task).kind, Text)
    at_x: Number = (lambda e: e.test_loss_x) if text else _accuracy_x
    at_y: Number = (lambda e: e.test_loss_y) if text else _accuracy_y
    drawn = [each for each in results if each.finished]
    trained = [curve(each, lambda e: e.train_loss) for each in drawn]
    tested = [
        curve(each, at_x)._replace(
            low=None, thin=curve(each, at_y).values if each.has_own_point else None
        )
        for each in drawn
    ]
    panels = (
        Panel(
            f"({experiment.loss_panel}) training loss, mean of each epoch",
            _NATS,
            trained,
        ),
        Panel(
            f"({experiment.test_panel}) validation, at the own point; thin: at y",
            _NATS if text else "accuracy (%)",
            tested,
            rises=not text,
        ),
    )
    return draw(title, panels, "epoch", endings, salt=experiment.name)


def curve(result: Result, number: Number) -> Curve:
    """A number's mean after each epoch, over the seeds that finished, and its range."""
    records = result.finished.values()
    values = np.array([[number(epoch) for epoch in each.epochs] for each in records])
    return Curve(
        result.label,
        result.config.optimizer,
        result.ours,
        np.arange(1, values.shape[1] + 1),
        values.mean(0),
        values.min(0),
        values.max(0),
    )


def _accuracy_x(epoch: Epoch) -> float:
    return 100 * epoch.test_accuracy_x


def _accuracy_y(epoch: Epoch) -> float:
    return 100 * epoch.test_accuracy_y
