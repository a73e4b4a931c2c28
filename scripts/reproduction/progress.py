"""A bar over the runs of an experiment, and a line for each that is finished."""

from arsg_optax.demos.report.progress import RunProgress
from arsg_optax.demos.tasks.configuration import RunConfig
from scripts.reproduction.runs.runner import Observer


class ExperimentProgress(RunProgress, Observer):
    """Also told of runs that need not be done here."""

    def known(self, config: RunConfig) -> None:
        """Counts a recorded run."""
        self._ended += config.epochs or 0
        self._progress.update(self._bar, completed=self._ended)

    def failed(self, config: RunConfig, error: Exception) -> None:
        """Prints that a run failed."""
        self.note(
            f"{config.task}, {config.optimizer}: {config.key()} failed: "
            f"{f'{error}'.partition(chr(10))[0][:200]}"
        )

    def taken(self, config: RunConfig) -> None:
        """Prints that another process has claimed a run."""
        self.note(
            f"{config.task}, {config.optimizer}: another process runs {config.key()}"
        )
