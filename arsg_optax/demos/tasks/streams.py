"""Images too many for the device, from the host's worker processes."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from arsg_optax.demos.imagenet import (
    FolderSplit,
    HubSplit,
    ImageSplit,
    ImageStreams,
    evaluation_batches,
    training_batches,
)
from arsg_optax.demos.tasks.task import DTYPES, Setup, Task
from arsg_optax.demos.training.problems import ImageProblem
from arsg_optax.demos.training.sources import EvaluationSet, Sources, StreamSource


class _Again:
    """Batches that can be gone through many times, read anew each time."""

    def __init__(self, make: Callable[[], Iterator[Any]]):
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return self.make()


class StreamedImages(NamedTuple):
    """An :class:`ImageStreams`; the number of classes is the data's.

    Attributes:
        size: height and width of the network's images.
        evaluated: training images that are evaluated after an epoch.
        workers: processes that read and decode, 0 for threads of this one; None for
            half of the cores.
    """

    size: int = 224
    evaluated: int = 2_000
    workers: int | None = None

    def count(self, data: ImageStreams) -> int:
        """Training images."""
        return data.train.count()

    def first(self, data: ImageStreams, count: int) -> ImageStreams:
        """Training images spread over the classes, and all validation images."""
        return data._replace(train=_spread(data.train, count))

    def setup(self, task: Task, data: ImageStreams, seed: int, dtype: str) -> Setup:
        """Classification."""

        workers = self.workers
        if workers is None:
            workers = (os.cpu_count() or 1) // 2

        # A run that ends within an epoch leaves the iterator, and its processes, open.
        opened = ExitStack()

        def batches(epoch: int, start: int) -> Iterator[Any]:
            found: Any = training_batches(
                data.train,
                batch_size=task.batch_size,
                size=self.size,
                seed=seed,
                epoch=epoch,
                start=start,
                workers=workers,
            )
            return opened.enter_context(closing(found))

        def evaluation(split: ImageSplit, limit: int | None) -> EvaluationSet:
            make = partial(
                evaluation_batches,
                split,
                batch_size=min(task.batch_size, split.count()),
                size=self.size,
                limit=limit,
                workers=workers,
            )
            return EvaluationSet(_Again(make), lambda images: images)

        def make_model(rngs: Any) -> Any:
            classes = len(data.train.classes)
            return task.make_model(rngs=rngs, classes=classes, dtype=DTYPES[dtype])

        sources = Sources(
            StreamSource(data.train.count() // task.batch_size, batches, opened.close),
            evaluation(data.train, self.evaluated),
            evaluation(data.validation, None),
        )
        return Setup(ImageProblem(make_model), sources)

    def keep(self, data: ImageStreams, directory: Path) -> None:
        """The classes' names, a line each."""
        text = "\n".join(data.train.classes) + "\n"
        (directory / "classes.txt").write_text(text)


def _spread(split: ImageSplit, count: int) -> ImageSplit:
    rows = [i * split.count() // count for i in range(min(count, split.count()))]
    if isinstance(split, HubSplit):
        return split._replace(rows=split.rows.select(rows))
    files = [split.files[row] for row in rows]
    return FolderSplit(files, [split.labels[row] for row in rows], split.classes)
