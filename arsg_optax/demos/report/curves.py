"""Curves of methods side by side, in panels: the one drawer of all pictures of runs."""

import io
from collections.abc import Mapping, Sequence
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
from arsg_optax.demos.report.summary import method_of, ranked, unit_of
from arsg_optax.demos.tasks.records import Epoch, Outcome, RunRecord

_DPI = 110
_COLORS = 200
_MARKERS = 6
_BASIN = 1.3


class Curve(NamedTuple):
    """The curve of one method.

    Attributes:
        label: in the legend.
        optimizer: whose colour and marker it gets.
        ours: whether it is this package's; others are dashed.
        places: numbers on the horizontal axis.
        values: one each.
        low: lower edge of a band, None without.
        high: its upper edge.
        thin: other values of the method, drawn thin, None without.
        marked: number of a place that gets a star, None without.
    """

    label: str
    optimizer: str
    ours: bool
    places: Sequence[float] | np.ndarray
    values: Sequence[float] | np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    thin: Sequence[float] | np.ndarray | None = None
    marked: int | None = None


class Panel(NamedTuple):
    """One pair of axes.

    Attributes:
        title: above it.
        unit: of the vertical axis.
        curves: at least one value each.
        rises: whether larger values are better.
        logarithmic: whether the places are factors apart, not steps.
    """

    title: str
    unit: str
    curves: Sequence[Curve]
    rises: bool = False
    logarithmic: bool = False


def draw(
    title: str,
    panels: Sequence[Panel],
    across: str,
    endings: Sequence[str] = ("png",),
    salt: str = "",
) -> dict[str, bytes]:
    """Draws panels from left to right, with one legend.

    Args:
        title: above all.
        panels: the first one's labels make the legend.
        across: label of the horizontal axes.
        endings: of files' names, "png" or "svg".
        salt: of the ids in an SVG, so that equal curves give equal files.

    Returns:
        The picture by these endings.
    """
    figure = new_figure(5.5 * len(panels), 5.4, title)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _fill(axes, panel, across)
    legend_below(figure, all_axes[0], columns=3 * len(panels))
    return written(figure, endings, salt)


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, in inches, with a title above all."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    return figure


def written(
    figure: Figure, endings: Sequence[str] = ("png",), salt: str = ""
) -> dict[str, bytes]:
    """The files of a figure by their endings, as :func:`draw` has them."""
    write = {"png": _png, "svg": _svg}
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        return {ending: write[ending](figure) for ending in endings}


def draw_records(records: Sequence[RunRecord]) -> bytes:
    """A PNG of runs: losses and accuracies at x against steps; thin at y."""

    def curves(column: str, factor: float = 1.0) -> list[Curve]:
        return [
            _curve(each, column, factor)
            for each in ranked(records)
            if any(epoch.is_finite() for epoch in each.epochs)
        ]

    config, unit = records[0].config, unit_of(records[0])
    name, factor = f"mean cross entropy ({unit.name})", unit.factor
    training = curves("whole_train_loss", factor)
    panels = (
        Panel("Loss over the training set", name, training),
        Panel("Test loss", name, curves("test_loss", factor)),
        Panel("Test accuracy", "%", curves("test_accuracy", 100.0), rises=True),
    )
    title = (
        f"{config.task}: {config.epochs} epochs, batch {config.batch_size}, "
        f"seed {config.seed}\nat each optimizer's own evaluation point x; thin lines: "
        "at the held parameters y, where they differ"
    )
    return draw(title, panels, "steps")["png"]


def _curve(record: RunRecord, column: str, factor: float) -> Curve:
    epochs: list[Epoch] = [epoch for epoch in record.epochs if epoch.is_finite()]
    method = method_of(record)

    def values(point: str) -> list[float]:
        return [factor * getattr(epoch, f"{column}_{point}") for epoch in epochs]

    finished = record.outcome == Outcome.FINISHED
    return Curve(
        method.name + ("" if finished else f" ({record.outcome})"),
        method.name,
        not method.baseline,
        [epoch.step for epoch in epochs],
        values("x"),
        thin=None if method.points.own_point is None else values("y"),
    )


def _fill(axes: Axes, panel: Panel, across: str) -> None:
    drawn: list[str] = []
    for curve in panel.curves:
        style = _style(curve, drawn.count(curve.optimizer))
        drawn.append(curve.optimizer)
        every = max(1, len(curve.places) // _MARKERS)
        label = curve.label.replace("$", r"\$")  # No mathematics in a file's words.
        axes.plot(curve.places, curve.values, label=label, markevery=every, **style)
        color = style["color"]
        if curve.low is not None and curve.high is not None:
            axes.fill_between(
                curve.places, curve.low, curve.high, color=color, alpha=0.12, lw=0
            )
        if curve.thin is not None:
            axes.plot(curve.places, curve.thin, color=color, linewidth=0.7, alpha=0.8)
        if curve.marked is not None:
            star = curve.places[curve.marked], curve.values[curve.marked]
            axes.plot(*star, "*", color=color, markersize=15, zorder=4)
    axes.set_title(panel.title)
    axes.set_ylabel(panel.unit)
    axes.set_xlabel(across)
    if panel.logarithmic:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    values = {c.label: np.asarray(c.values) for c in panel.curves}
    if panel.logarithmic:
        # Above the worst method's best loss there is little to see.
        top = _BASIN * max(each.min() for each in values.values())
        axes.set_ylim(top=min(top, axes.get_ylim()[1]))
    elif values:
        _limit(axes, values, panel.rises)


def _style(curve: Curve, again: int) -> dict[str, Any]:
    color, marker = style_of(curve.optimizer)
    line = "-" if curve.ours else (0, (4, 1.5))
    return {
        "color": color,
        "marker": marker,
        "markersize": 4.5,
        # A second setting of an optimizer: its colour, dotted and hollow.
        "linestyle": (0, (1, 1 + again)) if again else line,
        "markerfacecolor": "white" if again else color,
        "linewidth": 2.0 if curve.ours else 1.3,
        "zorder": 3 if curve.ours else 2,
    }


def _limit(axes: Axes, values: Mapping[str, np.ndarray], rises: bool) -> None:
    """Keeps first epochs, and a method that fails, from squeezing all others."""
    low = min(each.min() for each in values.values())
    high = max(each.max() for each in values.values())
    if rises:
        late = np.concatenate([each[len(each) // 4 :] for each in values.values()])
        typical = float(np.percentile(late, 8))
        margin = 0.08 * (high - typical) + 0.02
        bottom = typical - margin
        axes.set_ylim(bottom, min(100.0, high + margin))
        _name_left_out(
            axes, "below", [n for n, v in values.items() if v.max() < bottom]
        )
        return
    if 0 < 10 * low < high:
        axes.set_yscale("log")
        return
    second = [v for each in values.values() for v in each[1:]] or [high]
    top = float(np.percentile(second, 97))
    if top > low:
        axes.set_ylim(low - 0.04 * (top - low), top)
    _name_left_out(axes, "above", [n for n, v in values.items() if v.min() > top])


def _name_left_out(axes: Axes, where: str, labels: Sequence[str]) -> None:
    if labels:
        place = {"above": 0.97, "below": 0.03}[where]
        text = f"{where} this: {', '.join(labels)}"
        axes.text(0.98, place, text, transform=axes.transAxes, ha="right", fontsize=8)


def _png(figure: Figure) -> bytes:
    """The PNG with few colours, a third of the usual size."""
    image, small = io.BytesIO(), io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    flat = (
        Image.open(image, formats=["PNG"])
        .convert("RGB")
        .quantize(_COLORS, dither=Dither.NONE)
    )
    flat.save(small, "png", optimize=True)
    return small.getvalue()


def _svg(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="svg", metadata={"Date": None, "Creator": None})
    return image.getvalue()
