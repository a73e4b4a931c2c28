"""`arsg compare`: several optimizers on one task."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console

from arsg_optax.demos.commands.shared import (
    DataDir,
    config_of,
    make_console,
    option,
    read_options,
    results_directory,
)
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.report.progress import RunProgress
from arsg_optax.demos.report.summary import averaged
from arsg_optax.demos.report.terminal import print_table
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.compare import compare, make_configs
from arsg_optax.demos.tasks.configuration import RunConfig, TaskConfig
from arsg_optax.demos.tasks.material import Material, load
from arsg_optax.demos.tasks.records import Outcome, RunRecord, write


@dataclass(frozen=True, kw_only=True)
class Compare(TaskConfig):
    """Train a task's model with several optimizers and compare them.

    Every optimizer starts from the same weights and sees the images in the same order.
    Writes a record of each (NAME.json), curves.png and report.html. Ctrl-C keeps the
    results so far.
    """

    optimizers: Annotated[
        tuple[str, ...],
        option(
            "Which to compare, separated by spaces or commas, or given again; all that "
            "apply if none is named.",
            "NAME[,NAME...]",
        ),
    ] = ()
    learning_rate: Annotated[
        tuple[str, ...],
        option(
            "Step size of one optimizer instead of the task's, e.g. adam=0.01, in the "
            "sense of the optimizer's own function; separated "
            "by spaces or commas, or given again.",
            "NAME=VALUE[,...]",
        ),
    ] = ()
    seeds: Annotated[
        int, option("Runs of each optimizer, from --seed on; means are shown.", "N")
    ] = 1
    data_dir: DataDir = None
    out: Annotated[
        Path | None,
        option(
            "Directory of the results; files of an earlier comparison there are "
            "replaced (None: runs/<timestamp>-<task>).",
            "DIR",
        ),
    ] = None


def run(arguments: Sequence[str]) -> int:
    """Runs `arsg compare`.

    Args:
        arguments: what follows the command's name.

    Returns:
        The exit code: 0, 1 if no optimizer finished, 2 for options that cannot be
        read, 130 if interrupted.

    Raises:
        UsageError: for a request that cannot be run.
        DataError: if the task's data cannot be had.
    """
    options = read_options(Compare, "arsg compare", arguments)
    if isinstance(options, int):
        return options
    shared = config_of(TaskConfig, options)
    configs = make_configs(
        shared,
        options.optimizers,
        parse_learning_rates(options.learning_rate),
    )
    if options.seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {options.seeds}")
    console = make_console()
    with console.status(f"Loading the data of {shared.task}"):
        material = load(shared, options.data_dir)
    with results_directory(options.out, shared.task) as directory:
        command = shlex.join(["arsg", "compare", *arguments])
        return _compare(console, configs, material, directory, command, options.seeds)


def parse_learning_rates(values: Sequence[str]) -> dict[str, float]:
    """Reads `NAME=VALUE` texts, one each.

    Raises:
        UsageError: if one has another form or names an optimizer twice.
    """
    rates: dict[str, float] = {}
    for text in values:
        name, separator, number = text.partition("=")
        try:
            rate = float(number)
        except ValueError:
            separator = ""
            rate = 0.0
        if not (name and separator):
            raise UsageError(
                f"--learning-rate must be NAME=VALUE, e.g. adam=0.01, got {text!r}"
            )
        if name in rates:
            raise UsageError(f"--learning-rate names {name!r} more than once")
        rates[name] = rate
    return rates


class _Keeper(Callbacks):
    """Keeps the record of each optimizer that is finished."""

    def __init__(self, directory: Path):
        self._directory = directory

    def finished(self, record: RunRecord) -> None:
        config = record.config
        name = f"{config.optimizer}-{config.seed}" if config.seed else config.optimizer
        write(self._directory / f"{name}.json", record)


def _compare(
    console: Console,
    configs: Sequence[RunConfig],
    material: Material,
    directory: Path,
    command: str,
    seeds: int,
) -> int:
    task = material.task
    console.print(
        f"{task.name}: {task.summary}; {task.epochs} epochs, batch size "
        f"{task.batch_size}, seed {configs[0].seed}",
        highlight=False,
    )
    keeper = _Keeper(directory)
    with RunProgress(console, seeds * len(configs) * task.epochs) as progress:
        records = compare(configs, material, keeper, progress, seeds=seeds)
    records = [record for record in records if record.epochs]
    interrupted = len(records) < seeds * len(configs) or any(
        record.outcome == Outcome.INTERRUPTED for record in records
    )
    for record in records:
        keeper.finished(record)
    if records:
        with console.status("Writing the report"):
            files = write_report(directory, records, command)
        print_table(console, f"\n{task.name}", averaged(records))
    if interrupted:
        where = f"the results so far are in {directory}" if records else "no results"
        print(f"arsg: interrupted; {where}", file=sys.stderr)
        return 130
    for file in files:
        console.print(str(file), highlight=False, soft_wrap=True)
    return 0 if any(r.outcome == Outcome.FINISHED for r in records) else 1


def write_report(
    directory: Path, records: Sequence[RunRecord], command: str
) -> list[Path]:
    """Writes `curves.png` and `report.html`.

    Args:
        directory: exists; files of these names are replaced.
        records: at least one.
        command: the command line that reproduces them, shown in the report.
    """
    # Matplotlib takes a second to import, which is not spent before the training.
    from arsg_optax.demos.report.curves import draw_records
    from arsg_optax.demos.report.page import render_html

    means = averaged(records)
    curves = draw_records(means)
    page = render_html(means, curves, command)
    return [
        write_atomically(directory / "curves.png", curves),
        write_atomically(directory / "report.html", page.encode()),
    ]
