"""The picture of a comparison: training loss and test accuracy against steps."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from arsg_optax.demos.report.styles import legend_below, style_of
from arsg_optax.demos.tasks.compare import Comparison
from arsg_optax.demos.tasks.results import Outcome, Row, Run

_DPI = 144
_MARKERS = 6


def draw_curves(comparison: Comparison) -> bytes:
    """Draws the curves.

    Returns:
        A PNG image.
    """
    figure = Figure(figsize=(12, 6.2), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    for run in comparison.runs:
        _draw_run(losses, accuracies, run)
    _label(losses, accuracies, comparison)
    legend_below(figure, losses, columns=6)
    image = io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    return image.getvalue()


def _draw_run(losses: Axes, accuracies: Axes, run: Run) -> None:
    rows = [row for row in run.rows if row.is_finite()]
    if not rows:
        return
    color, marker = style_of(run.optimizer)
    style: dict[str, Any] = {
        "color": color,
        "linestyle": (0, (4, 1.5)) if run.baseline else "-",
        "linewidth": 1.5 if run.baseline else 2.2,
        "zorder": 2 if run.baseline else 3,
        "marker": marker,
        "markersize": 5,
        "markevery": max(1, len(rows) // _MARKERS),
    }
    label = run.optimizer
    if run.outcome is not Outcome.FINISHED:
        label += f" ({run.outcome.value})"
    steps = [row.step for row in rows]
    losses.plot(steps, [row.whole_train_loss_x for row in rows], label=label, **style)
    accuracies.plot(steps, [100 * row.test_accuracy_x for row in rows], **style)
    if run.has_own_point:
        held = [row.whole_train_loss_y for row in rows]
        losses.plot(steps, held, color=color, linewidth=0.8, alpha=0.8, zorder=1)


def _label(losses: Axes, accuracies: Axes, comparison: Comparison) -> None:
    task = comparison.plan.task
    bottom, top = losses.dataLim.intervaly
    # Below a decade a logarithmic axis has hardly a labelled tick.
    if losses.lines and 0 < 10 * bottom < top:
        losses.set_yscale("log")
    elif losses.lines:
        losses.set_ylim(top=_loss_limit(comparison.runs))
    losses.set_title("Loss over the training set")
    losses.set_ylabel("mean cross entropy (nats)")
    accuracies.set_title("Test accuracy")
    accuracies.yaxis.set_major_formatter(PercentFormatter())
    limits = _accuracy_limits(comparison.runs)
    if limits is not None:
        accuracies.set_ylim(*limits)
    for axes in (losses, accuracies):
        axes.set_xlabel("steps")
        axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    losses.figure.suptitle(
        f"{task.name}: {task.epochs} epochs, batch {task.batch_size}, "
        f"seed {comparison.plan.seed}\n"
        "at each optimizer's own evaluation point x; thin lines: at the held "
        "parameters y, where they differ",
        fontsize=11,
    )


def _loss_limit(runs: Sequence[Run]) -> float:
    """A limit above nearly all losses: a first epoch must not squeeze the others."""
    values = sorted(
        row.whole_train_loss_x for run in runs for row in run.rows if row.is_finite()
    )
    return 1.05 * values[(len(values) - 1) * 95 // 100]


def _accuracy_limits(runs: Sequence[Run]) -> tuple[float, float] | None:
    """Limits in percent that leave out the first epochs' steep rise."""
    late: list[Row] = [
        row
        for run in runs
        for row in run.rows[len(run.rows) // 3 :]
        if row.is_finite() and run.outcome is not Outcome.DIVERGED
    ]
    if not late:
        return None
    values = sorted(100 * row.test_accuracy_x for row in late)
    # A single optimizer that fails must not squeeze the others into one line.
    typical, best = values[len(values) // 20], values[-1]
    margin = 0.1 * (best - typical) + 0.2
    return max(0.0, typical - margin), best + margin
