"""Repeats the search for the default step sizes of a demonstration task.

    python scripts/search_learning_rates.py --task digits-mlp

`scripts.search` says how it is done. The result is the table that is kept
beside it, which the defaults in `arsg_optax.demos.tasks` have to equal.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from arsg_optax.demos.tasks import find_task
from scripts.search import search, table_path, write_table


@dataclass(frozen=True)
class Options:
    """Search the step sizes of a task's optimizers."""

    task: str = "digits-mlp"
    """Name of the task."""
    optimizers: tuple[str, ...] = ()
    """Names, separated by spaces; all that the task leaves to the search if none."""
    seeds: int = 10
    """Runs a candidate."""
    data_dir: Path | None = None
    """Directory of data sets (None: the environment variable ARSG_DATA_DIR or the
    Hugging Face Hub)."""
    out: Path | None = None
    """The table to write (None: the one in the package)."""


def main(options: Options) -> None:
    """Searches, prints a line an optimizer and writes the table."""
    task = find_task(options.task)
    dataset = task.load(options.data_dir)
    rows = []
    for name in options.optimizers or task.searched:
        started = time.perf_counter()
        found = search(task, name, dataset, options.seeds)
        best = next(row for row in found if row.chosen)
        print(
            f"{name:20} {best.learning_rate:g}: held-out loss "
            f"{best.held_out_loss:.4f}, sd {best.spread:.4f}; {len(found)} candidates, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
        rows += found
    write_table(options.out or table_path(task.name), rows)


if __name__ == "__main__":
    main(tyro.cli(Options))
