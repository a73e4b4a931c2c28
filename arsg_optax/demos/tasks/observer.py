"""What is told of the progress of a run."""

from arsg_optax.demos.tasks.results import Row
from arsg_optax.demos.training.trainer import Trainer


class Observer:
    """Is told of the progress, and shows nothing; others override what they show."""

    def note(self, text: str) -> None:
        """A message: what was restored, what was skipped."""

    def compiled(self, trainer: Trainer, total: int, seconds: float) -> None:
        """The steps are compiled; there are `total` in the run."""

    def steps_done(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Steps were taken: mean minibatch loss of them, steps a second."""

    def evaluating(self, trainer: Trainer) -> None:
        """An epoch's steps are done, its evaluation starts."""

    def epoch_finished(self, row: Row) -> None:
        """An epoch was evaluated."""
