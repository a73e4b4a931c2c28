"""Live progress of a comparison in the terminal."""

from collections.abc import Sequence
from types import TracebackType

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
from arsg_optax.demos.results import Row, Run


class LiveProgress:
    """A bar over all epochs of all optimizers, and a line for each finished one.

    Without a terminal only the lines are printed, so that a log stays readable.

    Args:
        console: where to.
        names: the optimizers, in their order.
        epochs: of each.
    """

    def __init__(self, console: Console, names: Sequence[str], epochs: int):
        self._console = console
        self._epochs = epochs
        self._width = max(map(len, names))
        self._ended = 0
        self._progress = Progress(
            TextColumn("{task.description}", table_column=None),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("", total=len(names) * epochs, rate="")

    def __enter__(self) -> "LiveProgress":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

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
