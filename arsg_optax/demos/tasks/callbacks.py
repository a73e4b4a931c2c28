"""What is told of the progress of a run."""

import contextlib
import hashlib
import importlib
import importlib.util
import json
import math
import time
from pathlib import Path
from typing import Any

from arsg_optax.demos.errors import CheckpointError, UsageError
from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.tasks.configuration import encode
from arsg_optax.demos.tasks.records import Epoch, Outcome, RunRecord
from arsg_optax.demos.training.trainer import Trainer

METRICS = "metrics.jsonl"


class Callbacks:
    """Is told of the progress, and does nothing; others override what they show."""

    def note(self, text: str) -> None:
        """A message: what was restored, what was skipped."""

    def started(self, record: RunRecord) -> None:
        """The run is about to be compiled; its trainer stands where it goes on."""

    def compiled(self, record: RunRecord, total: int) -> None:
        """The steps are compiled; there are `total` in the run."""

    def steps_done(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Steps were taken: mean minibatch loss of them, steps a second."""

    def evaluating(self, trainer: Trainer) -> None:
        """An epoch's steps are done, its evaluation starts."""

    def epoch_finished(self, record: RunRecord, epoch: Epoch) -> None:
        """An epoch was evaluated; it stands in the record already."""

    def finished(self, record: RunRecord) -> None:
        """The run ended, however it did."""


class _Numbers(Callbacks):
    """Collects the numbers of steps and of epochs; others override where they go."""

    def steps_done(self, trainer: Trainer, loss: float, rate: float) -> None:
        numbers = {"loss": loss, "steps_per_second": rate}
        self._write("steps", numbers, trainer.total_steps)

    def epoch_finished(self, record: RunRecord, epoch: Epoch) -> None:
        numbers = epoch._asdict() | {"seconds": record.seconds}
        self._write("epoch", numbers, epoch.step)

    def _write(self, group: str, numbers: dict[str, float], step: int) -> None:
        raise NotImplementedError


class Log(_Numbers):
    """Writes `metrics.jsonl`: a line for each second of steps and for each epoch.

    Each is a JSON object with `event` (`"steps"` or `"epoch"`), `total_step` and
    numbers; one that is not finite is null. A run that is resumed takes back what was
    written beyond the checkpoint at which it goes on.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path):
        self._path = directory / METRICS

    def started(self, record: RunRecord) -> None:
        done = record.trainer.total_steps if record.trainer else 0
        kept = [line for line in read_log(self._path) if line["total_step"] <= done]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self._path, text.encode())

    def epoch_finished(self, record: RunRecord, epoch: Epoch) -> None:
        numbers = {"epoch": len(record.epochs), **epoch._asdict()}
        self._write("epoch", {**numbers, "seconds": record.seconds}, epoch.step)

    def _write(self, group: str, numbers: dict[str, float], step: int) -> None:
        shown = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        line = {"event": group, "total_step": step, **shown}
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise CheckpointError(
                f"{self._path} could not be written to: {error}. Make room on the "
                f"disk, then go on with arsg train --resume {self._path.parent}"
            ) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl` that are whole, empty if there is none."""
    lines = []
    # A damaged byte costs its line, no other.
    content = path.read_text(errors="replace") if path.exists() else ""
    for text in content.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict) and isinstance(line.get("total_step"), int):
                lines.append(line)
    return lines


class TensorBoard(_Numbers):
    """Writes TensorBoard's event files.

    Not with a `SummaryWriter`, whose thread ends at a full disk or where the clock goes
    back: then its queue fills, and the run waits for ever.

    Args:
        directory: where to.
    """

    def __init__(self, directory: Path):
        self._directory = directory

    def started(self, record: RunRecord) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        self._kinds: Any = event_pb2
        self._scalar = scalar
        self._directory.mkdir(parents=True, exist_ok=True)
        self._events: Any = EventsWriter(str(self._directory / "events"))
        if done := record.trainer.total_steps if record.trainer else 0:
            # What an interrupted run wrote beyond its checkpoint is taken back.
            start = self._kinds.SessionLog(status=1)  # START
            self._add(step=done + 1, session_log=start)

    def finished(self, record: RunRecord) -> None:
        with contextlib.suppress(OSError):
            self._events.close()

    def _write(self, group: str, numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            if math.isfinite(value):
                self._add(step=step, summary=self._scalar(f"{group}/{name}", value))

    def _add(self, **content: Any) -> None:
        # A full disk loses these numbers; the log and the checkpoints report it.
        with contextlib.suppress(OSError):
            event = self._kinds.Event(wall_time=time.time(), **content)
            self._events.write_event(event)
            self._events.flush()


class WeightsAndBiases(_Numbers):
    """Sends the same numbers to Weights & Biases, under the run's directory as id.

    Args:
        directory: of the run; a run that is resumed goes on under the same id.
        project: its name there.

    Raises:
        UsageError: if the package `wandb` is not installed.
    """

    def __init__(self, directory: Path, project: str):
        if importlib.util.find_spec("wandb") is None:
            raise UsageError("--wandb needs the package wandb: pip install wandb")
        self._directory, self._project = directory.absolute(), project

    def started(self, record: RunRecord) -> None:
        wandb = importlib.import_module("wandb")
        name = hashlib.sha256(str(self._directory).encode()).hexdigest()[:12]
        self._run: Any = wandb.init(
            project=self._project,
            id=name,
            name=self._directory.name,
            dir=str(self._directory),
            config=encode(record.config),
            resume="allow",
        )

    def finished(self, record: RunRecord) -> None:
        self._run.finish(exit_code=0 if record.outcome == Outcome.FINISHED else 1)

    def _write(self, group: str, numbers: dict[str, float], step: int) -> None:
        self._run.log({f"{group}/{k}": v for k, v in numbers.items()}, step=step)
