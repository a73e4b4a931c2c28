"""An experiment's tables, made from its records alone."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from arsg_optax.demos.tasks.records import Epoch
from scripts.reproduction.experiments.entrants import (
    ASSUMED,
    BUDGET,
    GRID,
    PUBLISHED,
    RECOMMENDED,
)
from scripts.reproduction.findings.results import (
    Result,
    best_accuracy_x,
    best_accuracy_y,
    best_loss_x,
    best_loss_y,
    difference,
    final_loss,
    final_test_loss_x,
    final_whole_loss,
    passage,
    share_of_steps,
    share_told,
)
from scripts.reproduction.findings.statistics import estimate

# From which differences are taken.
REFERENCE = "Adam"
# The tables by name, each of some kinds of settings.
TABLES = {"table": (PUBLISHED, GRID, ASSUMED), "today": (RECOMMENDED, BUDGET)}

Table = list[tuple[str, ...]]


def evidence_table(results: Sequence[Result], baselines: Sequence[str]) -> Table:
    """Final validation losses at the own points, and steps to those of baselines.

    Losses in nats and seconds are means over seeds, differences are paired by seed;
    brackets hold 95 % intervals (Student's t). Shares of steps are left out where
    nothing was run at shorter lengths.

    Args:
        results: of one kind.
        baselines: labels.
    """
    by_label = {each.label: each for each in results}
    rivals = [by_label[name] for name in baselines if name in by_label]
    reached = rivals if any(each.shorter for each in results) else []
    head = ["method", "learning rate", "seeds", "validation loss"]
    head += [f"less {each.label}'s" for each in rivals]
    head += [f"share of {each.label}'s steps" for each in reached]
    rows = []
    for each in results:
        edge = ", at the edge" if each.edge else ""
        cells = [each.label, f"{each.config.learning_rate:.4g}{edge}", each.seeds]
        losses = estimate(each.values(final_test_loss_x)) if each.sound else None
        cells.append(losses.with_interval(4) if losses else "diverged")
        for rival in rivals:
            found = difference(each, rival, final_test_loss_x)
            cells.append("" if rival is each or found is None else found.told())
        for rival in reached:
            shares = [] if rival is each else share_of_steps(each, rival)
            needs = each.shorter and shares
            cells.append(share_told(shares, min(each.shorter)) if needs else "")
        seconds = [record.seconds for record in each.finished.values()]
        cells.append(f"{sum(seconds) / len(seconds):.0f}" if seconds else "")
        rows.append(tuple(cells))
    return [(*head, "seconds"), *rows]


class Line(NamedTuple):
    """A method with one setting; means ± standard deviations over seeds.

    Losses are in nats, accuracies in percent. Differences are from the reference,
    paired by seed, with their 95 % intervals.

    Attributes:
        method: label.
        setting: where it comes from, one of `KINDS`, and whether its step is at the
            edge of the candidates, beyond which it might be better.
        learning_rate: as the optimizer's own function takes it.
        options: its other settings.
        seeds: how many finished, of how many, and what became of the others.
        train_loss: mean minibatch loss of the last epoch.
        train_loss_from_adam: its difference, of recommended settings from Adam's
            published one.
        train_loss_x: after the last epoch over the training set, of large ones over
            the first part, at the own point.
        test_loss_y: smallest over epochs, where gradients are taken.
        test_loss_x: the same at the own point.
        accuracy_y: best over epochs, where gradients are taken.
        accuracy_x: the same at the own point.
        accuracy_from_adam: its difference.
    """

    method: str
    setting: str
    learning_rate: str
    options: str
    seeds: str
    train_loss: str
    train_loss_from_adam: str
    train_loss_x: str
    test_loss_y: str
    test_loss_x: str
    accuracy_y: str
    accuracy_x: str
    accuracy_from_adam: str


def main_table(results: Sequence[Result], kinds: Sequence[str]) -> Table:
    """A head and a line for each result of those kinds."""
    shown = [each for each in results if each.kind in kinds]
    return [Line._fields, *(_line(each, _reference(each, results)) for each in shown)]


def reach_table(groups: Mapping[str, Sequence[Result]]) -> Table:
    """Epochs until each baseline's final minibatch loss; "never" if a seed does not.

    Args:
        groups: results that may be compared, by what a column calls them.
    """
    shown = [each for results in groups.values() for each in results]
    baselines = list(dict.fromkeys(each.label for each in shown if not each.ours))
    rows: Table = [("method", "settings", *baselines)]
    for name, results in groups.items():
        by_label = {each.label: each for each in results}
        for result in results:
            cells = (_reached(result, by_label.get(label)) for label in baselines)
            rows.append((result.label, name, *cells))
    return rows


def _line(result: Result, reference: Result | None) -> Line:
    trial, is_same = result.config, reference is result

    def mean(number: Callable[[tuple[Epoch, ...]], float]) -> str:
        values = result.values(number)
        return str(estimate(values)) if values else ""

    def against(number: Callable[[tuple[Epoch, ...]], float]) -> str:
        if reference is None or is_same:
            return ""
        found = difference(result, reference, number)
        return "" if found is None else found.told()

    return Line(
        result.label,
        result.kind + (", at the edge" if result.edge else ""),
        f"{trial.learning_rate:.4g}",
        ", ".join(filter(None, (trial.settings.described(), _schedule(result)))),
        result.seeds,
        mean(final_loss),
        against(final_loss),
        mean(final_whole_loss),
        mean(best_loss_y),
        mean(best_loss_x),
        mean(best_accuracy_y),
        mean(best_accuracy_x),
        against(best_accuracy_x),
    )


def _schedule(result: Result) -> str:
    return "cosine to zero" if result.config.schedule == "cosine" else ""


def _reference(result: Result, results: Sequence[Result]) -> Result | None:
    """Adam of the same kind, or the paper's: no author recommends one today."""
    named = {each.kind: each for each in results if each.label == REFERENCE}
    fallback = named.get(PUBLISHED) if result.kind == RECOMMENDED else None
    return named.get(result.kind, fallback)


def _reached(result: Result, baseline: Result | None) -> str:
    if baseline is None or baseline is result:
        return ""
    epochs = passage(result, baseline).ours
    if not epochs:
        return ""
    return "never" if math.inf in epochs else f"{sum(epochs) / len(epochs):.2f}"


def markdown(table: Table) -> str:
    """A table for a page."""
    head, *rows = table
    lines = (head, ("---",) * len(head), *rows)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def comma_separated(table: Table) -> str:
    """A table for programs."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()
