"""Live progress in the terminal: bars, and a line for what is finished."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from arsg_optax.demos.report.summary import Unit, describe, unit_of
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.records import Epoch, RunRecord
from arsg_optax.demos.training.trainer import Trainer

_QUIET_SECONDS = 30.0


class BarProgress(Callbacks):
    """A bar that shows while a `with` block runs; nothing without a terminal.

    Args:
        console: where to.
        unit: what is counted, in the plural.
        total: how many there are, None if that is not known yet.
        description: before the bar, at first.
    """

    def __init__(
        self, console: Console, unit: str, total: int | None, description: str = ""
    ):
        self._console = console
        self._last_line = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task(description, total=total, rate="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Prints a line."""
        self._last_line = time.monotonic()
        self._console.print(Text(text), soft_wrap=True)


class ShareProgress(BarProgress):
    """A bar over the share of a work that is done.

    Args:
        console: where to.
        description: before the bar.
    """

    def __init__(self, console: Console, description: str):
        super().__init__(console, "%", 100, description)

    def show(self, share: float) -> None:
        """Moves the bar to a share between 0 and 1."""
        self._progress.update(self._bar, completed=int(100 * share))


class StepProgress(BarProgress):
    """The progress of one run: a bar over all steps, and a line per epoch.

    Without a terminal there is no bar, but a line every half minute.

    Args:
        console: where to.
    """

    def __init__(self, console: Console):
        super().__init__(console, "steps", None, "compiling")
        self._unit = Unit()

    def started(self, record: RunRecord) -> None:
        """Notes in which unit losses are shown."""
        self._unit = unit_of(record)

    def compiled(self, record: RunRecord, total: int) -> None:
        """Prints the time, and sets the bar's length."""
        self.note(f"compiled in {record.compile_seconds:.1f} s")
        done = record.trainer.total_steps if record.trainer else 0
        self._progress.update(self._bar, total=total, completed=done)

    def steps_done(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Moves the bar."""
        speed = f"{rate:,.0f} steps/s" if rate >= 10 else f"{1 / rate:.2f} s/step"
        text = f"epoch {trainer.epoch}: loss {self._unit.show(loss)}"
        self._progress.update(
            self._bar, completed=trainer.total_steps, description=text, rate=speed
        )
        quiet = time.monotonic() - self._last_line
        if not self._console.is_terminal and quiet > _QUIET_SECONDS:
            steps = f"step {trainer.step} of {trainer.steps_per_epoch}"
            self.note(f"{text}, {steps}, {speed}")

    def evaluating(self, trainer: Trainer) -> None:
        """Says so."""
        self._progress.update(self._bar, description=f"epoch {trainer.epoch}: scores")

    def epoch_finished(self, record: RunRecord, epoch: Epoch) -> None:
        """Prints the epoch's line."""
        self.note(
            f"epoch {len(record.epochs)}: mean minibatch loss "
            f"{self._unit.show(epoch.train_loss)}, {describe(record, epoch)} "
            f"({record.seconds:.1f} s)"
        )


class RunProgress(BarProgress):
    """The progress of several runs: a bar over their epochs, and a line for each run.

    Without a terminal only the lines are printed, so that a log stays readable.

    Args:
        console: where to.
        epochs: of all runs.
    """

    def __init__(self, console: Console, epochs: int):
        super().__init__(console, "epochs", epochs)
        self._ended = 0

    def started(self, record: RunRecord) -> None:
        """Shows that the optimizer's function is being compiled."""
        name = record.config.optimizer
        self._progress.update(self._bar, description=f"{name}: compiling")

    def epoch_finished(self, record: RunRecord, epoch: Epoch) -> None:
        """Moves the bar."""
        self._progress.update(
            self._bar,
            completed=self._ended + len(record.epochs),
            description=f"{record.config.optimizer}: {describe(record, epoch)}",
            rate=f"{epoch.step / max(record.seconds, 1e-9):,.0f} steps/s",
        )

    def finished(self, record: RunRecord) -> None:
        """Prints the run's line."""
        self._ended += record.config.epochs or 0
        self._progress.update(self._bar, completed=self._ended)
        result = describe(record, record.epochs[-1]) if record.epochs else "no epoch"
        config = record.config
        settings = (
            f"{config.optimizer} {config.learning_rate:.4g}",
            config.settings.described(),
            f"seed {config.seed}" if config.seed else "",
        )
        self.note(
            f"{', '.join(filter(None, settings))}: {record.status()}, {result} "
            f"({record.seconds:.1f} s, compiled in {record.compile_seconds:.1f} s)"
        )
