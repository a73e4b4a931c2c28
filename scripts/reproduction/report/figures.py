"""An experiment's curves, as the papers draw them: training loss and validation."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from PIL.Image import Dither

from arsg_optax.demos.report.styles import legend_below, style_of
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.kinds import Text
from scripts.reproduction.experiments.entrants import Experiment
from scripts.reproduction.findings.results import Result
from scripts.reproduction.records.store import Epoch

_DPI = 110
_COLORS = 200
_MARKERS = 6
_SIZE = (11, 5.4)

Number = Callable[[Epoch], float]


class Curve(NamedTuple):
    """Of one method.

    Attributes:
        epochs: counted from 1.
        middle: mean over the seeds.
        low: smallest of the seeds.
        high: largest.
    """

    epochs: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def draw(
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
    # Equal records give equal files: no date, and ids that do not change.
    with rc_context({"svg.hashsalt": experiment.name, "svg.fonttype": "path"}):
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        _fill(figure, experiment, results, title)
        write = {"png": _png, "svg": _svg}
        return {ending: write[ending](figure) for ending in endings}


def _png(figure: Figure) -> bytes:
    """Of few colours, a third of the size."""
    image, small = io.BytesIO(), io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    flat = Image.open(image).convert("RGB").quantize(_COLORS, dither=Dither.NONE)
    flat.save(small, "png", optimize=True)
    return small.getvalue()


def _svg(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="svg", metadata={"Date": None, "Creator": None})
    return image.getvalue()


def _fill(
    figure: Figure, experiment: Experiment, results: Sequence[Result], title: str
) -> None:
    losses, tests = figure.subplots(1, 2)
    text = isinstance(find_task(experiment.task).kind, Text)
    at_x: Number = (lambda e: e.test_loss_x) if text else _accuracy_x
    at_y: Number = (lambda e: e.test_loss_y) if text else _accuracy_y
    drawn = [each for each in results if each.finished]
    trained, tested = {}, {}
    for result, again in zip(drawn, _repetitions(drawn), strict=True):
        style = _style(result, again)
        found = trained[result.label] = curve(result, lambda e: e.train_loss)
        _plot(losses, found, result.label, style)
        losses.fill_between(
            found.epochs, found.low, found.high, color=style["color"], alpha=0.12, lw=0
        )
        tested[result.label] = curve(result, at_x)
        _plot(tests, tested[result.label], result.label, style)
        if result.has_own_point:
            held = curve(result, at_y)
            tests.plot(
                held.epochs, held.middle, color=style["color"], linewidth=0.7, alpha=0.8
            )
    _label(losses, tests, experiment, text)
    if drawn:
        _limit_losses(losses, trained)
        _limit_tests(tests, tested, text)
    legend_below(figure, losses, columns=7)
    figure.suptitle(title, fontsize=11)


def curve(result: Result, number: Number) -> Curve:
    """A number after each epoch, over the seeds that finished."""
    values = np.array(
        [
            [number(epoch) for epoch in record.epochs]
            for record in result.finished.values()
        ]
    )
    epochs = np.arange(1, values.shape[1] + 1)
    return Curve(epochs, values.mean(0), values.min(0), values.max(0))


def _accuracy_x(epoch: Epoch) -> float:
    return 100 * epoch.test_accuracy_x


def _accuracy_y(epoch: Epoch) -> float:
    return 100 * epoch.test_accuracy_y


def _repetitions(drawn: Sequence[Result]) -> list[int]:
    """How many before each result are of the same optimizer."""
    names = [each.trial.optimizer for each in drawn]
    return [names[:n].count(name) for n, name in enumerate(names)]


def _style(result: Result, again: int) -> dict[str, Any]:
    color, marker = style_of(result.trial.optimizer)
    line = "-" if result.ours else (0, (4, 1.5))
    return {
        "color": color,
        "marker": marker,
        # A second setting of an optimizer: its colour, dotted and hollow.
        "linestyle": (0, (1, 1 + again)) if again else line,
        "markerfacecolor": "white" if again else color,
        "linewidth": 2.0 if result.ours else 1.3,
        "zorder": 3 if result.ours else 2,
    }


def _plot(axes: Axes, found: Curve, label: str, style: dict[str, Any]) -> None:
    axes.plot(
        found.epochs,
        found.middle,
        label=label,
        markersize=4.5,
        markevery=max(1, len(found.epochs) // _MARKERS),
        **style,
    )


def _label(losses: Axes, tests: Axes, experiment: Experiment, text: bool) -> None:
    losses.set_title(f"({experiment.loss_panel}) training loss, mean of each epoch")
    losses.set_ylabel("mean cross entropy (nats)")
    tests.set_title(
        f"({experiment.test_panel}) validation, at the own point; thin: at y"
    )
    tests.set_ylabel("mean cross entropy (nats)" if text else "accuracy (%)")
    for axes in (losses, tests):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)


# Limits keep first epochs, and a method that fails, from squeezing all others.


def _limit_losses(axes: Axes, curves: Mapping[str, Curve]) -> None:
    means = {label: each.middle for label, each in curves.items()}
    low = min(m.min() for m in means.values())
    high = max(m.max() for m in means.values())
    if 0 < 10 * low < high:
        axes.set_yscale("log")
        return
    second = [v for m in means.values() for v in m[1:]] or [high]
    top = float(np.percentile(second, 97))
    if top > low:
        axes.set_ylim(low - 0.04 * (top - low), top)
    _tell(axes, "above", [n for n, m in means.items() if m.min() > top])


def _limit_tests(axes: Axes, curves: Mapping[str, Curve], text: bool) -> None:
    means = {label: each.middle for label, each in curves.items()}
    late = np.concatenate([m[len(m) // 4 :] for m in means.values()])
    if text:
        top = float(np.percentile(late, 95))
        axes.set_ylim(top=top)
        _tell(axes, "above", [n for n, m in means.items() if m.min() > top])
        return
    best, typical = float(late.max()), float(np.percentile(late, 8))
    margin = 0.08 * (best - typical) + 0.02
    bottom = typical - margin
    axes.set_ylim(bottom, min(100.0, best + margin))
    _tell(axes, "below", [n for n, m in means.items() if m.max() < bottom])


def _tell(axes: Axes, where: str, labels: Sequence[str]) -> None:
    """Names what the limits leave out."""
    if labels:
        place = {"above": 0.97, "below": 0.03}[where]
        text = f"{where} this: {', '.join(labels)}"
        axes.text(0.98, place, text, transform=axes.transAxes, ha="right", fontsize=8)
