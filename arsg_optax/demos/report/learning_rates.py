"""Pictures of searches: final loss against step size, and the curves of one search."""

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from arsg_optax.demos.report.curves import Curve, Panel, draw
from arsg_optax.demos.report.summary import Unit
from arsg_optax.demos.tasks.sweep import Candidate, by_optimizer
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.tuning import LearningRateSearch

_DPI = 144
_CHOSEN, _OTHER, _LOST = "#D55E00", "#0072B2", "#888888"


def draw_step_sizes(rows: Sequence[Candidate], unit: Unit, title: str) -> bytes:
    """A PNG of final loss against step size, a curve an optimizer, its best starred.

    Args:
        rows: of one or several optimizers; those that diverged are left out.
        unit: in which losses are shown.
        title: above the picture.
    """
    curves = []
    for name, found in by_optimizer(rows).items():
        ended = [row for row in found if math.isfinite(row.loss)]
        if not ended:
            continue
        losses = np.array([unit.factor * row.loss for row in ended])
        spread = np.array([unit.factor * row.spread for row in ended])
        curves.append(
            Curve(
                name,
                name,
                name in OPTIMIZERS and not OPTIMIZERS[name].baseline,
                [row.learning_rate for row in ended],
                losses,
                low=losses - spread,
                high=losses + spread,
                marked=int(losses.argmin()),
            )
        )
    panel = Panel(
        "How forgiving is the step size?",
        f"held-out loss after the last step ({unit.name})",
        curves,
        logarithmic=True,
    )
    return draw(title, [panel], "step size")["png"]


def draw_learning_rates(found: LearningRateSearch, title: str) -> bytes:
    """Draws a search.

    Args:
        found: what it found; those that diverged are marked at the top.
        title: above the picture.

    Returns:
        A PNG image.
    """
    figure = Figure(figsize=(11, 4.8), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_losses(left, found)
    _draw_curves(right, found)
    figure.suptitle(title, fontsize=12)
    for axes in (left, right):
        axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    return image.getvalue()


def _draw_losses(axes: Axes, found: LearningRateSearch) -> None:
    order = np.argsort(found.learning_rates, kind="stable")
    rates, losses = found.learning_rates[order], found.final_losses[order]
    lost = found.diverged[order]
    axes.set_xscale("log")
    axes.set_xlabel("step size")
    axes.set_ylabel("final loss")
    axes.set_title("Mean loss of the last tenth of the steps")
    kept = ~lost
    if kept.any():
        axes.errorbar(
            rates[kept],
            losses[kept],
            yerr=found.spread[order][kept] if found.spread[order][kept].any() else None,
            color=_OTHER,
            marker="o",
            capsize=3,
        )
        chosen = found.final_losses[found.learning_rates == found.learning_rate]
        axes.plot(
            [found.learning_rate],
            chosen[:1],
            marker="*",
            markersize=18,
            color=_CHOSEN,
            linestyle="none",
            label=f"chosen: {found.learning_rate:.4g}",
        )
        if losses[kept].max() > 10 * losses[kept].min() > 0:
            axes.set_yscale("log")
    if lost.any():
        axes.plot(
            rates[lost],
            np.full(lost.sum(), 0.97),
            transform=axes.get_xaxis_transform(),
            marker="x",
            markersize=8,
            color=_LOST,
            linestyle="none",
            label="diverged",
        )
    axes.legend(frameon=False)


def _draw_curves(axes: Axes, found: LearningRateSearch) -> None:
    steps = found.losses.shape[1]
    window = max(1, steps // 50)
    axes.set_title(f"Loss, means over {window} steps" if window > 1 else "Loss")
    axes.set_xlabel("steps")
    axes.set_ylabel("loss")
    whole = steps // window * window
    at = window * np.arange(1, whole // window + 1)
    for i in np.argsort(found.learning_rates, kind="stable"):
        if found.diverged[i]:
            continue
        means = found.losses[i, :whole].reshape(-1, window).mean(axis=1)
        chosen = found.learning_rates[i] == found.learning_rate
        axes.plot(
            at,
            means,
            color=_CHOSEN if chosen else None,
            linewidth=2.5 if chosen else 1.0,
            zorder=3 if chosen else 2,
            label=f"{found.learning_rates[i]:.4g}",
        )
    values = found.losses[np.isfinite(found.losses)]
    if values.size and values.max() > 10 * values.min() > 0:
        axes.set_yscale("log")
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            frameon=False,
            fontsize=8,
            ncols=1,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            title="step size",
        )
