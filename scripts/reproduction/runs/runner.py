"""Runs trials that were not run yet, one after the other, and keeps their records."""

import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import jax

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.errors import CheckpointError, UsageError
from arsg_optax.demos.tasks import Task, find_task
from arsg_optax.demos.tasks.candidates import split
from arsg_optax.demos.tasks.results import score_columns
from arsg_optax.demos.tasks.settings import Constant, Cosine
from arsg_optax.demos.training.trainer import Trainer
from arsg_optax.demos.training.versions import versions
from scripts.reproduction.experiments.recipes import find_method
from scripts.reproduction.records.partial import Partial
from scripts.reproduction.records.store import Epoch, Record, Store
from scripts.reproduction.records.trial import Trial


class Observer(Protocol):
    """What is told of the progress."""

    def known(self, trial: Trial) -> None:
        """A trial whose record is there already."""

    def taken(self, trial: Trial) -> None:
        """A trial that another process is running."""

    def started(self, trial: Trial) -> None:
        """Before the trial's program is compiled."""

    def epoch_finished(self, trial: Trial, epoch: Epoch) -> None:
        """After each epoch."""

    def finished(self, record: Record) -> None:
        """Once the record is kept."""


def run_all(
    trials: Sequence[Trial],
    store: Store,
    load: Callable[[Trial], Any],
    observer: Observer,
    wait: float = 2.0,
) -> None:
    """Runs what has no record yet, and returns once every trial has one.

    What another process has claimed is left to it, and run here only if that process
    ends without a record. An interrupted trial leaves none and is run again; the
    others stay.

    Args:
        trials: in the order in which they are run.
        store: where records are found and kept.
        load: the data of a trial's task, with its number of examples.
        observer: told of the progress.
        wait: seconds between looks at what others are running.
    """
    known, told = set[str](), set[str]()
    wanted = {trial.key() for trial in trials}
    while known < wanted:
        ran = False
        for trial in trials:
            key = trial.key()
            if key in known:
                continue
            if store.find(trial) is not None:
                known.add(key)
                observer.known(trial)
                store.remove_partial(trial)
                continue
            with store.claim(trial) as ours:
                if ours:
                    _run(trial, store, load, observer)
                    known.add(key)
                    ran = True
                elif key not in told:
                    told.add(key)
                    observer.taken(trial)
        if not ran and known < wanted:
            time.sleep(wait)


def _run(
    trial: Trial, store: Store, load: Callable[[Trial], Any], observer: Observer
) -> None:
    observer.started(trial)
    data, partial = load(trial), store.partial(trial)
    try:
        record = train(trial, data, observer, Partial(partial))
    except CheckpointError:
        # What was kept of it is damaged, or of another version.
        store.remove_partial(trial)
        record = train(trial, data, observer, Partial(partial))
    store.keep(record)
    store.remove_partial(trial)
    observer.finished(record)


def train(
    trial: Trial, data: Any, observer: Observer, partial: Partial | None = None
) -> Record:
    """Trains once; a run whose numbers stop being finite ends with that epoch.

    Args:
        trial: what to run.
        data: the task's, with `examples` training examples.
        observer: told of each epoch.
        partial: what an interrupted run did before, None to keep nothing.

    Raises:
        UsageError: if `held_out` is asked of data that are not images in memory, or
            the batch size exceeds the training set.
        CheckpointError: if what was done before cannot be read, or kept.
    """
    task = chosen_task(trial)
    if trial.held_out:
        if not isinstance(data, Dataset):
            raise UsageError(f"held_out needs images in memory, {task.name} has none")
        data = split(data)
    task.check_batch_size(data)
    setup = task.setup(data, trial.seed, trial.dtype)
    optimizer = find_method(trial.optimizer)
    trainer = task.trainer(setup, optimizer, trial.settings, seed=trial.seed)
    try:
        return _trained(trial, trainer, observer, partial)
    finally:
        setup.sources.close()
        if partial is not None:
            partial.close()


def _trained(
    trial: Trial, trainer: Trainer, observer: Observer, partial: Partial | None
) -> Record:
    epochs, before = ([], 0.0) if partial is None else partial.restore(trainer)
    trainer.compile()
    began = time.perf_counter()
    while len(epochs) < trial.epochs and (not epochs or is_sound(trial, epochs[-1])):
        epochs.append(_epoch(trainer))
        trainer.next_epoch()
        observer.epoch_finished(trial, epochs[-1])
        seconds = before + time.perf_counter() - began
        if partial is not None and len(epochs) < trial.epochs:
            partial.keep(trainer, epochs, seconds)
    outcome = "finished" if is_sound(trial, epochs[-1]) else "diverged"
    seconds = before + time.perf_counter() - began
    return Record(trial, outcome, tuple(epochs), seconds, machine())


def chosen_task(trial: Trial) -> Task:
    """The trial's task, with its length, batch size, schedule and decay."""
    task = find_task(trial.task).resized(trial.epochs, trial.batch_size)
    schedules = {"task": task.schedule, "cosine": Cosine(), "constant": Constant()}
    l2 = task.l2 if trial.l2 is None else trial.l2
    return replace(task, schedule=schedules[trial.schedule], l2=l2)


def is_sound(trial: Trial, epoch: Epoch) -> bool:
    """Whether a run may go on: by its training loss, never by validation data."""
    chooses = (epoch.test_loss_x,) if trial.held_out else ()
    return all(map(math.isfinite, (epoch.train_loss, *chooses)))


def _epoch(trainer: Trainer) -> Epoch:
    columns = score_columns(trainer.run_epoch())
    return Epoch(trainer.total_steps, trainer.mean_loss(), **columns)


def machine() -> dict[str, Any]:
    """What the numbers may depend on beside the trial."""
    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions(),
    }
