"""A run under way: steps, evaluations, records and checkpoints in their turn."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from arsg_optax.demos.errors import CheckpointError, DamagedError, UsageError
from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.configuration import RunConfig, encode
from arsg_optax.demos.tasks.configuration_files import FORMAT
from arsg_optax.demos.tasks.material import Material
from arsg_optax.demos.tasks.records import (
    RECORD,
    Epoch,
    Outcome,
    RunRecord,
    make_epoch,
    read,
    write,
)
from arsg_optax.demos.training.checkpoints import Checkpoints
from arsg_optax.demos.training.evaluation import EvaluationStopped, to_floats
from arsg_optax.demos.training.optimizers import Optimizer
from arsg_optax.demos.training.processes import by_first, is_first, of_first
from arsg_optax.demos.training.signals import StopRequest
from arsg_optax.demos.training.versions import machine

CONFIG = "config.json"
_CHECKPOINTS = "checkpoints"


class Session:
    """A run that is under way.

    Args:
        config: of the run.
        optimizer: that it names.
        material: the task with its data.
        directory: of its files, None to keep nothing.
        callbacks: told of the progress.
        scratch: whether the directory serves to go on after an interruption only, so
            that a run that is short or has ended leaves nothing there.
    """

    def __init__(
        self,
        config: RunConfig,
        optimizer: Optimizer,
        material: Material,
        directory: Path | None,
        callbacks: Sequence[Callbacks],
        scratch: bool = False,
    ):
        self._config, self._material = config, material
        self._directory, self._scratch = directory, scratch
        self._callbacks = callbacks if is_first() else ()
        task, resolved = config.chosen_task(), config.resolved()
        self._trainer = task.trainer(
            material.setup,
            optimizer,
            resolved.settings,
            seed=config.seed,
            layout=config.layout(),
        )
        facts = {**machine(), **material.facts()}
        self._record = RunRecord(resolved, machine=facts, trainer=self._trainer)
        self._total = task.epochs * self._trainer.steps_per_epoch
        if config.steps is not None:
            self._total = min(self._total, config.steps)
        self._checkpoints: Checkpoints | None = None
        self._saved = time.perf_counter()
        self._evaluated = 0  # Steps of the run at the last evaluation.

    def keep(self) -> None:
        """Writes what a run is into its directory."""
        by_first(self._keep)

    def _keep(self) -> None:
        directory = self._made_directory()
        self._material.task.kind.keep(self._material.data, directory)
        plain = json.dumps({"format": FORMAT, **encode(self._config)}, indent=2) + "\n"
        write_atomically(directory / CONFIG, plain.encode())

    def lengthen(self) -> None:
        """Writes that the run has more epochs now."""
        self.keep()
        self._write_record()

    def restore(self, extend: int = 0) -> bool:
        """Takes up the newest checkpoint of a run that had `extend` epochs less.

        Returns:
            False if there is none.
        """
        found = self._opened().restore(self._trainer.state)
        if found is None:
            self._tell("note", "no checkpoint yet: starting from the beginning")
            return False
        for message in found.skipped:
            self._tell("note", f"{message}; falling back to the one before")
        trainer, record = self._trainer, self._record
        before = self._record_before(found.epochs)
        epochs = before.config.chosen_task().epochs + extend
        record.config.check_goes_on(replace(before.config, epochs=epochs))
        self._material.check_goes_on(before.machine)
        trainer.state, trainer.epoch, trainer.step = found[:3]
        record.seconds = found.seconds
        record.epochs = before.epochs[: found.epochs]
        self._evaluated = record.epochs[-1].step if record.epochs else 0
        self._tell(
            "note",
            f"continuing after step {trainer.total_steps} "
            f"(epoch {trainer.epoch}, step {trainer.step})",
        )
        return True

    def _record_before(self, epochs: int) -> RunRecord:
        path = self._made_directory() / RECORD
        try:
            before = read(path)
        except UsageError as error:
            raise DamagedError(f"{error}") from error
        if len(before.epochs) < epochs:
            raise DamagedError(
                f"{path} holds {len(before.epochs)} epochs and the checkpoint has done "
                f"{epochs}; start the run anew in another directory"
            )
        return before

    def evaluate(self) -> Epoch:
        """The scores of the state as it is."""
        trainer = self._trainer
        scores = to_floats(trainer.evaluator(trainer.state))
        if self._checkpoints is not None:
            self._checkpoints.close()
        return make_epoch(trainer.total_steps, trainer.mean_loss(), scores)

    def run(self) -> RunRecord:
        """Trains until the end, divergence or a signal.

        Raises:
            CheckpointError: if a checkpoint could not be written, or if the directory
                was deleted.
        """
        try:
            record = self._run()
        except CheckpointError:
            if self._is_gone():
                self._rescue()
            raise
        if self._is_gone():
            self._rescue()
        return record

    def _run(self) -> RunRecord:
        trainer, record = self._trainer, self._record
        if self._checkpoints is not None:
            self._checkpoints.remove_unfinished()
        try:
            with StopRequest() as stop:
                self._tell("started", record)
                open_ = not self._finished()
                if open_:
                    record.compile_seconds = trainer.compile()
                    self._tell("compiled", record, self._total)
                record.outcome = self._loop(stop)
            record.signal = stop.signal
            if open_ and not self._scratch:
                self._write_record()
            if self._checkpoints is not None:
                self._checkpoints.wait()
        finally:
            if self._checkpoints is not None:
                self._checkpoints.close()
        self._tell("finished", record)
        return record

    def _is_gone(self) -> bool:
        """Whether somebody deleted the directory."""
        if self._directory is None or self._scratch:
            return False
        return of_first(not (self._directory / CONFIG).exists()) > 0

    def _rescue(self) -> None:
        """Writes anew what is known; of a run that diverged no state."""
        self._checkpoints = None
        try:
            self.keep()
            self._write_record()
            if self._record.outcome != Outcome.DIVERGED:
                self._save()
                self._opened().wait()
                self._opened().close()
        except OSError as error:
            raise CheckpointError(
                f"{self._directory} was deleted while the run went on, and cannot be "
                f"made anew: {error}"
            ) from error
        raise CheckpointError(
            f"{self._directory} was deleted while the run went on, with its metrics "
            "and earlier checkpoints. Its configuration, record and last state, after "
            f"step {self._trainer.total_steps}, are there again: arsg train --resume "
            f"{self._directory}"
        )

    def _loop(self, stop: StopRequest) -> Outcome:
        trainer = self._trainer
        while not self._finished():
            finite, end = True, self._end_of_epoch()
            if trainer.step < end:
                finite = self._chunk(end)
                stop.agree()
            if (not finite or trainer.step == end) and not stop:
                finite = self._evaluate(stop) and finite
            if not finite:
                return Outcome.INTERRUPTED if stop else Outcome.DIVERGED
            if self._save_due() or stop:
                self._save()
            if stop:
                return Outcome.INTERRUPTED
        return Outcome.FINISHED

    def _finished(self) -> bool:
        return self._evaluated >= self._total

    def _end_of_epoch(self) -> int:
        """The step of the epoch at which it ends, earlier in the last of a limit."""
        steps = self._trainer.steps_per_epoch
        return min(steps, self._total - (self._trainer.epoch - 1) * steps)

    def _chunk(self, end: int) -> bool:
        """Takes some steps; False if the loss stopped being finite."""
        trainer, every = self._trainer, self._config.checkpoint_every
        if every is not None:
            end = min(end, (trainer.step // every + 1) * every)
        began = time.perf_counter()
        losses = trainer.run_chunk(end)
        took = time.perf_counter() - began
        self._record.seconds += took
        # A coarse clock may not have moved.
        rate = len(losses) / max(took, 1e-9)
        loss = float(np.mean(losses, dtype=np.float64))
        self._tell("steps_done", trainer, loss, rate)
        return bool(np.isfinite(losses).all())

    def _evaluate(self, stop: StopRequest) -> bool:
        """Evaluates and starts the next epoch; False if the scores are not sound."""
        trainer, record = self._trainer, self._record
        self._tell("evaluating", trainer)
        began = time.perf_counter()
        try:
            scores = to_floats(trainer.evaluator(trainer.state, stop))
        except EvaluationStopped:
            return True
        record.seconds += time.perf_counter() - began
        epoch = make_epoch(trainer.total_steps, trainer.mean_loss(), scores)
        record.epochs += (epoch,)
        if not self._scratch:
            self._write_record()
        self._tell("epoch_finished", record, epoch)
        self._evaluated = trainer.total_steps
        if trainer.step == trainer.steps_per_epoch:
            trainer.next_epoch()
        return epoch.is_sound(self._config.held_out)

    def _save_due(self) -> bool:
        if self._directory is None:
            return False
        if self._finished():
            return not self._scratch
        trainer, every = self._trainer, self._config.checkpoint_every
        if every is not None:
            return trainer.step % every == 0
        return of_first(time.perf_counter() - self._saved) >= self._config.save_seconds

    def _save(self) -> None:
        if self._directory is None:
            return
        trainer, record = self._trainer, self._record
        checkpoints = self._opened()
        # Before the checkpoint: epochs too many are cut off, epochs too few are lost.
        self._write_record()
        checkpoints.save(
            trainer.state,
            epoch=trainer.epoch,
            step=trainer.step,
            total=trainer.total_steps,
            seconds=record.seconds,
            epochs=len(record.epochs),
        )
        self._saved = time.perf_counter()

    def _write_record(self) -> None:
        directory = self._directory
        if directory is None:
            return
        try:
            by_first(lambda: write(directory / RECORD, self._record))
        except OSError as error:
            raise CheckpointError(
                f"{directory / RECORD} could not be written to: {error}. Make "
                "room on the disk, then go on with arsg train --resume "
                f"{self._directory}"
            ) from error

    def _opened(self) -> Checkpoints:
        if self._checkpoints is None:
            directory = self._made_directory() / _CHECKPOINTS
            self._checkpoints = Checkpoints(directory, self._config.keep)
        return self._checkpoints

    def _made_directory(self) -> Path:
        assert self._directory is not None
        self._directory.mkdir(parents=True, exist_ok=True)
        return self._directory

    def _tell(self, name: str, *arguments: Any) -> None:
        for each in self._callbacks:
            getattr(each, name)(*arguments)
