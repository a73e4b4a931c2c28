"""A run under way: steps, evaluations, logs and checkpoints in their turn."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arsg_optax.demos.tasks import Task
from arsg_optax.demos.tasks.configuration import Configuration
from arsg_optax.demos.tasks.observer import Observer
from arsg_optax.demos.tasks.results import Outcome, Row, Run, make_row, new_run
from arsg_optax.demos.training.checkpoints import Checkpoints
from arsg_optax.demos.training.evaluation import EvaluationStopped, to_floats
from arsg_optax.demos.training.logs import METRICS, Logs, read_metrics
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.demos.training.signals import StopRequest
from arsg_optax.demos.training.trainer import Trainer

_CHECKPOINTS = "checkpoints"


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


class Session:
    """A run that is under way.

    Args:
        configuration: checked.
        task: that it names, resized.
        data: of the task.
        directory: of the run's files.
        observer: told of the progress.
    """

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
        optimizer = OPTIMIZERS[configuration.optimizer]
        self._setup = task.setup(data, configuration.seed, configuration.dtype)
        self._trainer = task.trainer(
            self._setup, optimizer, settings, seed=configuration.seed
        )
        self._run = new_run(optimizer, settings)
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
                if not self._finished():
                    seconds = self._run.compile_seconds = trainer.compile()
                    self._observer.compiled(trainer, self._total_steps(), seconds)
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
            trainer.mean_loss(),
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
