"""What a run leaves: one record, one small JSON file, written as a whole or not at all.

`arsg train` keeps it as `record.json`, `arsg compare` one for each optimizer, and the
reproduction one for each run of a paper's experiment.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.tasks.configuration import RunConfig, TaskConfig, encode
from arsg_optax.demos.tasks.configuration_files import decode
from arsg_optax.demos.training.evaluation import PointScores

# Of the file. The first format, 1, had neither this number nor a checksum.
FORMAT = 2
RECORD = "record.json"


class Outcome(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


class Epoch(NamedTuple):
    """What is known after an epoch; losses in nats, accuracies from 0 to 1.

    y is where gradients are taken, x the optimizer's own evaluation point (the same
    where it has none). A number that is not finite is kept as NaN.

    Attributes:
        step: optimizer steps so far.
        train_loss: mean of the epoch's minibatch losses, each before its step.
        whole_train_loss_y: over the training set, or the first part of it that the
            task evaluates, at y.
        whole_train_loss_x: the same at x.
        test_loss_y: over the test or validation data, at y.
        test_loss_x: the same at x.
        test_accuracy_y: over the test or validation data, at y.
        test_accuracy_x: the same at x.
    """

    step: int
    train_loss: float
    whole_train_loss_y: float
    whole_train_loss_x: float
    test_loss_y: float
    test_loss_x: float
    test_accuracy_y: float
    test_accuracy_x: float

    def is_finite(self) -> bool:
        """Whether all its numbers are finite."""
        return all(map(math.isfinite, self))

    def is_sound(self, held_out: bool) -> bool:
        """Whether a run may go on: by its training loss, never by test data.

        Args:
            held_out: whether a part of the training set stands in for test data.
        """
        trained = (self.train_loss, self.whole_train_loss_y, self.whole_train_loss_x)
        chooses = (self.test_loss_x,) if held_out else ()
        return all(map(math.isfinite, (*trained, *chooses)))


def make_epoch(step: int, train_loss: float, scores: PointScores) -> Epoch:
    """An epoch of its scores."""
    train_y, train_x, test_y, test_x = scores
    return Epoch(
        step,
        train_loss,
        *(float(each.loss) for each in (train_y, train_x, test_y, test_x)),
        *(float(each.accuracy) for each in (test_y, test_x)),
    )


@dataclass
class RunRecord:
    """A run: what was run, and what came of it so far.

    Attributes:
        config: resolved, so that it holds without the task's presets.
        outcome: how it ended; interrupted while it has not.
        epochs: one entry each; a diverged run's last one holds NaN.
        seconds: training and evaluation, without compilation.
        machine: processor, versions.
        compile_seconds: tracing and compilation, before the first step; not kept.
        trainer: the `Trainer` with the final state, of a run in this process;
            `trainer.evaluator.own_point(trainer.state)` gives the parameters and model
            state to use.
        signal: that interrupted it, None without.
    """

    config: RunConfig
    outcome: str = Outcome.INTERRUPTED
    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0
    machine: dict[str, Any] = field(default_factory=dict)
    compile_seconds: float = field(default=0.0, compare=False)
    trainer: Any = field(default=None, compare=False, repr=False)
    signal: int | None = field(default=None, compare=False)

    def status(self) -> str:
        """The outcome in words, with the epoch where it matters."""
        if self.outcome == Outcome.DIVERGED:
            return f"diverged in epoch {len(self.epochs)}"
        if self.outcome == Outcome.INTERRUPTED:
            return f"interrupted after {len(self.epochs)} epochs"
        return str(self.outcome)


def write(path: Path, record: RunRecord) -> Path:
    """Writes a record, in place of another of its name."""
    return write_atomically(path, text(record).encode())


def text(record: RunRecord) -> str:
    """A record as its file holds it, one line per epoch."""
    head = {
        "trial": encode(record.config),
        "outcome": str(record.outcome),
        "seconds": round(record.seconds, 2),
        "machine": record.machine,
        "columns": list(Epoch._fields),
    }
    epochs = [list(map(_kept, epoch)) for epoch in record.epochs]
    marks = {"format": FORMAT, "checksum": _checksum({**head, "epochs": epochs})}
    start = json.dumps({**marks, **head}, indent=1, allow_nan=False)
    lines = ",\n  ".join(map(json.dumps, epochs))
    return start.removesuffix("\n}") + ',\n "epochs": [\n  ' + lines + "\n ]\n}\n"


# A damaged file may hold anything, nested as deep as it likes.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError),
    *(AttributeError, OverflowError, RecursionError),
)


def read(path: Path) -> RunRecord:
    """The record of a file, of this format or of the first.

    Raises:
        UsageError: if it holds none.
    """
    try:
        return _record(json.loads(path.read_text()))
    except _UNREADABLE as error:
        raise UsageError(
            f"{path} holds no record of a run ({error}); delete it to run that again"
        ) from error


def _record(held: dict[str, Any]) -> RunRecord:
    if "format" in held or "checksum" in held:
        if (form := held.pop("format")) != FORMAT:
            raise ValueError(f"its format is {form}, this version reads {FORMAT}")
        if held.pop("checksum") != _checksum(held):
            raise ValueError("its checksum does not fit its content")
    if held["columns"] != list(Epoch._fields):
        raise ValueError(f"columns {held['columns']}")
    trial = dict(held["trial"])
    if trial.pop("generated", False):
        raise ValueError("its data were generated")
    config = decode(trial)
    config = replace(config, preset=config.kept_preset())
    TaskConfig.check(config)
    epochs, outcome = tuple(map(_epoch, held["epochs"])), Outcome(held["outcome"])
    seconds, facts = held["seconds"], held["machine"]
    if not (_is_number(seconds) and seconds >= 0 and isinstance(facts, dict)):
        raise ValueError(f"seconds {seconds!r:.80} and machine {facts!r:.80}")
    wanted = config.epochs or 0
    if len(epochs) > wanted or not (epochs or outcome == Outcome.INTERRUPTED):
        raise ValueError(f"{len(epochs)} of {wanted} epochs")
    complete = len(epochs) == wanted or config.steps is not None
    if outcome == Outcome.FINISHED and not complete:
        raise ValueError(f"finished after {len(epochs)} of {wanted} epochs")
    return RunRecord(config, outcome, epochs, seconds, facts)


def _epoch(row: Iterable[Any]) -> Epoch:
    """The epoch of a row; `ValueError` for what no evaluation gives."""
    values = list(row)
    known = [value for value in values if value is not None]
    epoch = Epoch._make(math.nan if value is None else value for value in values)
    accuracies = epoch.test_accuracy_y, epoch.test_accuracy_x
    possible = all(map(_is_number, known)) and isinstance(epoch.step, int)
    if not possible or epoch.step < 1 or min(accuracies) < 0 or max(accuracies) > 1:
        raise ValueError(f"an epoch of {values!r:.200}")
    return epoch


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _kept(value: float) -> float | int | None:
    """A number as JSON holds it: nine digits, which give every float32 back; no NaN."""
    if isinstance(value, int):
        return value
    return float(f"{value:.9g}") if math.isfinite(value) else None


def _checksum(held: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits of all that a file holds but its own marks."""
    plain = json.dumps(held, sort_keys=True, allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]
