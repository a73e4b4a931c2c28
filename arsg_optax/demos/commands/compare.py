"""`arsg compare`: several optimizers on one task."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from arsg_optax.demos.report.progress import RunProgress, ShareProgress
from arsg_optax.demos.report.summary import averaged, unit_of, unit_of_task
from arsg_optax.demos.report.terminal import print_sweep, print_table
from arsg_optax.demos.tasks import Task
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.compare import compare, make_configs
from arsg_optax.demos.tasks.configuration import RunConfig, TaskConfig
from arsg_optax.demos.tasks.material import Material, load
from arsg_optax.demos.tasks.records import Outcome, RunRecord, write
from arsg_optax.demos.tasks.sweep import (
    Candidate,
    by_optimizer,
    chosen,
    kept,
    sweep,
    sweep_command,
    table_text,
)
from arsg_optax.demos.training.optimizers import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class Compare(TaskConfig):
    """Train a task's model with several optimizers and compare them.

    Every optimizer starts from the same weights and sees the examples in the same
    order. Writes a record of each (NAME.json), curves.png and report.html, and
    step-sizes.png where a search chose the step sizes; with --sweep step-sizes.csv and
    step-sizes.png alone. Ctrl-C keeps the results so far.
    """

    task: Annotated[str, option("What to train, by name.", "NAME")] = (
        "python-transformer"
    )
    optimizers: Annotated[
        tuple[str, ...],
        option(
            "Which to compare, separated by spaces or commas, or given again (none: "
            "those that the task compares, or all that apply).",
            "NAME[,NAME...]",
        ),
    ] = ()
    learning_rate: Annotated[
        tuple[str, ...],
        option(
            "Step size of one optimizer instead of the task's, e.g. adam=0.01, as the "
            "optimizer's own function takes it; separated by spaces or commas, or "
            "given again.",
            "NAME=VALUE[,...]",
        ),
    ] = ()
    seeds: Annotated[
        int, option("Runs of each optimizer, from --seed on; means are shown.", "N")
    ] = 1
    sweep: Annotated[
        bool,
        option(
            "Search each optimizer's step size: nine candidates or more, trained for "
            "the whole length on four fifths of the training set and scored on the "
            "fifth that is held out. Only for images in memory and for bytes.",
            "",
        ),
    ] = False
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
    rates = parse_learning_rates(options.learning_rate)
    if options.sweep and rates:
        raise UsageError("--learning-rate cannot be given with --sweep, which finds it")
    if options.seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {options.seeds}")
    if options.sweep:
        rates = dict.fromkeys(options.optimizers, 1.0)  # What is searched needs none.
    configs = make_configs(shared, options.optimizers, rates)
    replace(shared, seed=shared.seed + options.seeds - 1).check()
    console = make_console()
    with console.status(f"Loading the data of {shared.task}"):
        material = load(shared, options.data_dir, held_out=options.sweep)
    with results_directory(options.out, shared.task) as directory:
        if options.sweep:
            return _sweep(console, configs, material, directory, options.seeds)
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
    steps = task.epochs * material.setup.sources.train.steps_per_epoch
    console.print(
        f"{task.name}: {task.summary}; {steps:,} steps, batch size {task.batch_size}, "
        f"seed {configs[0].seed}",
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
    from arsg_optax.demos.report.learning_rates import draw_step_sizes
    from arsg_optax.demos.report.page import render_html

    means = averaged(records)
    curves, step_sizes = draw_records(means), None
    rows = _kept_rows(means)
    files = {"curves.png": curves}
    if rows:
        task = means[0].config.chosen_task().name
        title = f"{task}: step sizes, chosen beforehand"
        picture = draw_step_sizes(rows, unit_of(means[0]), title)
        files["step-sizes.png"] = picture
        step_sizes = picture, sweep_command(task, rows)
    files["report.html"] = render_html(means, curves, step_sizes, command).encode()
    return [write_atomically(directory / name, data) for name, data in files.items()]


def _kept_rows(records: Sequence[RunRecord]) -> list[Candidate]:
    """The rows of the search that chose these step sizes, if it is kept.

    Runs with a step size, a length or anything else of their own are left out: the
    search says nothing about them.
    """
    task = records[0].config.task
    rows = kept(records[0].config.chosen_task().name)
    usual = {
        RunConfig(task=task, optimizer=name).key(): name for name in by_optimizer(rows)
    }
    keys = {replace(record.config, seed=0).key() for record in records}
    shown = {name for key, name in usual.items() if key in keys}
    return [row for row in rows if row.optimizer in shown]


def _sweep(
    console: Console,
    configs: Sequence[RunConfig],
    material: Material,
    directory: Path,
    seeds: int,
) -> int:
    """Searches all step sizes; what is found of each optimizer is kept at once."""
    task = material.task
    for config in configs:
        material.check(OPTIMIZERS[config.optimizer])
    console.print(
        f"{task.name}: {task.summary}; {len(configs)} optimizers, scored on a fifth of "
        "the training set",
        highlight=False,
    )
    rows: list[Candidate] = []
    table = directory / "step-sizes.csv"
    interrupted = False
    with ShareProgress(console, "searching") as progress:
        try:
            for config in configs:
                found = sweep(
                    config.chosen_task(),
                    material.setup,
                    OPTIMIZERS[config.optimizer],
                    config.chosen_settings(),
                    seeds=seeds,
                    first_seed=config.seed,
                    on_progress=progress.show,
                )
                rows += found
                write_atomically(table, table_text(rows).encode())
                progress.note(f"{config.optimizer}: {len(found)} candidates")
        except KeyboardInterrupt:
            interrupted = True
    if rows:
        print_sweep(console, rows, unit_of_task(task))
        for file in [table, *_draw_sweep(directory, rows, task)]:
            console.print(str(file), highlight=False, soft_wrap=True)
    if interrupted:
        raise KeyboardInterrupt
    return 0 if chosen(rows) else 1


def _draw_sweep(directory: Path, rows: Sequence[Candidate], task: Task) -> list[Path]:
    """Writes the picture; none where all diverged."""
    if not chosen(rows):
        return []
    from arsg_optax.demos.report.learning_rates import draw_step_sizes

    picture = draw_step_sizes(rows, unit_of_task(task), f"{task.name}: step sizes")
    return [write_atomically(directory / "step-sizes.png", picture)]
