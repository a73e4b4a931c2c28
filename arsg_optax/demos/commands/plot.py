"""`arsg plot`: the curves and the table of runs that are kept, side by side."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from arsg_optax.demos.commands.compare import write_report
from arsg_optax.demos.commands.shared import (
    make_console,
    option,
    read_options,
    results_directory,
)
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.report.summary import averaged
from arsg_optax.demos.report.terminal import print_table
from arsg_optax.demos.tasks.records import RECORD, RunRecord, read
from arsg_optax.demos.tasks.session import CONFIG


@dataclass(frozen=True)
class Plot:
    """Draw runs that `arsg train` or `arsg compare` kept, side by side.

    Writes curves.png, report.html and, where a search chose the step sizes,
    step-sizes.png, and prints the table. Nothing is trained.
    """

    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        option("Directories of runs or of comparisons, or files of records.", "DIR"),
    ]
    out: Annotated[
        Path | None,
        option("Directory of the results (None: runs/<timestamp>-plot).", "DIR"),
    ] = None


def run(arguments: Sequence[str]) -> int:
    """Runs `arsg plot`.

    Args:
        arguments: what follows the command's name.

    Returns:
        The exit code: 0, or 2 for options that cannot be read.

    Raises:
        UsageError: if there is no record, or one cannot be read.
    """
    options = read_options(Plot, "arsg plot", arguments)
    if isinstance(options, int):
        return options
    records = [record for path in options.runs for record in find_records(path)]
    tasks = sorted({record.config.task for record in records})
    if len(tasks) > 1:
        raise UsageError(f"runs must be of one task, got {', '.join(tasks)}")
    console = make_console()
    with results_directory(options.out, "plot") as directory:
        command = shlex.join(["arsg", "plot", *arguments])
        with console.status("Drawing"):
            files = write_report(directory, records, command)
    print_table(console, f"\n{tasks[0]}", averaged(records))
    for file in files:
        console.print(str(file), highlight=False, soft_wrap=True)
    return 0


def find_records(path: Path) -> list[RunRecord]:
    """The records of a directory with at least one epoch, or that of a file.

    Raises:
        UsageError: if there is none, or one cannot be read.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    # Several seeds of `arsg train` have a directory each.
    files = files or sorted(path.glob(f"seed-*/{RECORD}"))
    found = [read(file) for file in files if file.name != CONFIG]
    found = [record for record in found if record.epochs]
    if not found:
        raise UsageError(f"{path} holds no record of a run with an epoch")
    return found
