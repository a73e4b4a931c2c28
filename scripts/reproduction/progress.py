"""A bar over the runs of an experiment."""

from rich.text import Text

from arsg_optax.demos.report.progress import BarProgress
from scripts.reproduction.records.store import Epoch, Record
from scripts.reproduction.records.trial import Trial


class RunProgress(BarProgress):
    """A bar over the runs of an experiment, and a line for each that is finished."""

    def known(self, trial: Trial) -> None:
        """Counts a recorded run."""
        self._progress.advance(self._bar)

    def taken(self, trial: Trial) -> None:
        """Tells of a run that another process does."""
        self._print(
            f"{trial.task}, {trial.optimizer}: another process runs {trial.key()}"
        )

    def started(self, trial: Trial) -> None:
        """Shows what is being compiled."""
        self._progress.update(self._bar, description=f"{trial.optimizer}: compiling")

    def epoch_finished(self, trial: Trial, epoch: Epoch) -> None:
        """Shows where the run stands."""
        self._progress.update(
            self._bar,
            description=f"{trial.optimizer}: step {epoch.step:,}, train loss "
            f"{epoch.train_loss:.4f}",
        )

    def finished(self, record: Record) -> None:
        """Prints the run's line."""
        self._progress.advance(self._bar)
        trial, last = record.trial, record.epochs[-1]
        settings = (
            f"{trial.optimizer} {trial.learning_rate:.4g}",
            trial.settings.described(),
            f"seed {trial.seed}",
        )
        self._print(
            f"{trial.task}, {', '.join(filter(None, settings))}: {record.outcome}, "
            f"train loss {last.train_loss:.4f}, "
            f"test accuracy {last.test_accuracy_x:.2%} ({record.seconds:.1f} s)"
        )

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)
