"""A whole run: data, training, evaluation, logs, checkpoints."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.results import Outcome, Row, Run, make_row
from arsg_optax.demos.tasks import Task
from arsg_optax.demos.training.checkpoints import Checkpoints
from arsg_optax.demos.training.configuration import (
    CONFIGURATION,
    Configuration,
    read_configuration,
)
from arsg_optax.demos.training.evaluation import EvaluationStopped, to_floats
from arsg_optax.demos.training.logs import METRICS, Logs, read_metrics
from arsg_optax.demos.training.signals import StopRequest
from arsg_optax.demos.training.trainer import Trainer

_CHECKPOINTS = "checkpoints"


class Observer(Protocol):
    """What is told of the progress of a run."""

    def note(self, text: str) -> None:
        """A message: what was restored, what was skipped."""

    def compiled(self, trainer: Trainer, total: int, seconds: float) -> None:
        """The steps are compiled; there are `total` in the run."""

    def steps_done(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Steps were taken: mean minibatch loss of them, steps a second."""

    def evaluating(self, trainer: Trainer) -> None:
        """An epoch's steps are done, its evaluation starts."""

    def epoch_finished(self, row: Row) -> None:
        """An epoch was evaluated."""


class Silent:
    """An observer that shows nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def compiled(self, trainer: Trainer, total: int, seconds: float) -> None:
        """Nothing."""

    def steps_done(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Nothing."""

    def evaluating(self, trainer: Trainer) -> None:
        """Nothing."""

    def epoch_finished(self, row: Row) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Result:
    """What a run left.

    Attributes:
        run: its rows, one an epoch, and how it ended.
        trainer: with the final state; `trainer.evaluator.own_point(trainer.state)`
            gives the parameters and model state to use.
        directory: of its files.
        signal: that interrupted it, None without.
    """

    run: Run
    trainer: Trainer
    directory: Path
    signal: int | None = None


def train(
    task: str = "digits-mlp",
    optimizer: str = "arsg",
    *,
    out: Path,
    data_dir: Path | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Result:
    """Trains a task with one optimizer, what `arsg train` does.

    Args:
        task: its name.
        optimizer: its name.
        out: directory of the run, new or empty.
        data_dir: directory of data sets, None for the environment's or the Hub.
        observer: told of the progress.
        **options: the other fields of :class:`Configuration`.

    Raises:
        UsageError: for a request that cannot be run.
        DataError: if the data cannot be had.
        CheckpointError: if a checkpoint cannot be written; the last one is kept.
    """
    configuration = Configuration(task, optimizer, **options)
    configuration.check()
    if (out / CONFIGURATION).exists():
        raise UsageError(
            f"out must be a new directory, got {out} with a run in it; name another, "
            f"or continue that one with resume"
        )
    chosen = configuration.chosen_task()
    data = _load(chosen, configuration, data_dir)
    out.mkdir(parents=True, exist_ok=True)
    chosen.kind.keep(data, out)
    configuration.write(out)
    return _Session(configuration, chosen, data, out, observer or Silent()).run()


def resume(
    directory: Path, *, data_dir: Path | None = None, observer: Observer | None = None
) -> Result:
    """Continues a run from its newest whole checkpoint, bit for bit.

    Without a checkpoint it starts from the beginning; a finished run is left as it is.

    Args:
        directory: of the run.
        data_dir: as for :func:`train`.
        observer: told of the progress.

    Raises:
        UsageError: if there is no run in the directory.
        DataError: if the data cannot be had.
        CheckpointError: if there are checkpoints and none can be read.
    """
    configuration = read_configuration(directory)
    configuration.check()
    chosen = configuration.chosen_task()
    data = _load(chosen, configuration, data_dir)
    session = _Session(configuration, chosen, data, directory, observer or Silent())
    session.restore()
    return session.run()


def _load(task: Task, configuration: Configuration, data_dir: Path | None) -> Any:
    data = task.load(data_dir)
    if configuration.examples is not None:
        data = task.kind.first(data, configuration.examples)
    task.check_batch_size(data)
    return data


class _Session:
    """A run that is under way."""

    def __init__(
        self,
        configuration: Configuration,
        task: Task,
        data: Any,
        directory: Path,
        observer: Observer,
    ):
        self._directory, self._observer = directory, observer
        self._task, self._every = task, configuration.checkpoint_every
        self._limit = configuration.steps
        settings = configuration.chosen_settings(task)
        optimizer = configuration.chosen_optimizer()
        self._setup = task.setup(data, configuration.seed, configuration.dtype)
        steps = self._setup.sources.train.steps_per_epoch
        self._trainer = Trainer(
            self._setup.problem,
            self._setup.sources,
            task.transform(optimizer, settings, steps),
            optimizer.points,
            seed=configuration.seed,
        )
        self._run = Run(
            optimizer.name,
            optimizer.baseline,
            optimizer.points.name,
            settings.learning_rate,
            ", ".join(f"{key} {value}" for key, value in settings.options.items()),
        )
        self._checkpoints = Checkpoints(directory / _CHECKPOINTS, configuration.keep)
        self._seconds = 0.0
        self._evaluated = 0  # Steps of the run at the last evaluation.

    def restore(self) -> None:
        """Takes up the newest checkpoint."""
        found = self._checkpoints.restore(self._trainer.state)
        if found is None:
            self._observer.note("no checkpoint yet: starting from the beginning")
            return
        for text in found.skipped:
            self._observer.note(f"{text}; falling back to the one before")
        trainer = self._trainer
        trainer.state, trainer.epoch, trainer.step = found[:3]
        self._seconds = found.seconds
        if trainer.step == 0:
            self._evaluated = trainer.total_steps
        self._run.rows = [
            Row(**{name: line[name] for name in Row._fields})
            for line in read_metrics(self._directory / METRICS)
            if line["event"] == "epoch" and line["epoch"] < trainer.epoch
        ]
        self._observer.note(
            f"continuing after step {trainer.total_steps} "
            f"(epoch {trainer.epoch}, step {trainer.step})"
        )

    def run(self) -> Result:
        """Trains until the end, divergence or a signal."""
        trainer = self._trainer
        logs = Logs(self._directory, trainer.epoch, trainer.total_steps)
        try:
            with StopRequest() as stop:
                self._run.compile_seconds = trainer.compile()
                self._observer.compiled(
                    trainer, self._total_steps(), self._run.compile_seconds
                )
                self._run.outcome = self._loop(logs, stop)
            self._checkpoints.wait()
        finally:
            logs.close()
            self._setup.sources.close()
            self._checkpoints.close()
        return Result(self._run, trainer, self._directory, stop.signal)

    def _loop(self, logs: Logs, stop: StopRequest) -> Outcome:
        trainer = self._trainer
        while not self._finished():
            finite = True
            if trainer.step < self._end_of_epoch():
                finite = self._chunk(logs)
            if finite and trainer.step == self._end_of_epoch() and not stop:
                finite = self._evaluate(logs, stop)
            if not finite:
                return Outcome.DIVERGED
            if self._checkpoint_due() or stop:
                self._save()
            if stop:
                return Outcome.INTERRUPTED
        return Outcome.FINISHED

    def _total_steps(self) -> int:
        total = self._task.epochs * self._trainer.steps_per_epoch
        return total if self._limit is None else min(total, self._limit)

    def _finished(self) -> bool:
        trainer = self._trainer
        limited = self._limit is not None and trainer.total_steps >= self._limit
        return trainer.epoch > self._task.epochs or (
            limited and self._evaluated == trainer.total_steps
        )

    def _end_of_epoch(self) -> int:
        """The step of the epoch at which it ends, earlier in the last of a limit."""
        steps = self._trainer.steps_per_epoch
        if self._limit is None:
            return steps
        return min(steps, self._limit - (self._trainer.epoch - 1) * steps)

    def _chunk(self, logs: Logs) -> bool:
        """Takes some steps; False if the loss stopped being finite."""
        trainer, end = self._trainer, self._end_of_epoch()
        if self._every is not None:
            end = min(end, (trainer.step // self._every + 1) * self._every)
        began = time.perf_counter()
        losses = trainer.run_chunk(end)
        took = time.perf_counter() - began
        self._seconds += took
        loss, rate = float(np.mean(losses, dtype=np.float64)), len(losses) / took
        numbers = {"loss": loss, "steps_per_second": rate}
        logs.write("steps", trainer.epoch, trainer.total_steps, numbers)
        self._observer.steps_done(trainer, loss, rate)
        return bool(np.isfinite(losses).all())

    def _evaluate(self, logs: Logs, stop: StopRequest) -> bool:
        """Evaluates and starts the next epoch; False if the scores are not finite."""
        trainer = self._trainer
        self._observer.evaluating(trainer)
        began = time.perf_counter()
        try:
            scores = to_floats(trainer.evaluator(trainer.state, stop))
        except EvaluationStopped:
            return True
        self._seconds += time.perf_counter() - began
        row = make_row(
            scores,
            float(np.mean(trainer.epoch_losses(), dtype=np.float64)),
            run=self._run,
            epoch=trainer.epoch,
            step=trainer.total_steps,
            seconds=self._seconds,
        )
        self._run.rows.append(row)
        logs.write("epoch", trainer.epoch, trainer.total_steps, row._asdict())
        self._observer.epoch_finished(row)
        self._evaluated = trainer.total_steps
        if trainer.step == trainer.steps_per_epoch:
            trainer.next_epoch()
        return row.is_finite()

    def _checkpoint_due(self) -> bool:
        trainer = self._trainer
        if self._evaluated == trainer.total_steps:
            return True
        return self._every is not None and trainer.step % self._every == 0

    def _save(self) -> None:
        trainer = self._trainer
        self._checkpoints.save(
            trainer.state,
            epoch=trainer.epoch,
            step=trainer.step,
            total=trainer.total_steps,
            seconds=self._seconds,
        )
