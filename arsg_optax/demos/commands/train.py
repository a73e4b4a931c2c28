"""`arsg train`: one task, one optimizer, with checkpoints."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

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
from arsg_optax.demos.report.summary import format_loss
from arsg_optax.demos.report.train_progress import TrainProgress
from arsg_optax.demos.tasks import TASKS
from arsg_optax.demos.tasks.configuration import Configuration
from arsg_optax.demos.tasks.results import Outcome, Run
from arsg_optax.demos.tasks.run import Result, resume, train
from arsg_optax.demos.training.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class Train:
    """Train a task's model with one optimizer.

    Writes config.json, metrics.jsonl, TensorBoard event files and checkpoints. Ctrl-C
    and SIGTERM save a checkpoint and end; --resume goes on from there, bit for bit.
    """

    task: TaskName = "digits-mlp"
    optimizer: Annotated[
        str, option(f"With what: {', '.join(OPTIMIZERS)}.", "NAME")
    ] = "arsg"
    preset: Preset = None
    epochs: Epochs = None
    batch_size: BatchSize = None
    learning_rate: Annotated[
        float | None,
        option(
            "Step size, in the sense of the optimizer's own function (None: the "
            "preset's).",
            "VALUE",
        ),
    ] = None
    seed: Annotated[
        int,
        option("Of initial weights, order, crops, flips and dropout.", "N"),
    ] = 0
    dtype: Dtype = "float32"
    examples: Examples = None
    steps: Annotated[
        int | None,
        option("End after N steps in all, evaluated (None: whole epochs).", "N"),
    ] = None
    checkpoint_every: Annotated[
        int | None,
        option("Steps between checkpoints in an epoch (None: at its end only).", "N"),
    ] = None
    keep: Annotated[int, option("Newest checkpoints to keep.", "N")] = 3
    workers: Annotated[
        int | None,
        option(
            "Processes that read and decode streamed images; 0: threads (None: half of "
            "the cores).",
            "N",
        ),
    ] = None
    data_dir: DataDir = None
    out: Annotated[
        Path | None,
        option("Directory of the run, new (None: runs/<timestamp>-<task>).", "DIR"),
    ] = None
    resume: Annotated[
        Path | None,
        option(
            "Directory of a run to go on with; its own options hold, and none but "
            "--data-dir may be given beside it.",
            "DIR",
        ),
    ] = None


def run(arguments: Sequence[str]) -> int:
    """Runs `arsg train`.

    Args:
        arguments: what follows the command's name.

    Returns:
        The exit code: 0; 1 if the loss stopped being finite or a checkpoint could not
        be written; 2 for options that cannot be read; 130 after Ctrl-C, 143 after
        SIGTERM.

    Raises:
        UsageError: for a request that cannot be run.
        DataError: if the task's data cannot be had.
        CheckpointError: if a checkpoint cannot be written or none can be read.
    """
    options = read_options(
        Train, "arsg train", arguments, description=_described(arguments)
    )
    if isinstance(options, int):
        return options
    console = make_console()
    if options.resume is not None:
        _check_alone(options)
        with TrainProgress(console) as progress:
            result = resume(
                options.resume, data_dir=options.data_dir, observer=progress
            )
        return _report(console, result)
    configuration = _configuration(options)
    configuration.check()
    directory = make_directory(options.out, configuration.task)
    console.print(_headline(configuration), highlight=False)
    console.print(f"results in {directory}", highlight=False, soft_wrap=True)
    with TrainProgress(console) as progress:
        result = train(
            out=directory,
            data_dir=options.data_dir,
            observer=progress,
            **asdict(configuration),
        )
    return _report(console, result)


def _configuration(options: Train) -> Configuration:
    names = [field.name for field in fields(Configuration)]
    return Configuration(**{name: getattr(options, name) for name in names})


def _headline(configuration: Configuration) -> str:
    task = configuration.chosen_task()
    settings = configuration.chosen_settings(task)
    options = f", {settings.described()}" if settings.options else ""
    return (
        f"{task.name}: {task.summary}; {task.epochs} epochs, batch size "
        f"{task.batch_size}, seed {configuration.seed}\n"
        f"{configuration.optimizer}: learning rate {settings.learning_rate:g} "
        f"({task.schedule}){options}"
    )


def _check_alone(options: Train) -> None:
    """Refuses what would change a run that is resumed."""
    allowed = replace(Train(), resume=options.resume, data_dir=options.data_dir)
    for field in fields(Train):
        if getattr(options, field.name) != getattr(allowed, field.name):
            name = field.name.replace("_", "-")
            raise UsageError(
                f"--{name} cannot be given with --resume, got "
                f"{getattr(options, field.name)}: the run's own options hold; leave it "
                "out, or start a new run"
            )


def _described(arguments: Sequence[str]) -> str | None:
    """With a task named, its protocol stands above the options."""
    tokens = [part for token in arguments for part in token.split("=", 1)]
    named = [value for name, value in pairwise(tokens) if name == "--task"]
    if not named or named[-1] not in TASKS:
        return None
    task = TASKS[named[-1]]
    lines = [
        f"{task.name}: {task.summary}.",
        f"Its protocol: {task.epochs} epochs, batch size {task.batch_size}, learning "
        f"rate {task.schedule}.",
    ]
    for preset, settings in task.presets.items():
        rates = ", ".join(f"{n} {s.learning_rate:.3g}" for n, s in settings.items())
        lines.append(f"Step sizes of the preset {preset}: {rates}.")
    return "\n\n".join(lines)


def _summary(run: Run) -> list[str]:
    """The last epoch's scores, at each of the optimizer's points."""
    if not run.rows:
        return []
    row = run.rows[-1]

    def line(point: str, train: float, test: float, accuracy: float) -> str:
        return (
            f"at {point}: train loss {format_loss(train)}, test loss "
            f"{format_loss(test)}, test accuracy {100 * accuracy:.2f} %"
        )

    y = row.whole_train_loss_y, row.test_loss_y, row.test_accuracy_y
    x = row.whole_train_loss_x, row.test_loss_x, row.test_accuracy_x
    lines = [line("y, the held parameters", *y)]
    return [*lines, line(f"x, the {run.own_point}", *x)] if run.has_own_point else lines


def _report(console: Console, result: Result) -> int:
    run = result.run
    for line in _summary(run):
        console.print(line, highlight=False)
    again = shlex.join(["arsg", "train", "--resume", str(result.directory)])
    if run.outcome is Outcome.INTERRUPTED:
        print(
            f"arsg: interrupted; saved after step {result.trainer.total_steps}; "
            f"go on with: {again}",
            file=sys.stderr,
        )
        return 128 + (result.signal or 2)
    if run.outcome is Outcome.DIVERGED:
        print(
            f"arsg: the loss stopped being finite in epoch {result.trainer.epoch}, by "
            f"step {result.trainer.total_steps}; try a smaller --learning-rate than "
            f"{run.learning_rate:g}",
            file=sys.stderr,
        )
        return 1
    console.print(str(result.directory), highlight=False, soft_wrap=True)
    return 0
