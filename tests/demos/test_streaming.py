"""Batches: what they depend on, and that worker processes change nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arsg_optax.demos.imagenet import (
    ImageStreams,
    evaluation_batches,
    load_imagenet,
    training_batches,
)
from tests.demos.photographs import (
    CLASSES,
    Numbered,
    assert_same,
    labels_of,
    write_folder,
)


@pytest.fixture(scope="module")
def streams(tmp_path_factory) -> ImageStreams:
    """Of a folder that no test changes."""
    root = tmp_path_factory.mktemp("data")
    write_folder(root)
    return load_imagenet(root)


def test_an_epoch_is_an_order_of_the_images():
    def order(seed: int, epoch: int) -> list[int]:
        split = Numbered(50)
        return labels_of(
            training_batches(split, batch_size=8, size=4, seed=seed, epoch=epoch)
        )

    first = order(0, 0)
    assert len(first) == len(set(first)) == 48
    assert first == order(0, 0)
    others = [order(0, 1), order(1, 0), order(1, 1)]
    assert all(first != other for other in others)
    assert others[0] != others[1]
    # What an epoch leaves out changes, too.
    assert set(first) != set(others[0])


def test_epoch_can_be_entered_anywhere(streams: ImageStreams):
    def batches(start: int):
        return training_batches(
            streams.train, batch_size=4, size=16, seed=0, epoch=1, start=start
        )

    whole = list(batches(0))
    for start in (1, 4):
        assert_same(batches(start), whole[start:])
    assert not list(batches(5))
    split = Numbered(50)
    late = training_batches(split, batch_size=8, size=4, seed=0, epoch=0, start=5)
    assert len(labels_of(late)) == len(split.read) == 8


def test_evaluation_sees_all_images_once(streams: ImageStreams):
    batches = list(evaluation_batches(streams.validation, batch_size=4, size=16))
    assert [images.shape for images, _, _ in batches] == [(4, 16, 16, 3)] * 3
    weights = np.concatenate([weights for _, _, weights in batches])
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, [1] * 9 + [0] * 3)
    assert labels_of(batches) == [0, 0, 0, 1, 1, 1, 2, 2, 2] + [0, 0, 0]
    assert_same(evaluation_batches(streams.validation, batch_size=4, size=16), batches)


def test_evaluation_of_a_part_spreads_it():
    split = Numbered(50)
    batches = list(evaluation_batches(split, batch_size=3, size=4, limit=5))
    assert labels_of(batches)[:5] == [0, 12, 24, 36, 49]
    assert [list(weights) for *_, weights in batches] == [[1, 1, 1], [1, 1, 0]]
    # More than there are are all, and a batch may be larger than the split.
    ((_, labels, weights),) = evaluation_batches(
        Numbered(2), batch_size=5, size=4, limit=9
    )
    assert list(labels) == [0, 1, 0, 1, 0] and list(weights) == [1, 1, 0, 0, 0]


# grain's worker processes import this package anew, which takes seconds.
WORKERS = """
import gc, multiprocessing, pathlib, sys, time, warnings
import numpy as np
from arsg_optax.demos import imagenet
from arsg_optax.demos.errors import DataError

def arguments(workers, start=0):
    return dict(batch_size=4, size=16, seed=0, epoch=1, start=start, workers=workers)

if __name__ == "__main__":
    warnings.simplefilter("error")
    # So that nothing is in order only because memory happens to be collected.
    gc.disable()
    train, validation = imagenet.load_imagenet(pathlib.Path(sys.argv[1]))
    broken = pathlib.Path(train.files[5])
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    try:
        list(imagenet.training_batches(train, **arguments(1)))
    except DataError as error:
        print(error)
    assert not multiprocessing.active_children()
    broken.write_bytes(whole)
    stopped = imagenet.evaluation_batches(validation, batch_size=4, size=16, workers=1)
    next(stopped)
    assert multiprocessing.active_children()
    stopped.close()
    assert not multiprocessing.active_children()
    expected = list(imagenet.training_batches(train, **arguments(0, start=1)))
    found = list(imagenet.training_batches(train, **arguments(2, start=1)))
    assert len(found) == len(expected) == 4
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    # What grain frees, and else complains of at the end, it frees in a thread, which
    # a busy machine lets wait.
    time.sleep(5)
"""


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path):
    folder = write_folder(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    file = folder / "train" / CLASSES[0] / "00005.jpg"
    assert f"the image {file} cannot be read" in done.stdout
    assert "leaked" not in done.stderr


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"batch_size": 0}, "batch_size must be .* 21 images, got 0"),
        ({"batch_size": 22}, "batch_size must be .* 21 images, got 22"),
        ({"start": -1}, "start must be from 0 to 5 batches, got -1"),
        ({"start": 6}, "start must be from 0 to 5 batches, got 6"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
    ],
)
def test_training_arguments_are_checked_at_once(changed, message, streams):
    numbers = {"batch_size": 4, "seed": 0, "epoch": 0, **changed}
    with pytest.raises(ValueError, match=message):
        training_batches(streams.train, **numbers)


@pytest.mark.parametrize("changed", [{"batch_size": 0}, {"limit": 0}, {"workers": -1}])
def test_evaluation_arguments_are_checked_at_once(changed, streams):
    with pytest.raises(ValueError, match="must be at least"):
        evaluation_batches(streams.validation, **{"batch_size": 4, **changed})
