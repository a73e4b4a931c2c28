"""Batches made by threads or worker processes, ahead of their use."""

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, cast

import numpy as np

Batch = tuple[np.ndarray, np.ndarray]


def read_batches(
    make: Callable[[Any], tuple[np.ndarray, np.generic]],
    rows: np.ndarray,
    batch_size: int,
    workers: int,
) -> Iterator[Batch]:
    """Examples in the order of their rows, whatever makes them.

    Args:
        make: gives the input and label of a row; with workers it is pickled.
        rows: int64 `[n]`, n a multiple of `batch_size`.
        batch_size: examples a batch.
        workers: processes, each of which keeps about four batches in memory; with 0
            threads of this process, as many as it has cores, read a batch ahead.

    Returns:
        An iterator over inputs and labels, which raises what `make` raises. Its
        `close()` ends threads and processes.

    Raises:
        ValueError: if `workers` is below 0.
    """
    import grain
    from absl import flags

    if workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}")
    if not len(rows):
        return iter(())
    # grain asks for its flags, which only absl's own applications parse.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    examples = grain.MapDataset.source(rows.tolist()).map(make)
    if not workers:
        threads = os.cpu_count() or 1
        ahead = grain.ReadOptions(threads, max(threads, batch_size))
        stream = examples.to_iter_dataset(ahead)
        return _until_closed(stream.batch(batch_size, drop_remainder=True))
    # Workers are dealt whole batches: made of what each one has, they would differ with
    # the number of workers.
    stream = examples.batch(batch_size, drop_remainder=True).to_iter_dataset(
        grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    )
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=1)
    return _copied(stream.mp_prefetch(options))


def _until_closed(stream: Iterable[Batch]) -> Iterator[Batch]:
    """Ends threads and workers when the caller stops, not when memory is collected."""
    with closing(cast(Any, iter(stream))) as batches:
        yield from batches


def _copied(stream: Iterable[Batch]) -> Iterator[Batch]:
    """Copies of what comes from workers, as its shared memory ends with them."""
    try:
        for images, labels in _until_closed(stream):
            yield np.array(images), np.array(labels)
            del images, labels
    finally:
        # grain's iterators refer to each other in cycles, with a batch of each worker.
        gc.collect()
