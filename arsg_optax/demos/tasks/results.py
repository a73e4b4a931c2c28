"""What a comparison found: rows of epochs, runs, and the numbers of the final table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from arsg_optax.demos.tasks.settings import Settings
from arsg_optax.demos.training.evaluation import PointScores
from arsg_optax.demos.training.optimizers import Optimizer


class Row(NamedTuple):
    """One epoch of one optimizer.

    y is the point at which the loop holds the parameters and takes gradients, x the
    optimizer's own evaluation point (the same where it has none). Losses are mean
    cross entropies in nats, accuracies shares between 0 and 1.

    Attributes:
        optimizer: its name.
        epoch: counted from 1.
        step: optimizer steps taken so far.
        train_loss: mean of the epoch's minibatch losses, each before its step.
        whole_train_loss_y: over the training set after the epoch, at y; large sets
            are evaluated in part (see the task's `kind`).
        whole_train_loss_x: the same at x.
        test_loss_y: over the test set, at y.
        test_loss_x: over the test set, at x.
        test_accuracy_y: at y.
        test_accuracy_x: at x.
        seconds: since the optimizer's first step, without compilation.
        learning_rate: the step size.
        own_point: what x is, `"held"` where it is y.
    """

    optimizer: str
    epoch: int
    step: int
    train_loss: float
    whole_train_loss_y: float
    whole_train_loss_x: float
    test_loss_y: float
    test_loss_x: float
    test_accuracy_y: float
    test_accuracy_x: float
    seconds: float
    learning_rate: float
    own_point: str

    def is_finite(self) -> bool:
        """Whether all numbers of the row are."""
        return all(math.isfinite(v) for v in self if isinstance(v, float))


def make_row(
    scores: PointScores,
    train_loss: float,
    *,
    run: "Run",
    epoch: int,
    step: int,
    seconds: float,
) -> Row:
    """A row of a run from an epoch's scores as Python floats."""
    return Row(
        optimizer=run.optimizer,
        epoch=epoch,
        step=step,
        train_loss=train_loss,
        seconds=seconds,
        learning_rate=run.learning_rate,
        own_point=run.own_point,
        **score_columns(scores),
    )


def score_columns(scores: PointScores) -> dict[str, float]:
    """An epoch's scores by the names that tables give them."""
    return {
        "whole_train_loss_y": float(scores.train_y.loss),
        "whole_train_loss_x": float(scores.train_x.loss),
        "test_loss_y": float(scores.test_y.loss),
        "test_loss_x": float(scores.test_x.loss),
        "test_accuracy_y": float(scores.test_y.accuracy),
        "test_accuracy_x": float(scores.test_x.accuracy),
    }


class Outcome(Enum):
    """How a run ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


@dataclass
class Run:
    """One optimizer on the task.

    Attributes:
        optimizer: its name.
        baseline: whether it is one of Optax's own.
        own_point: what its evaluation point is, `"held"` if it has none of its own.
        learning_rate: the step size.
        options: its other settings, readable.
        rows: one an epoch.
        outcome: how it ended.
        compile_seconds: tracing and compilation, before the first step.
    """

    optimizer: str
    baseline: bool
    own_point: str
    learning_rate: float
    options: str = ""
    rows: list[Row] = field(default_factory=list)
    outcome: Outcome = Outcome.INTERRUPTED
    compile_seconds: float = 0.0

    @property
    def has_own_point(self) -> bool:
        """Whether x differs from y."""
        return self.own_point != "held"

    @property
    def seconds(self) -> float:
        """Training and evaluation, without compilation."""
        return self.rows[-1].seconds if self.rows else 0.0

    def status(self) -> str:
        """The outcome in words, with the epoch where it matters."""
        if self.outcome is Outcome.DIVERGED:
            return f"diverged in epoch {self.rows[-1].epoch}"
        if self.outcome is Outcome.INTERRUPTED:
            return f"interrupted after {len(self.rows)} epochs"
        return self.outcome.value


def new_run(optimizer: Optimizer, settings: Settings) -> Run:
    """A run that has not begun."""
    return Run(
        optimizer=optimizer.name,
        baseline=optimizer.baseline,
        own_point=optimizer.points.name,
        learning_rate=settings.learning_rate,
        options=settings.described(),
    )


class Target(NamedTuple):
    """The loss to reach: the lowest final one among the baselines."""

    loss: float
    optimizer: str


def target(runs: Sequence[Run]) -> Target | None:
    """The best baseline's final training loss over the whole set, at its own point.

    None if no baseline finished.
    """
    finished = [
        Target(run.rows[-1].whole_train_loss_x, run.optimizer)
        for run in runs
        if run.baseline and run.outcome is Outcome.FINISHED and run.rows
    ]
    return min(finished, default=None)


def steps_to(run: Run, loss: float) -> float | None:
    """Steps until the whole-set training loss at the run's own point is `loss`.

    Interpolated linearly between the ends of epochs. Nothing is known within the
    first one, so a run that gets there during it is given the whole epoch. None if it
    never gets there.
    """
    steps = [float(row.step) for row in run.rows]
    return first_crossing(steps, [row.whole_train_loss_x for row in run.rows], loss)


def first_crossing(
    positions: Sequence[float], losses: Sequence[float], target: float
) -> float | None:
    """Where a loss first is at or below a target, linearly between the positions.

    Args:
        positions: increasing.
        losses: one each.
        target: to be reached.

    Returns:
        The first position if the first loss is there already, as nothing is known
        before it, likewise after a loss that is not finite; None if none gets there.
    """
    place, before = 0.0, math.inf
    for position, loss in zip(positions, losses, strict=True):
        if loss <= target:
            if not math.isfinite(before):
                return position
            return place + (before - target) / (before - loss) * (position - place)
        place, before = position, loss
    return None
