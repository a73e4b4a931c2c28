"""The choice of a setting, which never sees what is reported.

A choice gets :class:`Choosable` runs only: of runs on the whole training set the
training loss, of runs with a held-out part the error there. Neither is of validation
data.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from arsg_optax.demos.errors import UsageError
from scripts.reproduction.records.store import Record
from scripts.reproduction.records.trial import Trial


class Choosable(NamedTuple):
    """What a choice may know of a run.

    Attributes:
        trial: what was run.
        loss: mean minibatch loss of its last epoch, or, where examples were held out,
            the smallest share of them over epochs that it takes for another class, at
            its own evaluation point; inf if it diverged.
    """

    trial: Trial
    loss: float


def choosable(record: Record) -> Choosable:
    """Takes from a record what a choice may know."""
    loss = record.epochs[-1].train_loss
    if record.trial.held_out:
        loss = 1 - max(epoch.test_accuracy_x for epoch in record.epochs)
    finished = record.outcome == "finished" and math.isfinite(loss)
    return Choosable(record.trial, loss if finished else math.inf)


def choose(runs: Sequence[Choosable]) -> Trial | None:
    """The trial with the smallest loss, the first of equals; None if none is finite."""
    best = min(runs, key=lambda run: run.loss, default=None)
    return None if best is None or not math.isfinite(best.loss) else best.trial


def reported(records: Iterable[Record]) -> list[Record]:
    """Records whose validation numbers may be reported: nothing was held out.

    Raises:
        UsageError: if one kept back a part of the training set, whose numbers stand
            where validation numbers would.
    """
    found = list(records)
    for record in found:
        if record.trial.held_out:
            raise UsageError(
                f"the run {record.trial.key()} chose settings and reports nothing"
            )
    return found
