"""Live progress in the terminal: a bar, and of a comparison what it shows."""

from collections.abc import Sequence
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

from arsg_optax.demos.report.summary import describe_progress
from arsg_optax.demos.tasks.results import Row, Run


class BarProgress:
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


class LiveProgress(BarProgress):
    """A bar over all epochs of all optimizers, and a line for each finished one.

    Without a terminal only the lines are printed, so that a log stays readable.

    Args:
        console: where to.
        names: the optimizers, in their order.
        epochs: of each.
    """

    def __init__(self, console: Console, names: Sequence[str], epochs: int):
        super().__init__(console, "epochs", len(names) * epochs)
        self._epochs = epochs
        self._width = max(map(len, names))
        self._ended = 0

    def run_started(self, run: Run) -> None:
        """Shows that the optimizer's function is being compiled."""
        self._progress.update(self._bar, description=f"{run.optimizer}: compiling")

    def epoch_finished(self, run: Run, row: Row) -> None:
        """Moves the bar."""
        self._progress.update(
            self._bar,
            completed=self._ended + row.epoch,
            description=f"{run.optimizer}: {describe_progress(row)}",
            rate=f"{row.step / row.seconds:,.0f} steps/s",
        )

    def run_finished(self, run: Run) -> None:
        """Prints the run's line."""
        self._ended += self._epochs
        self._progress.update(self._bar, completed=self._ended)
        result = describe_progress(run.rows[-1])
        self._console.print(
            Text(
                f"{run.optimizer:{self._width}}  {run.status()}: {result} "
                f"({run.seconds:.1f} s, compiled in {run.compile_seconds:.1f} s)"
            )
        )
