"""`arsg tune`: the step size of one optimizer on one task."""

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
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
from arsg_optax.demos.report.progress import ShareProgress
from arsg_optax.demos.report.terminal import print_search
from arsg_optax.demos.tasks import Settings, Setup, Task
from arsg_optax.demos.tasks.candidates import candidates
from arsg_optax.demos.tasks.configuration import RunConfig, TaskConfig
from arsg_optax.demos.tasks.material import load
from arsg_optax.demos.tasks.streams import StreamedImages
from arsg_optax.demos.tasks.sweep import as_candidates, table_text
from arsg_optax.demos.tasks.tune import probe_task, search_task
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.tuning import LearningRateSearch

# Of the loss after a part of the steps, see docs/tuning.md.
_MARGIN = 0.02


@dataclass(frozen=True, kw_only=True)
class Tune(TaskConfig):
    """Search the step size of an optimizer on a task, all candidates at once.

    Each candidate is trained as `arsg train` would, for a share of the steps. Writes
    candidates.csv and learning-rates.png, and prints the `arsg train` line to run next.
    """

    optimizer: Annotated[str, option("The optimizer.", "NAME")] = "arsg"
    learning_rates: Annotated[
        tuple[float, ...],
        option(
            "Candidates, as the optimizer's own function takes them (none: nine from "
            "the optimizer's usual range).",
            "VALUE [VALUE ...]",
        ),
    ] = ()
    share: Annotated[
        float | None,
        option(
            "Part of the training's steps that is taken; with --suggest, of its "
            "gradients (None: 0.1, or 0.05 with --suggest).",
            "VALUE",
        ),
    ] = None
    margin: Annotated[
        float | None,
        option(
            "The smallest step size is chosen whose loss is within this share of the "
            "best (None: 0.02 for a part of the steps, 0 for all).",
            "VALUE",
        ),
    ] = None
    refine: Annotated[
        bool, option("Try as many again between the neighbours of the best.", "")
    ] = False
    suggest: Annotated[
        bool,
        option(
            "No search: a step size of rsg or arsg from measured curvature and noise; "
            "nothing is written.",
            "",
        ),
    ] = False
    seeds: Annotated[int, option("Trainings of each candidate.", "N")] = 1
    data_dir: DataDir = None
    out: Annotated[
        Path | None,
        option("Directory of the results (None: runs/<timestamp>-tune-<task>).", "DIR"),
    ] = None


def run(arguments: Sequence[str]) -> int:
    """Runs `arsg tune`.

    Args:
        arguments: what follows the command's name.

    Returns:
        The exit code: 0; 1 if every candidate diverged; 2 for options that cannot be
        read; 130 after Ctrl-C.

    Raises:
        UsageError: for a request that cannot be run.
        DataError: if the task's data cannot be had.
    """
    options = read_options(Tune, "arsg tune", arguments)
    if isinstance(options, int):
        return options
    config = _config(options)
    task, settings = config.chosen_task(), config.chosen_settings()
    _check(options, task)
    console = make_console()
    with console.status(f"Loading the data of {task.name}"):
        material = load(config, options.data_dir)
    material.check(OPTIMIZERS[options.optimizer])
    setup = material.setup
    if options.suggest:
        return _suggest(console, options, task, setup, settings)
    return _search(console, options, task, setup, settings)


def _suggest(
    console: Console, options: Tune, task: Task, setup: Setup, settings: Settings
) -> int:
    with console.status("Measuring curvature and noise"):
        found = probe_task(
            task,
            setup,
            OPTIMIZERS[options.optimizer],
            settings,
            share=0.05 if options.share is None else options.share,
            seed=options.seed,
        )
    console.print(str(found), highlight=False, soft_wrap=True)
    _print_next(console, options, found.learning_rate)
    return 0


def _search(
    console: Console, options: Tune, task: Task, setup: Setup, settings: Settings
) -> int:
    rates = list(options.learning_rates) or candidates(options.optimizer)
    whole = task.epochs * setup.sources.train.steps_per_epoch
    share = 0.1 if options.share is None else options.share
    steps = max(1, round(share * whole))
    console.print(
        f"{task.name}: {task.summary}; {len(rates)} step sizes of {options.optimizer}, "
        f"{steps} steps each, batch size {task.batch_size}",
        highlight=False,
    )
    margin = _MARGIN if share < 1 else 0.0
    with ShareProgress(console, "searching") as progress:
        found = search_task(
            task,
            setup,
            OPTIMIZERS[options.optimizer],
            settings,
            rates,
            steps=steps,
            seeds=options.seeds,
            first_seed=options.seed,
            refine=options.refine,
            margin=margin if options.margin is None else options.margin,
            on_progress=progress.show,
        )
    with results_directory(options.out, f"tune-{task.name}") as directory:
        return _report(console, found, directory, options)


def _config(options: Tune) -> RunConfig:
    """The run that is tuned for, checked but for its step size."""
    shared = config_of(TaskConfig, options)
    config = RunConfig(**vars(shared), optimizer=options.optimizer, learning_rate=1.0)
    config.check()
    return config


def _check(options: Tune, task: Task) -> None:
    for rate in options.learning_rates:
        if not 0 < rate < math.inf:
            raise UsageError(
                f"learning_rates must be positive and finite, got {rate:g}"
            )
    if options.share is not None and not 0 < options.share <= 1:
        raise UsageError(f"share must be above 0 and at most 1, got {options.share:g}")
    if options.margin is not None and not 0 <= options.margin < math.inf:
        raise UsageError(f"margin must be at least 0, got {options.margin:g}")
    if options.seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {options.seeds}")
    for name in ("learning_rates", "margin", "refine", "out"):
        if options.suggest and getattr(options, name) not in ((), None, False):
            raise UsageError(
                f"--{name.replace('_', '-')} cannot be given with --suggest, which "
                "searches and writes nothing; leave it out"
            )
    if isinstance(task.kind, StreamedImages):
        raise UsageError(
            f"task must keep its data on the device, got {task.name}, whose images are "
            "a stream; search on some of them with tuning.search_learning_rate"
        )


def _report(
    console: Console, found: LearningRateSearch, directory: Path, options: Tune
) -> int:
    # Matplotlib takes a second to import, which is not spent before the search.
    from arsg_optax.demos.report.learning_rates import draw_learning_rates

    picture = draw_learning_rates(found, f"{options.optimizer} on {options.task}")
    rows = as_candidates(options.optimizer, found, options.seeds)
    files = [
        write_atomically(directory / "candidates.csv", table_text(rows).encode()),
        write_atomically(directory / "learning-rates.png", picture),
    ]
    print_search(console, found)
    for file in files:
        console.print(str(file), highlight=False, soft_wrap=True)
    if math.isnan(found.learning_rate):
        print("arsg: every candidate diverged; try smaller ones", file=sys.stderr)
        return 1
    _print_next(console, options, found.learning_rate)
    return 0


def _print_next(console: Console, options: Tune, learning_rate: float) -> None:
    command = ["arsg", "train", "--task", options.task]
    command += ["--optimizer", options.optimizer]
    command += ["--learning-rate", f"{learning_rate:.4g}"]
    for field in (*fields(TaskConfig), "data_dir"):
        name = field if isinstance(field, str) else field.name
        value = getattr(options, name)
        if name != "task" and value != getattr(Tune, name):
            command += [f"--{name.replace('_', '-')}", str(value)]
    console.print(f"next: {shlex.join(command)}", highlight=False, soft_wrap=True)
