"""`arsg compare`: several optimizers on one task."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from arsg_optax.demos.commands.shared import (
    make_console,
    make_directory,
    option,
    read_options,
)
from arsg_optax.demos.commands.task_options import (
    BatchSize,
    DataDir,
    Dtype,
    Epochs,
    Examples,
    Preset,
    TaskName,
)
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.report import write_metrics, write_report
from arsg_optax.demos.report.progress import LiveProgress
from arsg_optax.demos.report.terminal import print_table
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.compare import (
    Comparison,
    Plan,
    compare,
    make_plan,
)
from arsg_optax.demos.tasks.results import Outcome, Run
from arsg_optax.demos.training.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class Compare:
    """Train a task's model with several optimizers and compare them.

    Every optimizer starts from the same weights and sees the images in the same order.
    Writes metrics.csv, curves.png and report.html. Ctrl-C keeps the results so far.
    """

    task: TaskName = "digits-mlp"
    optimizers: Annotated[
        tuple[str, ...],
        option(
            "Which to compare, separated by spaces or commas; all that apply if none "
            f"is named. Known: {', '.join(OPTIMIZERS)}.",
            "NAME[,NAME...]",
        ),
    ] = ()
    preset: Preset = None
    epochs: Epochs = None
    batch_size: BatchSize = None
    learning_rate: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        option(
            "Step size of one optimizer instead of the task's, e.g. adam=0.01, in the "
            "sense of the optimizer's own function; may be repeated.",
            "NAME=VALUE",
        ),
    ] = ()
    seed: Annotated[
        int, option("Of the initial weights and of the order of the images.", "N")
    ] = 0
    dtype: Dtype = "float32"
    examples: Examples = None
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
    plan = make_plan(
        find_task(options.task),
        split_names(options.optimizers),
        preset=options.preset,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rates=parse_learning_rates(options.learning_rate),
        seed=options.seed,
        dtype=options.dtype,
    )
    if options.examples is not None and options.examples < 1:
        raise UsageError(f"examples must be at least 1, got {options.examples}")
    console = make_console()
    with console.status(f"Loading the data of {plan.task.name}"):
        data = plan.task.data(options.data_dir, options.examples)
    directory = make_directory(options.out, plan.task.name)
    return _compare(console, plan, data, directory, arguments)


def split_names(values: Sequence[str]) -> list[str]:
    """Names separated by commas, by spaces or both: `("a,b", "c")` is a, b, c."""
    parts = [part.strip() for value in values for part in value.split(",")]
    return [part for part in parts if part]


def parse_learning_rates(values: Sequence[str]) -> dict[str, float]:
    """Reads `NAME=VALUE` texts, several in one separated by commas.

    Raises:
        UsageError: if one has another form or names an optimizer twice.
    """
    rates: dict[str, float] = {}
    for text in split_names(values):
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


class _Reporter(LiveProgress):
    """Shows progress, and keeps metrics.csv up to date after each optimizer."""

    def __init__(self, console: Console, plan: Plan, directory: Path):
        super().__init__(console, list(plan.settings), plan.task.epochs)
        self._directory = directory
        self._runs: list[Run] = []

    def run_started(self, run: Run) -> None:
        self._runs.append(run)
        super().run_started(run)

    def run_finished(self, run: Run) -> None:
        write_metrics(self._directory, self._runs)
        super().run_finished(run)


def _compare(
    console: Console,
    plan: Plan,
    data: Any,
    directory: Path,
    arguments: Sequence[str],
) -> int:
    console.print(
        f"{plan.task.name}: {plan.task.summary}; {plan.task.epochs} epochs, batch "
        f"size {plan.task.batch_size}, seed {plan.seed}",
        highlight=False,
    )
    with _Reporter(console, plan, directory) as reporter:
        comparison = compare(plan, data, reporter)
    command = shlex.join(["arsg", "compare", *arguments])
    with console.status("Writing the report"):
        files = write_report(directory, comparison, command)
    print_table(console, f"\n{plan.task.name}", comparison.runs)
    if comparison.interrupted:
        print(
            f"arsg: interrupted; the results so far are in {directory}",
            file=sys.stderr,
        )
        return 130
    for file in files:
        console.print(str(file), highlight=False, soft_wrap=True)
    return 0 if _any_finished(comparison) else 1


def _any_finished(comparison: Comparison) -> bool:
    return any(run.outcome is Outcome.FINISHED for run in comparison.runs)
