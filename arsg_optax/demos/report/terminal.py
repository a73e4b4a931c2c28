"""The final tables in a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from arsg_optax.demos.report.summary import (
    HEADINGS,
    WORDS,
    Line,
    Unit,
    summarize,
    unit_of,
)
from arsg_optax.demos.tasks.records import Outcome, RunRecord
from arsg_optax.demos.tasks.sweep import GOOD, Candidate, by_optimizer, good
from arsg_optax.tuning import LearningRateSearch

_NARROW = 100


def print_table(console: Console, title: str, records: Sequence[RunRecord]) -> None:
    """Prints the table and what its steps are counted to.

    Args:
        console: below 100 columns the learning rates are left out.
        title: above the table.
        records: finished, diverged or interrupted.
    """
    lines, note = summarize(records)
    wide = console.width >= _NARROW
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    left_out = {"status"} if wide else {"status", "learning_rate"}
    shown = [n for n, name in enumerate(Line._fields) if name not in left_out]
    for n in shown:
        justify = "left" if n < WORDS else "right"
        heading = HEADINGS[n].replace(" ", "\n", 1)
        table.add_column(heading, justify=justify, no_wrap=True)
    for line in lines:
        table.add_row(*(escape(line[n]) for n in shown))
    console.print(table)
    for record in records:
        if record.outcome != Outcome.FINISHED:
            problem = f"{record.config.optimizer}: {record.status()}"
            console.print(Text(problem, style="bold red"))
    console.print(Text(note, style="dim"))
    console.print(
        Text(
            "y: the held parameters; x: the optimizer's own evaluation point. Losses, "
            f"in {unit_of(records[0]).name}, over the training set (a part, if it is "
            "large) or the test set, after the last epoch and at best.",
            style="dim",
        )
    )


def print_sweep(console: Console, rows: Sequence[Candidate], unit: Unit) -> None:
    """Prints each optimizer's best step size, and which others do nearly as well."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("optimizer")
    for heading in ("step size", "held-out loss", "spread", "good from", "to"):
        table.add_column(heading, justify="right")
    groups = by_optimizer(rows).values()
    for found in sorted(groups, key=lambda each: min(row.loss for row in each)):
        best = min(found, key=lambda row: row.loss)
        if not best.chosen:
            table.add_row(best.optimizer, "all diverged")
            continue
        losses = (unit.show(best.loss), f"{unit.factor * best.spread:.2g}")
        rates = [f"{rate:.4g}" for rate in (best.learning_rate, *good(found))]
        table.add_row(best.optimizer, rates[0], *losses, *rates[1:])
    console.print(table)
    note = (
        f"Losses in {unit.name}, means and standard deviations over the seeds, at each "
        f"optimizer's own evaluation point. Good: within {GOOD:.0%} of the best."
    )
    console.print(Text(note, style="dim"))


def print_search(console: Console, found: LearningRateSearch) -> None:
    """Prints the candidates of a search, how they were run, and what an edge means."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("learning rate", "final loss", "spread of seeds"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for i in found.learning_rates.argsort(kind="stable"):
        rate, lost = found.learning_rates[i], found.diverged[i]
        table.add_row(
            f"{rate:.4g}",
            "diverged" if lost else f"{found.final_losses[i]:.5g}",
            "" if lost else f"{found.spread[i]:.2g}",
            Text("chosen", style="bold green") if rate == found.learning_rate else "",
        )
    console.print(table)
    ways = {
        "vmapped": f"{found.group} candidates at once, vmapped",
        "unrolled": f"{found.group} candidates at once, unrolled",
        "sequential": "one candidate after the other, the fastest way here",
    }
    note = (
        "Final loss: mean over the last tenth of the steps, at the held parameters; "
        f"{ways[found.engine]}."
    )
    console.print(Text(note, style="dim"))
    rates = found.learning_rates
    if len(rates) > 1 and found.learning_rate in (rates.min(), rates.max()):
        which = "smallest" if found.learning_rate == rates.min() else "largest"
        console.print(
            f"The {which} candidate was chosen: search further with --learning-rates."
        )
