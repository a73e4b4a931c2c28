"""`arsg train`: one task, one optimizer, with checkpoints."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import jax
from rich.console import Console

from arsg_optax.demos.commands.shared import (
    DataDir,
    config_of,
    make_console,
    read_options,
    results_directory,
)
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.report.progress import StepProgress
from arsg_optax.demos.report.summary import averaged, method_of, unit_of
from arsg_optax.demos.report.terminal import print_table
from arsg_optax.demos.tasks.callbacks import (
    Callbacks,
    Log,
    TensorBoard,
    WeightsAndBiases,
)
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.configuration_files import read_config
from arsg_optax.demos.tasks.material import load
from arsg_optax.demos.tasks.records import Outcome, RunRecord
from arsg_optax.demos.tasks.run import evaluate, resume
from arsg_optax.demos.tasks.run import run as run_once
from arsg_optax.demos.tasks.session import CONFIG
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.demos.training.processes import is_alone, is_first, join


@dataclass(frozen=True, kw_only=True)
class Train(RunConfig):
    """Train a task's model with one optimizer.

    Writes config.json, record.json, metrics.jsonl, TensorBoard event files and
    checkpoints. Ctrl-C and SIGTERM save a checkpoint and end; --resume goes on from
    there, bit for bit. --config FILE reads options from TOML or JSON, as config.json
    has them; --optimizer.NAME VALUE sets another hyper-parameter of the optimizer.

    Attributes:
        data_dir: Directory of data sets.
        out: Directory of the run, new (None: runs/<timestamp>-<task>).
        seeds: Runs, from --seed on; of several each has a directory seed-N of its own.
        wandb: Project of Weights & Biases that is told of the run, too.
        resume: Directory of a run to go on with; its own options hold, and none but
            --data-dir, --extend, --mesh and --wandb may be given beside it.
        extend: With --resume: epochs to add to the run, also to one that has ended.
            The times of its schedule stretch with it.
        evaluate: Directory of a run whose newest checkpoint is evaluated, and nothing
            trained.
        distributed: One run in several processes, each of which is started with the
            same options and --out on a file system that all share. --mesh covers the
            devices of all (None: data over all of them).
        coordinator: With --distributed: HOST:PORT of the first process (None: TPU pods,
            Slurm and Open MPI are recognised).
        num_processes: With --coordinator: how many processes.
        process_id: With --coordinator: which one this is, from 0 on.
    """

    data_dir: DataDir = None
    out: Path | None = None
    seeds: int = 1
    wandb: str | None = None
    resume: Path | None = None
    extend: int = 0
    evaluate: Path | None = None
    distributed: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


_JOINING = ("distributed", "coordinator", "num_processes", "process_id")


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
    options = read_options(Train, "arsg train", arguments)
    if isinstance(options, int):
        return options
    if not options.distributed:
        _check_not_joining(options)
        return _run(options)
    options = _joined(options)
    try:
        return _run(options)
    except jax.errors.JaxRuntimeError as error:
        if is_alone():
            raise
        print(
            f"arsg: another process has gone ({f'{error}'.splitlines()[0][:120]}); "
            f"start all again with --resume {options.out or options.resume}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # Python's own end would wait for the others.


def _joined(options: Train) -> Train:
    """Joins the other processes; the options with the devices of all."""
    if options.out is None and options.resume is None and options.evaluate is None:
        raise UsageError(
            "--distributed needs --out, a new directory that all processes share"
        )
    join(options.coordinator, options.num_processes, options.process_id)
    if options.mesh is None and options.resume is None:
        return replace(options, mesh=f"data={jax.device_count()}")
    return options


def _check_not_joining(options: Train) -> None:
    for name in _JOINING[1:]:
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} needs --distributed, got "
                f"{getattr(options, name)}; give both, or neither"
            )


def _run(options: Train) -> int:
    console = make_console()
    console.quiet = not is_first()
    if options.evaluate is not None:
        return _evaluate(console, options, options.evaluate)
    if options.resume is not None:
        beside = ("resume", "data_dir", "extend", "mesh", "wandb", *_JOINING)
        _check_alone(options, beside)
        directory = options.resume
        with StepProgress(console) as progress:
            record = resume(
                directory,
                progress,
                *_logs(directory, options.wandb),
                data_dir=options.data_dir,
                extend=options.extend,
                mesh=options.mesh,
            )
        return _report(console, record, directory)
    if options.extend:
        raise UsageError("--extend needs the run that is to go on: --resume DIR")
    if options.seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {options.seeds}")
    return _train(console, options)


def _train(console: Console, options: Train) -> int:
    """New runs, one after the other; the first that does not finish is the last."""
    config = config_of(RunConfig, options)
    config.check()
    replace(config, seed=config.seed + options.seeds - 1).check()
    with console.status(f"Loading the data of {config.task}"):
        material = load(config, options.data_dir, held_out=config.held_out)
    material.check(OPTIMIZERS[config.optimizer])
    records: list[RunRecord] = []
    with results_directory(options.out, config.task) as directory:
        for number in range(options.seeds):
            seeded = replace(config, seed=config.seed + number)
            own = directory / f"seed-{seeded.seed}" if options.seeds > 1 else directory
            logs = _logs(own, options.wandb)
            console.print(_headline(seeded), highlight=False)
            console.print(f"results in {own}", highlight=False, soft_wrap=True)
            shared = material.of(seeded) if number else material
            with StepProgress(console) as progress:
                record = run_once(
                    seeded, progress, *logs, directory=own, material=shared
                )
            records.append(record)
            if code := _report(console, record, own):
                left = range(seeded.seed + 1, config.seed + options.seeds)
                if left:
                    print(
                        f"arsg: not begun: the seeds {', '.join(map(str, left))}",
                        file=sys.stderr,
                    )
                return code
    if len(records) > 1:
        print_table(console, f"\nmeans over {len(records)} seeds", averaged(records))
    return 0


def _logs(directory: Path, wandb: str | None) -> list[Callbacks]:
    logs: list[Callbacks] = [Log(directory), TensorBoard(directory / "tensorboard")]
    return logs if wandb is None else [*logs, WeightsAndBiases(directory, wandb)]


def _headline(config: RunConfig) -> str:
    task, settings = config.chosen_task(), config.chosen_settings()
    options = f", {settings.described()}" if settings.options else ""
    return (
        f"{task.name}: {task.summary}; {task.epochs} epochs, batch size "
        f"{task.batch_size}, seed {config.seed}\n"
        f"{config.optimizer}: learning rate {settings.learning_rate:g} "
        f"({task.schedule}){options}"
    )


def _evaluate(console: Console, options: Train, directory: Path) -> int:
    _check_alone(options, ("evaluate", "data_dir", "mesh", *_JOINING))
    with StepProgress(console) as progress:
        epoch = evaluate(
            directory, progress, data_dir=options.data_dir, mesh=options.mesh
        )
    config = read_config(directory / CONFIG)
    for line in _summary(RunRecord(config.resolved(), epochs=(epoch,))):
        console.print(line, highlight=False)
    return 0


def _check_alone(options: Train, beside: Sequence[str]) -> None:
    """Refuses what would change a run that there is already."""
    allowed = replace(Train(), **{name: getattr(options, name) for name in beside})
    for field in fields(Train):
        if getattr(options, field.name) != getattr(allowed, field.name):
            name = field.name.replace("_", "-")
            raise UsageError(
                f"--{name} cannot be given with --{beside[0]}, got "
                f"{getattr(options, field.name)}: the run's own options hold; leave it "
                "out, or start a new run"
            )


def _summary(record: RunRecord) -> list[str]:
    """The last epoch's scores, at each of the optimizer's points."""
    if not record.epochs:
        return []
    last, points = record.epochs[-1], method_of(record).points
    unit = unit_of(record)

    def line(point: str, train: float, test: float, accuracy: float) -> str:
        return (
            f"at {point}: train loss {unit.show(train)}, test loss "
            f"{unit.show(test)} {unit.name}, test accuracy {100 * accuracy:.2f} %"
        )

    y = last.whole_train_loss_y, last.test_loss_y, last.test_accuracy_y
    x = last.whole_train_loss_x, last.test_loss_x, last.test_accuracy_x
    lines = [line("y, the held parameters", *y)]
    if points.own_point is not None:
        lines.append(line(f"x, the {points.name}", *x))
    return lines


def _report(console: Console, record: RunRecord, directory: Path) -> int:
    for line in _summary(record):
        console.print(line, highlight=False)
    again = shlex.join(["arsg", "train", "--resume", str(directory)])
    steps = record.trainer.total_steps if record.trainer else 0
    if record.outcome == Outcome.INTERRUPTED:
        print(
            f"arsg: interrupted; saved after step {steps}; go on with: {again}",
            file=sys.stderr,
        )
        return 128 + (record.signal or 2)
    if record.outcome == Outcome.DIVERGED:
        print(
            f"arsg: the loss stopped being finite in epoch {len(record.epochs)}, by "
            f"step {steps}; try a smaller --learning-rate than "
            f"{record.config.learning_rate:g}",
            file=sys.stderr,
        )
        return 1
    console.print(str(directory), highlight=False, soft_wrap=True)
    return 0
