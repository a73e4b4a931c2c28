"""The choice of a setting, which never sees what is reported.

A choice gets :class:`Choosable` runs only: of runs on the whole training set the
training loss, of runs with a held-out part the error there. Neither is of validation
data.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import RunRecord


class Choosable(NamedTuple):
    """What a choice may know of a run.

    Attributes:
        config: what was run.
        loss: mean minibatch loss of its last epoch, or, where examples were held out,
            the smallest share of them over epochs that it takes for another class, at
            its own evaluation point; inf if it diverged.
    """

    config: RunConfig
    loss: float


def choosable(record: RunRecord, at_x: bool = False) -> Choosable:
    """Takes from a record what a choice may know.

    Args:
        record: of a finished run or one that diverged.
        at_x: whether the loss is that over the training set at x, and not the mean of
            the last minibatch losses, which are taken at y.
    """
    last = record.epochs[-1]
    loss = last.whole_train_loss_x if at_x else last.train_loss
    if record.config.held_out:
        loss = 1 - max(epoch.test_accuracy_x for epoch in record.epochs)
    finished = record.outcome == "finished" and math.isfinite(loss)
    return Choosable(record.config, loss if finished else math.inf)


def choose(runs: Sequence[Choosable]) -> RunConfig | None:
    """The run with the smallest loss, the first of equals; None if none is finite."""
    best = min(runs, key=lambda run: run.loss, default=None)
    return None if best is None or not math.isfinite(best.loss) else best.config


def reported(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Records whose validation numbers may be reported: nothing was held out.

    Raises:
        UsageError: if one kept back a part of the training set, whose numbers stand
            where validation numbers would.
    """
    found = list(records)
    for record in found:
        if record.config.held_out:
            raise UsageError(
                f"the run {record.config.key()} chose settings and reports nothing"
            )
    return found
