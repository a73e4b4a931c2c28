"""`python -m scripts.reproduction`: an experiment's runs and tables, the page."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from arsg_optax.demos.commands.shared import (
    DataDir,
    make_console,
    make_directory,
    option,
    read_options,
)
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.configuration import RunConfig
from scripts.reproduction.experiments import EXPERIMENTS, find_experiment
from scripts.reproduction.experiments.entrants import Experiment, Size
from scripts.reproduction.progress import ExperimentProgress
from scripts.reproduction.report.overview import (
    Judged,
    Overview,
    largest,
    look,
    verdicts,
)
from scripts.reproduction.runs.cluster import EXECUTORS, run_as_jobs
from scripts.reproduction.runs.plan import (
    first_trials,
    known_trials,
    later_trials,
    make_plan,
)
from scripts.reproduction.runs.runner import run_all
from scripts.reproduction.store import Store

RUNS, THEOREMS = Path("results/runs"), Path("results/theorems.json")
PROGRAM = "python -m scripts.reproduction"


@dataclass(frozen=True)
class Reproduce:
    """Run an experiment of the papers and write its tables, figures and verdicts.

    Each finished run is one small file among --runs; finished runs are skipped, also
    after Ctrl-C or a kill. The same command in several processes of one machine shares
    the work among them. A run that fails is noted and stops no other.
    """

    name: Annotated[
        tyro.conf.Positional[str],
        option(f"Which: {', '.join(EXPERIMENTS)}.", "NAME"),
    ]
    size: Annotated[
        str,
        option(
            "full: the paper's protocol. small: under two hours on two cores, where "
            "the data are at hand. published (the ARSG paper's): its authors' "
            "settings at full length, no grids.",
            "NAME",
        ),
    ] = "small"
    plan: Annotated[
        bool, option("Only print what there is to run, and how long it takes.", "")
    ] = False
    report: Annotated[
        bool, option("Run nothing: tables and figures of what is recorded.", "")
    ] = False
    list: Annotated[
        bool, option("Only list the runs without a record that are known so far.", "")
    ] = False
    trial: Annotated[
        str | None,
        option("Run only the one with this key, as --list prints it.", "KEY"),
    ] = None
    executor: Annotated[
        str,
        option(
            "here: in this process. local, slurm: in --jobs jobs, on this machine or "
            "by Slurm, through submitit.",
            "NAME",
        ),
    ] = "here"
    jobs: Annotated[int, option("Of an executor, at once.", "N")] = 2
    job: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        option(
            "A parameter of submitit's, as slurm_partition=gpu; again for more.",
            "NAME=VALUE",
        ),
    ] = ()
    runs: Annotated[Path, option("Directory of the records.", "DIR")] = RUNS
    data_dir: DataDir = None
    out: Annotated[
        Path | None,
        option("Directory of the results (None: results/<date>-<name>-<size>).", "DIR"),
    ] = None


def reproduce(arguments: Sequence[str]) -> int:
    """Runs an experiment.

    Args:
        arguments: its name and the options.

    Returns:
        The exit code: 0; 1 if nothing is recorded or a run failed; 2 for options that
        cannot be read; 130 after Ctrl-C.

    Raises:
        UsageError: for a request that cannot be run, or a damaged record.
        DataError: if the data cannot be had.
    """
    options = read_options(Reproduce, PROGRAM, arguments)
    if isinstance(options, int):
        return options
    if options.executor not in EXECUTORS:
        raise UsageError(
            f"--executor must be one of {', '.join(EXECUTORS)}, got "
            f"{options.executor!r}"
        )
    if options.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {options.jobs}")
    experiment = find_experiment(options.name)
    size, store = experiment.size(options.size), Store(options.runs)
    console = make_console()
    _print_plan(console, experiment, options.size, size, store)
    if options.plan:
        return 0
    if options.list:
        return _list(console, known_trials(experiment, size, store), store)
    if options.trial is not None:
        chosen = _chosen(known_trials(experiment, size, store), options.trial)
        failed = _run_stage(console, [chosen], store, options)
        return _tell_failures(failed, store)
    failed = [] if options.report else _run(console, experiment, size, store, options)
    code = _write(console, look(experiment, options.size, store), options.out)
    return _tell_failures(failed, store) or code


def _print_plan(
    console: Console, experiment: Experiment, name: str, size: Size, store: Store
) -> None:
    plan = make_plan(experiment, size, store)
    hours = "unknown, nothing like it is recorded"
    if plan.hours is not None:
        hours = f"about {plan.hours:.1f} hours in one process"
    lines = (
        f"{experiment.name}, {name}: {size.runs} ({experiment.source})",
        f"{len(plan.first)} runs of fixed settings and candidates, {plan.cached} of "
        f"them recorded; then up to {plan.later} of what is chosen; time left: {hours}",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _run(
    console: Console,
    experiment: Experiment,
    size: Size,
    store: Store,
    options: Reproduce,
) -> list[RunConfig]:
    """Both stages: what is known before, and then what that chooses."""
    failed: list[RunConfig] = []
    for find in (first_trials, partial(later_trials, store=store)):
        failed += _run_stage(console, find(experiment, size), store, options)
    return failed


def _run_stage(
    console: Console, trials: Sequence[RunConfig], store: Store, options: Reproduce
) -> list[RunConfig]:
    """The trials that failed."""
    loader = partial(_loader, options.data_dir)
    if options.executor != "here":
        return run_as_jobs(
            trials, options.runs, loader, options.executor, options.jobs, options.job
        )
    epochs = sum(trial.epochs or 0 for trial in trials)
    with ExperimentProgress(console, epochs) as progress:
        return run_all(trials, store, loader(), progress)


def _list(console: Console, trials: Sequence[RunConfig], store: Store) -> int:
    for trial in trials:
        if store.find(trial) is None:
            console.print(
                f"{trial.key()}  {trial.task} {trial.optimizer} "
                f"{trial.learning_rate:g} seed {trial.seed} {trial.epochs} epochs",
                highlight=False,
                soft_wrap=True,
            )
    return 0


def _chosen(trials: Sequence[RunConfig], key: str) -> RunConfig:
    by_key = {trial.key(): trial for trial in trials}
    if key not in by_key:
        raise UsageError(
            f"--trial must be one of the keys that --list prints, got {key!r}"
        )
    return by_key[key]


def _tell_failures(failed: Sequence[RunConfig], store: Store) -> int:
    """The exit code."""
    for trial in failed:
        print(
            f"reproduction: {trial.key()} failed; why stands in "
            f"{store.directory / '.failed' / trial.key()}.txt",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _loader(data_dir: Path | None) -> Callable[[RunConfig], Any]:
    """Loads a trial's data, each set once."""

    @cache
    def data(task: str, examples: int | None) -> Any:
        return find_task(task).data(data_dir, examples)

    return lambda trial: data(trial.task, trial.examples)


def _write(console: Console, overview: Overview, out: Path | None) -> int:
    if not overview.results:
        print(
            "reproduction: nothing is recorded; run it without --report",
            file=sys.stderr,
        )
        return 1
    # Matplotlib takes a second to import, which is not spent before the runs.
    from scripts.reproduction.report.files import write_results

    name = f"{overview.experiment.name}-{overview.name}"
    directory = out or Path("results") / f"{date.today().isoformat()}-{name}"
    command = f"{PROGRAM} {overview.experiment.name} --size {overview.name}"
    files = write_results(make_directory(directory, name), overview, command)
    for each in verdicts(overview):
        line = f"{each.verdict.verdict}: {each.claim.text} ({each.kind or 'no runs'})"
        console.print(f"{line}: {each.verdict.evidence}", soft_wrap=True)
    for file in files:
        console.print(str(file), highlight=False, soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Report:
    """Write the page of all reproductions, one file, from the records alone.

    Panel by panel the papers' figures, printed numbers beside measured ones, and a
    verdict on each claim. Nothing is run.
    """

    runs: Annotated[Path, option("Directory of the records.", "DIR")] = RUNS
    theorems: Annotated[Path, option("Verdicts on them.", "FILE")] = THEOREMS
    out: Annotated[Path, option("The page.", "FILE")] = Path("results/report.html")


def report(arguments: Sequence[str]) -> int:
    """Writes the page of all reproductions.

    Args:
        arguments: what follows `report`.

    Returns:
        The exit code: 0, or 2 for options that cannot be read.

    Raises:
        UsageError: if there are no records, one is damaged, or the page cannot be
            written.
    """
    options = read_options(Report, f"{PROGRAM} report", arguments)
    if isinstance(options, int):
        return options
    if not options.runs.is_dir():
        raise UsageError(
            f"--runs: there is no directory {options.runs}; running makes it"
        )
    from scripts.reproduction.findings.theorem_file import read
    from scripts.reproduction.report.page import render

    proved = [Judged(each, "computed", v) for each, v in read(options.theorems)]
    store = Store(options.runs)
    overviews = [largest(each, store) for each in EXPERIMENTS.values()]
    page = render(overviews, f"{PROGRAM} report", proved)
    _keep(options.out, page.encode())
    return 0


@dataclass(frozen=True)
class Theorems:
    """Judge what the papers prove by eigenvalues and games, in half a minute."""

    out: Annotated[Path, option("The verdicts, JSON.", "FILE")] = THEOREMS


def judge_theorems(arguments: Sequence[str]) -> int:
    """Computes the verdicts on the papers' theory.

    Args:
        arguments: what follows `theorems`.

    Returns:
        The exit code: 0, or 2 for options that cannot be read.

    Raises:
        UsageError: if the file cannot be written.
    """
    options = read_options(Theorems, f"{PROGRAM} theorems", arguments)
    if isinstance(options, int):
        return options
    from scripts.reproduction.findings import theorems
    from scripts.reproduction.findings.theorem_file import encoded

    found = theorems.measure()
    _keep(options.out, encoded(found))
    for theorem, verdict in found:
        line = f"{verdict.verdict}: {theorem.text}: {verdict.evidence}"
        make_console().print(line, highlight=False, soft_wrap=True)
    return 0


def _keep(path: Path, content: bytes) -> None:
    """Writes the file and prints its name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(f"--out: {path} cannot be written: {error}") from error
    make_console().print(str(path), highlight=False, soft_wrap=True)
