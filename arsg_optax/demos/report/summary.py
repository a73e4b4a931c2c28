"""The numbers of the final table, as text, for the terminal and the web page alike."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from arsg_optax.demos.tasks.results import (
    Outcome,
    Row,
    Run,
    Target,
    steps_to,
    target,
)

NEVER = "-"


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
        steps: until the best baseline's final loss, at the optimizer's own point.
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


def summarize(runs: Sequence[Run]) -> tuple[list[Line], str]:
    """The table's lines and one sentence on what the steps are counted to."""
    goal = target(runs)
    lines = [line for run in runs for line in _lines(run, goal)]
    if goal is None:
        return lines, "No Optax optimizer finished, so there is no loss to reach."
    return lines, (
        f"Target: the training loss at x falls to {format_loss(goal.loss)}, "
        f"the lowest final one among Optax's optimizers ({goal.optimizer}); "
        f"'{NEVER}' if never."
    )


def _lines(run: Run, goal: Target | None) -> list[Line]:
    status = "" if run.outcome is Outcome.FINISHED else run.status()
    shared = Line(
        run.optimizer,
        "y" if run.has_own_point else "y = x",
        f"{run.learning_rate:.3g}",
        seconds=f"{run.seconds:.1f}",
        status=status,
    )
    steps = None if goal is None else steps_to(run, goal.loss)
    steps_text = NEVER if steps is None else f"{steps:,.0f}"
    if not run.has_own_point:
        return [shared._replace(steps=steps_text, **_numbers(run, "y"))]
    own = Line("", f"x: {run.own_point}", "", steps=steps_text, **_numbers(run, "x"))
    return [shared._replace(**_numbers(run, "y")), own]


def _numbers(run: Run, point: str) -> dict[str, str]:
    """Final and best values at a point, over the epochs with finite numbers."""
    rows = [row for row in run.rows if row.is_finite()]
    if not rows:
        return {}

    def final_and_best(
        column: str, best: Callable[..., float], show: Callable[[float], str]
    ) -> tuple[str, str]:
        values = [getattr(row, f"{column}_{point}") for row in rows]
        final = getattr(run.rows[-1], f"{column}_{point}")
        return show(final), show(best(values))

    train_final, train_best = final_and_best("whole_train_loss", min, format_loss)
    test_final, test_best = final_and_best("test_loss", min, format_loss)
    accuracy_final, accuracy_best = final_and_best("test_accuracy", max, _percent)
    return {
        "train_final": train_final,
        "train_best": train_best,
        "test_final": test_final,
        "test_best": test_best,
        "accuracy_final": accuracy_final,
        "accuracy_best": accuracy_best,
    }


def format_loss(value: float) -> str:
    """A loss in at most seven characters."""
    if 0.001 <= abs(value) < 1000:
        return f"{value:.4f}"[:6]
    return f"{value:.1e}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def describe_progress(row: Row) -> str:
    """One epoch in a few words."""
    return (
        f"train loss {format_loss(row.whole_train_loss_x)}, "
        f"test accuracy {_percent(row.test_accuracy_x)} %"
    )
