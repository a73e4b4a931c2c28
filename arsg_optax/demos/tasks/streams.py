"""Images too many for the device, which the host reads during training."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arsg_optax.demos.imagenet import (
    FolderSplit,
    ImageFolders,
    evaluation_batches,
    training_batches,
)
from arsg_optax.demos.tasks.task import DTYPES, Setup, Task
from arsg_optax.demos.training.problems import ClassificationProblem
from arsg_optax.demos.training.sources import (
    EvaluationSet,
    HostBatches,
    Sources,
    StreamedBatches,
    StreamSource,
    as_they_are,
)


class StreamedImages(NamedTuple):
    """An :class:`ImageFolders`; the number of classes is the data's.

    Attributes:
        size: height and width of the network's images.
        evaluated: training images that are evaluated after an epoch.
        workers: threads that read and decode, None or 0 for one per core.
    """

    size: int = 224
    evaluated: int = 2_000
    workers: int | None = None

    def count(self, data: ImageFolders) -> int:
        """Training images."""
        return len(data.train.files)

    def first(self, data: ImageFolders, count: int) -> ImageFolders:
        """Training images spread over the classes, and all validation images."""
        return data._replace(train=data.train.spread(count))

    def setup(self, task: Task, data: ImageFolders, seed: int, dtype: str) -> Setup:
        """Classification."""
        numbers: Any = {"size": self.size, "threads": self.workers}

        def read(epoch: int, start: int, rows: np.ndarray | None) -> HostBatches:
            return training_batches(
                data.train,
                batch_size=task.batch_size,
                seed=seed,
                epoch=epoch,
                start=start,
                rows=rows,
                **numbers,
            )

        def evaluation(split: FolderSplit, limit: int | None) -> EvaluationSet:
            batch_size = min(task.batch_size, len(split.files))
            options = {"batch_size": batch_size, "limit": limit, **numbers}

            def read(rows: np.ndarray | None) -> HostBatches:
                return evaluation_batches(split, rows=rows, **options)

            return EvaluationSet(StreamedBatches(batch_size, read), as_they_are)

        def make_model(rngs: Any) -> Any:
            classes = len(data.train.classes)
            return task.make_model(rngs=rngs, classes=classes, dtype=DTYPES[dtype])

        sources = Sources(
            StreamSource(self.count(data) // task.batch_size, task.batch_size, read),
            evaluation(data.train, self.evaluated),
            evaluation(data.validation, None),
        )
        return Setup(ClassificationProblem(make_model), sources)

    def keep(self, data: ImageFolders, directory: Path) -> None:
        """The classes' names, a line each."""
        text = "\n".join(data.train.classes) + "\n"
        (directory / "classes.txt").write_text(text)
