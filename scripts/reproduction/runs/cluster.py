"""An experiment's runs as jobs of a scheduler, through submitit."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import RunConfig
from scripts.reproduction.runs.runner import Observer, run_all
from scripts.reproduction.store import Store

EXECUTORS = ("here", "local", "slurm")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def run_as_jobs(
    trials: Sequence[RunConfig],
    runs: Path,
    loader: Callable[[], Callable[[RunConfig], Any]],
    executor: str,
    jobs: int,
    parameters: Sequence[str] = (),
) -> list[RunConfig]:
    """Runs what has no record yet in several jobs, and returns when they have ended.

    A job gets its trials beforehand, so that no lock is needed between machines.

    Args:
        trials: in the order in which they are run.
        runs: directory of the records, on a file system that all jobs see.
        loader: makes the function that loads a trial's data, in the job.
        executor: "local", processes of this machine, or "slurm".
        jobs: how many at most.
        parameters: `name=value` of submitit's, such as `slurm_partition=gpu`.

    Returns:
        The trials that failed, see :meth:`Store.note_failure`.

    Raises:
        UsageError: if submitit is not installed, or does not know a parameter.
        RuntimeError: if a job ended before its trials did.
    """
    store = Store(runs)
    missing = [trial for trial in trials if store.find(trial) is None]
    parts = [part for n in range(jobs) if (part := missing[n::jobs])]
    if not parts:
        return []
    handler = _executor(runs / ".jobs", executor, parameters)
    functions = [
        partial(run_part, part, runs, loader, _device(number, executor))
        for number, part in enumerate(parts)
    ]
    submitted = handler.submit_array(functions)
    try:
        failed = [job.result() for job in submitted]
    except KeyboardInterrupt:
        for job in submitted:
            job.cancel()
        raise
    return [trial for part in failed for trial in part]


def run_part(
    trials: Sequence[RunConfig],
    runs: Path,
    loader: Callable[[], Callable[[RunConfig], Any]],
    device: str | None = None,
) -> list[RunConfig]:
    """What a job does: the trials one after the other; those that failed.

    Args:
        trials: of this job.
        runs: directory of the records.
        loader: makes the function that loads a trial's data.
        device: the one GPU that JAX may use, None for those that the scheduler gives.
    """
    if device is not None:
        os.environ[_VISIBLE] = device  # Before JAX has looked for devices.
    return run_all(trials, Store(runs), loader(), Observer())


def _device(number: int, executor: str) -> str | None:
    """On one machine the visible GPUs are dealt out, one for each job in turn."""
    visible = [name for name in os.environ.get(_VISIBLE, "").split(",") if name]
    return visible[number % len(visible)] if executor == "local" and visible else None


def _executor(folder: Path, name: str, parameters: Sequence[str]) -> Any:
    try:
        import submitit
    except ModuleNotFoundError:
        raise UsageError(
            f"--executor {name} needs submitit, which is not installed here: "
            'pip install -e ".[cluster]"'
        ) from None
    given = {}
    for each in parameters:
        key, is_there, value = each.partition("=")
        if not is_there:
            raise UsageError(f"--job must be NAME=VALUE, got {each!r}")
        given[key] = int(value) if value.isdecimal() else value
    # Days, in minutes: a run is as long as it is, and Slurm's own limit holds.
    defaults = {"timeout_min": 7 * 24 * 60} if name == "local" else {}
    try:
        found = submitit.AutoExecutor(folder, cluster=name)
        found.update_parameters(name="reproduction", **{**defaults, **given})
    except (NameError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f"--executor {name} with --job {' '.join(parameters) or 'left out'} is "
            f"refused by submitit: {error}"
        ) from error
    return found
