"""The numbers of the final table, as text, for the terminal and the web page alike.

One criterion: the test loss at the optimizer's own evaluation point x after the last
epoch. It ranks the optimizers, and the loss to reach is such a loss. The search for the
presets' step sizes used the same loss on held-out training examples.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from arsg_optax.demos.tasks import TASKS, Task
from arsg_optax.demos.tasks.records import Epoch, Outcome, RunRecord
from arsg_optax.demos.training.optimizers import OPTIMIZERS, Optimizer

# Of the table's columns, the fields of `Line`.
HEADINGS = (
    "optimizer",
    "at",
    "learning rate",
    "train loss",
    "best",
    "test loss",
    "best",
    "test acc %",
    "best",
    "steps to target",
    "time s",
    "",
)
# The first columns hold words, the others numbers.
WORDS = 2
NEVER = "-"
# Of the optimizers that finished, the part that gets to the loss to reach.
_REACH = 0.75


class Line(NamedTuple):
    """One optimizer at one point; every field is text, empty where nothing applies.

    Attributes:
        optimizer: name; empty on an optimizer's second line.
        point: `"y"`, `"x: iterate"`, ... or `"y = x"`.
        learning_rate: the step size.
        train_final: whole-set training loss after the last epoch.
        train_best: the lowest of all epochs.
        test_final: test loss after the last epoch.
        test_best: the lowest of all epochs.
        accuracy_final: test accuracy in percent after the last epoch.
        accuracy_best: the highest of all epochs.
        steps: until the loss to reach, at the optimizer's own point.
        seconds: training and evaluation, without compilation.
        status: what went wrong, if anything did.
    """

    optimizer: str
    point: str
    learning_rate: str
    train_final: str = ""
    train_best: str = ""
    test_final: str = ""
    test_best: str = ""
    accuracy_final: str = ""
    accuracy_best: str = ""
    steps: str = ""
    seconds: str = ""
    status: str = ""


class Unit(NamedTuple):
    """In which losses are shown.

    Attributes:
        name: of it.
        factor: from nats.
    """

    name: str = "nats"
    factor: float = 1.0

    def show(self, loss: float) -> str:
        """A loss in nats, in at most seven characters."""
        return format_loss(self.factor * loss)


def unit_of(record: RunRecord) -> Unit:
    """Bits, if the run's task shows its losses in them."""
    return unit_of_task(TASKS.get(record.config.task))


def unit_of_task(task: Task | None) -> Unit:
    """Bits, if a task shows its losses in them."""
    if task is not None and task.bits:
        return Unit("bits a byte", 1 / math.log(2))
    return Unit()


def method_of(record: RunRecord) -> Optimizer:
    """The optimizer of a run; of a name that is not known one without a point."""
    name = record.config.optimizer
    return OPTIMIZERS.get(name, Optimizer(name, OPTIMIZERS["sgd"].make))


def averaged(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Means over the seeds of runs that are alike otherwise; single runs stay.

    One of them that did not finish gives its outcome to all, and the epochs that all
    have are averaged.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        key = replace(record.config, seed=0).key()
        groups.setdefault(key, []).append(record)
    return [_mean(group) if len(group) > 1 else group[0] for group in groups.values()]


def _mean(group: Sequence[RunRecord]) -> RunRecord:
    epochs = [
        Epoch._make(sum(values) / len(group) for values in zip(*same, strict=True))
        for same in zip(*(each.epochs for each in group), strict=False)
    ]
    unfinished = [r.outcome for r in group if r.outcome != Outcome.FINISHED]
    return replace(
        group[0],
        outcome=unfinished[0] if unfinished else Outcome.FINISHED,
        epochs=tuple(epochs),
        seconds=sum(each.seconds for each in group) / len(group),
    )


def ranked(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The best first, by the final test loss at x; what did not finish comes last."""

    def rank(record: RunRecord) -> tuple[bool, float]:
        loss = record.epochs[-1].test_loss_x if record.epochs else math.inf
        unfinished = record.outcome != Outcome.FINISHED
        return unfinished, loss if math.isfinite(loss) else math.inf

    return sorted(records, key=rank)


def target(records: Sequence[RunRecord]) -> float | None:
    """The smallest final test loss at x that three quarters of the optimizers reach.

    None if none finished.
    """
    finals = sorted(
        each.epochs[-1].test_loss_x
        for each in records
        if each.outcome == Outcome.FINISHED and each.epochs[-1].is_finite()
    )
    return finals[math.ceil(_REACH * len(finals)) - 1] if finals else None


def steps_to(record: RunRecord, loss: float) -> float | None:
    """Steps until the test loss at x; see :func:`first_crossing`."""
    steps = [float(epoch.step) for epoch in record.epochs]
    return first_crossing(steps, [epoch.test_loss_x for epoch in record.epochs], loss)


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


def summarize(records: Sequence[RunRecord]) -> tuple[list[Line], str]:
    """The table's lines, the best first, and what ranks them and is to be reached."""
    goal = target(records)
    lines = [line for record in ranked(records) for line in _lines(record, goal)]
    if goal is None:
        return lines, "No optimizer finished, so there is no loss to reach."
    unit = unit_of(records[0])
    return lines, (
        "Ranked by the test loss at x after the last epoch. Target: that loss falls to "
        f"{unit.show(goal)} {unit.name}, which three quarters of the optimizers reach; "
        f"'{NEVER}' if never."
    )


def _lines(record: RunRecord, goal: float | None) -> list[Line]:
    points = method_of(record).points
    own = points.own_point is not None
    shared = Line(
        record.config.optimizer,
        "y" if own else "y = x",
        f"{record.config.learning_rate:.3g}",
        seconds=f"{record.seconds:.1f}",
        status="" if record.outcome == Outcome.FINISHED else record.status(),
    )
    steps = None if goal is None else steps_to(record, goal)
    steps_text = NEVER if steps is None else f"{steps:,.0f}"
    if not own:
        return [shared._replace(steps=steps_text, **_numbers(record, "y"))]
    second = Line("", f"x: {points.name}", "", steps=steps_text)
    return [
        shared._replace(**_numbers(record, "y")),
        second._replace(**_numbers(record, "x")),
    ]


def _numbers(record: RunRecord, point: str) -> dict[str, str]:
    """Final and best values at a point, over the epochs with finite numbers."""
    finite = [epoch for epoch in record.epochs if epoch.is_finite()]
    if not finite:
        return {}
    found, show_loss = {}, unit_of(record).show
    for name, column, best, show in (
        ("train", "whole_train_loss", min, show_loss),
        ("test", "test_loss", min, show_loss),
        ("accuracy", "test_accuracy", max, _percent),
    ):
        values = [getattr(epoch, f"{column}_{point}") for epoch in finite]
        found[f"{name}_final"] = show(getattr(record.epochs[-1], f"{column}_{point}"))
        found[f"{name}_best"] = show(best(values))
    return found


def format_loss(value: float) -> str:
    """A loss in at most seven characters."""
    if 0.001 <= abs(value) < 1000:
        return f"{value:.4f}"[:6]
    return f"{value:.1e}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def describe(record: RunRecord, epoch: Epoch) -> str:
    """An epoch's scores in a few words, at both points where there are two."""
    points, unit = method_of(record).points, unit_of(record)
    at_y = f"train loss {unit.show(epoch.whole_train_loss_y)}, test "
    at_x = f"{unit.show(epoch.whole_train_loss_x)}, "
    if unit == Unit():
        at_y += f"accuracy {_percent(epoch.test_accuracy_y)} %"
        at_x += f"{_percent(epoch.test_accuracy_x)} %"
    else:
        at_y += f"loss {unit.show(epoch.test_loss_y)} {unit.name}"
        at_x += f"{unit.show(epoch.test_loss_x)} {unit.name}"
    if points.own_point is None:
        return at_y
    return f"{at_y} at y; {at_x} at x, the {points.name}"
