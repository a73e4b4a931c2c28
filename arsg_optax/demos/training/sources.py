"""Where batches come from: arrays on the device, or a stream from the host."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax.demos.byte_text import sample_windows
from arsg_optax.demos.data import Split
from arsg_optax.demos.text import batchify
from arsg_optax.demos.training.layout import Layout
from arsg_optax.demos.training.problems import Batch

EVALUATION_BATCH = 2048

Augment = Callable[[jax.Array, jax.Array], jax.Array]


def shuffle_key(seed: Any, epoch: Any) -> jax.Array:
    """Key of an epoch's order, the same for every optimizer of one seed."""
    return jax.random.fold_in(jax.random.key(seed), epoch)


def step_key(seed: Any, epoch: Any, step: Any) -> jax.Array:
    """Key of what is random in a step: crops, flips, dropout.

    Epochs count down from the largest number, far from those of :func:`shuffle_key`.
    """
    from_above = jnp.uint32(2**32 - 1) - jnp.asarray(epoch, jnp.uint32)
    return jax.random.fold_in(shuffle_key(seed, from_above), step)


def as_they_are(inputs: jax.Array) -> jax.Array:
    """Stored inputs that a network takes as they are."""
    return inputs


HostBatches = Generator[tuple[np.ndarray, ...], None, None]


@dataclass(frozen=True)
class StreamedBatches:
    """Batches that the host reads anew each time they are gone through.

    Attributes:
        size: of each, in rows.
        read: `read(rows)` iterates over them, NumPy arrays of these rows of each batch
            (None: all), the same ones each time.
        layout: on several devices, None for one. A process reads the rows of its own
            devices.
    """

    size: int
    read: Callable[[np.ndarray | None], HostBatches]
    layout: Layout | None = None

    def __iter__(self) -> Iterator[Batch]:
        layout = self.layout
        rows = None if layout is None else layout.own_rows(self.size)
        # Closed here, as a stream that is left keeps its threads.
        with closing(self.read(rows)) as batches:
            batch: Any
            for batch in batches:
                yield (
                    batch if layout is None else layout.from_own_rows(batch, self.size)
                )


class EvaluationSet(NamedTuple):
    """A set in batches of one size.

    Attributes:
        batches: `(inputs, labels, weights)` each; what fills up the last one has
            weight 0. May be gone through many times.
        prepare: makes the network's inputs of stored ones, traceable.
    """

    batches: Iterable[Batch]
    prepare: Callable[[jax.Array], jax.Array]

    def on(self, layout: Layout) -> "EvaluationSet":
        """The same on several devices."""
        if isinstance(self.batches, StreamedBatches):
            return self._replace(batches=replace(self.batches, layout=layout))
        return self._replace(batches=[layout.over_rows(each) for each in self.batches])


class ResidentSource(Protocol):
    """A training set that stays on the device; batches are made inside `jit`."""

    steps_per_epoch: int
    arrays: Any

    def order(self, key: jax.Array) -> Any:
        """The order of an epoch, traceable."""
        ...

    def batch(self, arrays: Any, order: Any, step: Any, key: jax.Array) -> Batch:
        """The batch of a step of the epoch, traceable."""
        ...


class ImageSource:
    """Images on the device, shuffled anew each epoch.

    Args:
        split: what to train on.
        batch_size: images per step; the incomplete last batch of an epoch is dropped,
            other images each time.
        prepare: makes the network's inputs of stored images.
        augment: `augment(key, images)`, or None.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        prepare: Callable[[jax.Array], jax.Array],
        augment: Augment | None = None,
    ):
        self.arrays = (jnp.asarray(split.images), jnp.asarray(split.labels))
        self.steps_per_epoch = len(split.labels) // batch_size
        self._batch_size = batch_size
        self._prepare = prepare
        self._augment = augment

    def order(self, key: jax.Array) -> jax.Array:
        """Rows `[steps, batch]`."""
        steps = self.steps_per_epoch
        order = jax.random.permutation(key, self.arrays[1].shape[0])
        return order[: steps * self._batch_size].reshape(steps, self._batch_size)

    def batch(self, arrays: Any, order: jax.Array, step: Any, key: jax.Array) -> Batch:
        """Images and labels."""
        rows = jax.lax.dynamic_index_in_dim(order, step, keepdims=False)
        images, labels = (array[rows] for array in arrays)
        images = self._prepare(images)
        if self._augment is not None:
            images = self._augment(key, images)
        return images, labels


class TextSource:
    """Rows of contiguous text, read from left to right.

    Args:
        tokens: int32 `[n]`.
        batch_size: rows.
        length: tokens a step; the incomplete last step is dropped.
    """

    def __init__(self, tokens: np.ndarray, batch_size: int, length: int):
        self.arrays = jnp.asarray(batchify(tokens, batch_size))
        self.steps_per_epoch = (self.arrays.shape[1] - 1) // length
        self._length = length

    def order(self, key: jax.Array) -> None:
        """None: text has an order of its own."""
        del key

    def batch(self, arrays: jax.Array, order: None, step: Any, key: jax.Array) -> Batch:
        """Tokens and the tokens after each, `[batch, length]`."""
        del order, key
        start = step * self._length
        window = jax.lax.dynamic_slice_in_dim(arrays, start, self._length + 1, axis=1)
        return window[:, :-1], window[:, 1:]


class ByteSource:
    """Windows at uniform places of a text, which stays on the device.

    Args:
        text: uint8 `[n]`.
        batch_size: windows a step.
        length: bytes of each.
        steps: of what counts as an epoch, after which there is an evaluation.
    """

    def __init__(self, text: np.ndarray, batch_size: int, length: int, steps: int):
        self.arrays = jnp.asarray(text)
        self.steps_per_epoch = steps
        self._batch_size, self._length = batch_size, length

    def order(self, key: jax.Array) -> None:
        """None: each step draws its places."""
        del key

    def batch(self, arrays: jax.Array, order: None, step: Any, key: jax.Array) -> Batch:
        """Bytes and the bytes after each, int32 `[batch, length]`."""
        del order, step
        return sample_windows(key, arrays, self._batch_size, self._length)


class StreamSource(NamedTuple):
    """Batches from the host.

    Attributes:
        steps_per_epoch: their number.
        batch_size: rows of each.
        read: `read(epoch, start, rows)` iterates over an epoch's batches, NumPy arrays
            of these rows of each (None: all), from step `start` on; the same ones each
            time.
    """

    steps_per_epoch: int
    batch_size: int
    read: Callable[[int, int, np.ndarray | None], HostBatches]

    def batches(self, epoch: int, start: int, layout: Layout | None) -> Iterator[Batch]:
        """Those of an epoch on the devices, from step `start` on."""
        read = partial(self.read, epoch, start)
        return iter(StreamedBatches(self.batch_size, read, layout))


Source = ResidentSource | StreamSource


def resident(source: Source) -> ResidentSource:
    """The source, if its data stay on the device.

    Raises:
        TypeError: if it is a stream.
    """
    if isinstance(source, StreamSource):
        raise TypeError("source must stay on the device, got a stream")
    return source


def evaluation_images(
    split: Split, prepare: Callable[[jax.Array], jax.Array], limit: int | None = None
) -> EvaluationSet:
    """A split's images, or the first `limit` of them, in equal batches."""
    images, labels = split.images[:limit], split.labels[:limit]
    count = -(-len(labels) // EVALUATION_BATCH)
    size = -(-len(labels) // count)
    missing = count * size - len(labels)
    weights = np.ones(len(labels), np.float32)

    def batched(array: np.ndarray) -> list[jax.Array]:
        padding = np.zeros((missing, *array.shape[1:]), array.dtype)
        whole = np.concatenate([array, padding]) if missing else array
        return [jnp.asarray(part) for part in np.split(whole, count)]

    batches = zip(*map(batched, (images, labels, weights)), strict=True)
    return EvaluationSet(tuple(batches), prepare)


def evaluation_text(tokens: np.ndarray, batch_size: int, length: int) -> EvaluationSet:
    """Text in rows, cut into steps of `length` tokens; the rest is dropped.

    Raises:
        ValueError: if there is not one whole step.
    """
    rows = batchify(tokens, batch_size)
    steps = (rows.shape[1] - 1) // length
    if steps < 1:
        raise ValueError(
            f"tokens must hold {batch_size} rows of {length + 1}, got {tokens.size}"
        )

    batches = []
    for start in range(0, steps * length, length):
        window = jnp.asarray(rows[:, start : start + length + 1])
        inputs, labels = window[:, :-1], window[:, 1:]
        batches.append((inputs, labels, jnp.ones(labels.shape, jnp.float32)))
    return EvaluationSet(tuple(batches), as_they_are)


def evaluation_windows(
    text: np.ndarray, batch_size: int, length: int, limit: int
) -> EvaluationSet:
    """Windows that are evenly spread over a text, about `limit` bytes in whole batches.

    Raises:
        ValueError: if the text is shorter than one batch.
    """
    most = text.size // (length + 1)
    count = min(max(1, limit // (batch_size * length)), most // batch_size)
    if count < 1:
        raise ValueError(
            f"text must hold {batch_size} windows of {length + 1} bytes, got "
            f"{text.size} bytes"
        )
    windows = batchify(text, count * batch_size)[:, : length + 1].astype(np.int32)
    # A batch's windows come from all over the text, too.
    batches = []
    for first in range(count):
        rows = jnp.asarray(windows[first::count])
        weights = jnp.ones((batch_size, length), jnp.float32)
        batches.append((rows[:, :-1], rows[:, 1:], weights))
    return EvaluationSet(tuple(batches), as_they_are)


class Sources(NamedTuple):
    """All that a run reads.

    Attributes:
        train: the source of training batches.
        train_evaluation: the training set, or a part of it, for evaluation.
        test: the test or validation set.
    """

    train: Source
    train_evaluation: EvaluationSet
    test: EvaluationSet
