"""The kinds of data that stay on the device: images, words and bytes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from arsg_optax.demos.byte_text import ByteSet
from arsg_optax.demos.data import Dataset, Scaling, Split
from arsg_optax.demos.tasks.task import DTYPES, Setup, Task
from arsg_optax.demos.text import TextSet, save_vocabulary
from arsg_optax.demos.training.problems import ClassificationProblem, LanguageProblem
from arsg_optax.demos.training.sources import (
    Augment,
    ByteSource,
    ImageSource,
    Sources,
    TextSource,
    as_they_are,
    evaluation_images,
    evaluation_text,
    evaluation_windows,
)


def first_images(data: Dataset, count: int) -> Dataset:
    """A data set with the first `count` of its training images only."""
    train = Split(*(array[:count] for array in data.train))
    return data._replace(train=train)


def _inputs(data: Dataset) -> Callable[[jax.Array], jax.Array]:
    """From stored images to the network's inputs."""
    shift, factor = data.scaling
    if data.scaling == Scaling():
        return as_they_are
    return lambda images: (images.astype(jnp.float32) - shift) * factor


class Images(NamedTuple):
    """A :class:`Dataset`, which stays on the device.

    Attributes:
        augment: `augment(key, images)` in training, or None.
        evaluated: training images that are evaluated after an epoch, None for all.
    """

    augment: Augment | None = None
    evaluated: int | None = None

    def count(self, data: Dataset) -> int:
        """Training images."""
        return len(data.train.labels)

    def first(self, data: Dataset, count: int) -> Dataset:
        """The first training images, and the whole test set."""
        return first_images(data, count)

    def setup(self, task: Task, data: Dataset, seed: int, dtype: str) -> Setup:
        """Classification."""
        del seed
        prepare = _inputs(data)
        sources = Sources(
            ImageSource(data.train, task.batch_size, prepare, self.augment),
            evaluation_images(data.train, prepare, self.evaluated),
            evaluation_images(data.test, prepare),
        )
        make_model = partial(task.make_model, dtype=DTYPES[dtype])
        return Setup(ClassificationProblem(lambda rngs: make_model(rngs=rngs)), sources)

    def keep(self, data: Dataset, directory: Path) -> None:
        """Nothing: the classes are the data set's."""


class Text(NamedTuple):
    """A :class:`TextSet`.

    Attributes:
        length: tokens a step of each row.
        evaluated: training tokens that are evaluated after an epoch.
    """

    length: int = 35
    evaluated: int | None = 200_000

    def count(self, data: TextSet) -> int:
        """Rows that leave at least one step each; of the shortest split."""
        shortest = min(data.train.size, data.validation.size)
        return shortest // (self.length + 1)

    def first(self, data: TextSet, count: int) -> TextSet:
        """The first training tokens, and the whole other splits."""
        return data._replace(train=data.train[:count])

    def setup(self, task: Task, data: TextSet, seed: int, dtype: str) -> Setup:
        """Prediction of the next token."""
        del seed

        def make_model(rngs: Any) -> Any:
            words = len(data.vocabulary)
            return task.make_model(words, rngs=rngs, dtype=DTYPES[dtype])

        shape = (task.batch_size, self.length)
        sources = Sources(
            TextSource(data.train, *shape),
            evaluation_text(data.train[: self.evaluated], *shape),
            evaluation_text(data.validation, *shape),
        )
        return Setup(LanguageProblem(make_model, task.batch_size), sources)

    def keep(self, data: TextSet, directory: Path) -> None:
        """The vocabulary: a network's outputs mean nothing without it."""
        save_vocabulary(directory / "vocabulary.txt", data.vocabulary)


class Bytes(NamedTuple):
    """A :class:`ByteSet`, which stays on the device.

    Attributes:
        length: bytes of a window.
        steps: of what counts as an epoch.
        evaluated: bytes of each part that are evaluated after an epoch, about.
    """

    length: int
    steps: int
    evaluated: int

    def count(self, data: ByteSet) -> int:
        """Windows that do not overlap; of the shorter part."""
        return min(data.train.size, data.validation.size) // (self.length + 1)

    def first(self, data: ByteSet, count: int) -> ByteSet:
        """The first training bytes, and all for validation."""
        return data._replace(train=data.train[:count])

    def setup(self, task: Task, data: ByteSet, seed: int, dtype: str) -> Setup:
        """Prediction of the next byte."""
        del seed
        make_model = partial(task.make_model, dtype=DTYPES[dtype])
        shape = (task.batch_size, self.length)
        sources = Sources(
            ByteSource(data.train, *shape, self.steps),
            evaluation_windows(data.train, *shape, self.evaluated),
            evaluation_windows(data.validation, *shape, self.evaluated),
        )
        return Setup(ClassificationProblem(lambda rngs: make_model(rngs=rngs)), sources)

    def keep(self, data: ByteSet, directory: Path) -> None:
        """Nothing: the bytes are their own vocabulary."""
