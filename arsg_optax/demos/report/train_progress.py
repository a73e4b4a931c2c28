"""Live progress of one run in the terminal."""

import time

from rich.console import Console

from arsg_optax.demos.report.progress import BarProgress
from arsg_optax.demos.report.summary import describe_progress, format_loss
from arsg_optax.demos.tasks.observer import Observer
from arsg_optax.demos.tasks.results import Row
from arsg_optax.demos.training.trainer import Trainer

_QUIET_SECONDS = 30.0


class TrainProgress(BarProgress, Observer):
    """A bar over all steps with rate and remaining time, and a line an epoch.

    Without a terminal there is no bar, but a line every half minute.

    Args:
        console: where to.
    """

    def __init__(self, console: Console):
        super().__init__(console, "steps", None, "compiling")
        self._last_line = time.monotonic()

    def note(self, text: str) -> None:
        """Prints a message."""
        self._print(text)

    def compiled(self, trainer: Trainer, total: int, seconds: float) -> None:
        """Prints the time, and sets the bar's length."""
        self._print(f"compiled in {seconds:.1f} s")
        self._progress.update(self._bar, total=total, completed=trainer.total_steps)

    def steps_done(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Moves the bar."""
        speed = f"{rate:,.0f} steps/s" if rate >= 10 else f"{1 / rate:.2f} s/step"
        text = f"epoch {trainer.epoch}: loss {format_loss(loss)}"
        self._progress.update(
            self._bar, completed=trainer.total_steps, description=text, rate=speed
        )
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line > _QUIET_SECONDS:
            steps = f"step {trainer.step} of {trainer.steps_per_epoch}"
            self._print(f"{text}, {steps}, {speed}")

    def evaluating(self, trainer: Trainer) -> None:
        """Says so."""
        self._progress.update(self._bar, description=f"epoch {trainer.epoch}: scores")

    def epoch_finished(self, row: Row) -> None:
        """Prints the epoch's line."""
        self._print(
            f"epoch {row.epoch}: mean minibatch loss {format_loss(row.train_loss)}, "
            f"{describe_progress(row)} ({row.seconds:.1f} s)"
        )

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(text, highlight=False, soft_wrap=True)
