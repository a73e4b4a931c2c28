"""Final losses of many variants of a method, less that of the method itself."""

import math
from collections.abc import Sequence

from arsg_optax.demos.report.curves import new_figure, written
from arsg_optax.demos.report.styles import style_of
from scripts.reproduction.findings.results import (
    Result,
    difference,
    final_test_loss_x,
)


def draw_differences(
    results: Sequence[Result],
    baseline: str,
    title: str,
    endings: Sequence[str] = ("png", "svg"),
) -> dict[str, bytes]:
    """Draws one point and its 95 % interval a line, from the top in their order.

    Args:
        results: of several methods; what diverged with every seed has a line without a
            point.
        baseline: label of the one at 0.
        title: above all.
        endings: of the files' names, "png" and "svg".

    Returns:
        The picture by these endings.

    Raises:
        KeyError: if no result is the baseline's.
    """
    reference = {each.label: each for each in results}[baseline]
    figure = new_figure(7.0, 1.6 + 0.27 * len(results), title)
    axes = figure.subplots()
    for line, each in enumerate(results):
        found = difference(each, reference, final_test_loss_x)
        if found is None or not math.isfinite(found.mean):
            continue
        half = 0.0 if math.isnan(found.low) else found.high - found.mean
        color, _ = style_of(each.config.optimizer)
        axes.errorbar(found.mean, line, xerr=half, fmt="o", color=color, capsize=3)
    axes.axvline(0.0, color="#666666", linewidth=0.8)
    axes.set_yticks(range(len(results)), [each.label for each in results], fontsize=9)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlabel(f"final validation loss less that of {baseline} (nats)")
    axes.grid(True, axis="x", linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return written(figure, endings, salt=title)
