"""`arsg report`: the page of all reproductions, from their records."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from arsg_optax.demos.commands._shared import make_console, option, read_options
from arsg_optax.demos.commands.reproduce import RUNS
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.report.files import write_atomically
from arsg_optax.demos.reproduction.experiments import EXPERIMENTS
from arsg_optax.demos.reproduction.records.store import Store
from arsg_optax.demos.reproduction.report.overview import largest


@dataclass(frozen=True)
class Report:
    """Write the page of all reproductions, one file, from the records alone.

    Panel by panel the papers' figures, printed numbers beside measured ones, and a
    verdict on each claim. Nothing is run.
    """

    runs: Annotated[Path, option("Directory of the records.", "DIR")] = RUNS
    out: Annotated[Path, option("The page.", "FILE")] = Path("results/report.html")


def run(arguments: Sequence[str]) -> int:
    """Runs `arsg report`.

    Args:
        arguments: what follows the command's name.

    Returns:
        The exit code: 0, or 2 for options that cannot be read.

    Raises:
        UsageError: if there are no records, one is damaged, or the page cannot be
            written.
    """
    options = read_options(Report, "report", arguments)
    if isinstance(options, int):
        return options
    if not options.runs.is_dir():
        raise UsageError(
            f"--runs: there is no directory {options.runs}; arsg reproduce makes it"
        )
    from arsg_optax.demos.reproduction.report.page import render

    store = Store(options.runs)
    page = render(
        [largest(each, store) for each in EXPERIMENTS.values()], "arsg report"
    )
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(options.out, page.encode())
    except OSError as error:
        raise UsageError(f"--out: the page cannot be written: {error}") from error
    make_console().print(str(options.out), highlight=False, soft_wrap=True)
    return 0
