"""The files of a comparison, each replaced as a whole or not at all."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.tasks.compare import Comparison
from arsg_optax.demos.tasks.results import Row, Run


def write_metrics(directory: Path, runs: Sequence[Run]) -> Path:
    """Writes `metrics.csv`, one line an optimizer and epoch; see `Row` for columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for run in runs:
        writer.writerows(map(_cells, run.rows))
    return write_atomically(directory / "metrics.csv", text.getvalue().encode())


def _cells(row: Row) -> list[str]:
    # Nine digits give every float32 back.
    return [f"{v:.9g}" if isinstance(v, float) else str(v) for v in row]


def write_report(directory: Path, comparison: Comparison, command: str) -> list[Path]:
    """Writes `metrics.csv`, `curves.png` and `report.html`.

    Args:
        directory: exists; files of these names are replaced.
        comparison: finished or interrupted.
        command: the command line that reproduces it, shown in the report.
    """
    metrics = write_metrics(directory, comparison.runs)
    # Matplotlib takes a second to import, which is not spent before the training.
    from arsg_optax.demos.report.curves import draw_curves
    from arsg_optax.demos.report.page import render_html

    curves = draw_curves(comparison)
    page = render_html(comparison, curves, command)
    return [
        metrics,
        write_atomically(directory / "curves.png", curves),
        write_atomically(directory / "report.html", page.encode()),
    ]
