"""What a comparison leaves: a table, `metrics.csv`, `curves.png`, `report.html`."""

from arsg_optax.demos.report.files import write_metrics, write_report

__all__ = ["write_metrics", "write_report"]
