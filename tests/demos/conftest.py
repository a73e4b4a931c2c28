"""A task small enough to be trained in moments."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from arsg_optax.demos.data import Dataset, Split
from arsg_optax.demos.models import MLP
from arsg_optax.demos.tasks import TASKS, Task, configuration
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.kinds import Images
from arsg_optax.demos.tasks.records import RunRecord


@pytest.fixture(autouse=True)
def standard_promotion() -> Iterator[None]:
    """Optax's own optimizers multiply int32 counts with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of this test, which is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """200 + 80 images of 4x4 pixels: four classes, a bright row each."""
    random = np.random.default_rng(0)
    labels = random.integers(4, size=280).astype(np.int32)
    images = 0.3 * random.random((280, 4, 4)).astype(np.float32)
    images[np.arange(280), labels] += 0.7
    rows = np.arange(280, dtype=np.int64)
    return Dataset(
        Split(images[:200], labels[:200], rows[:200]),
        Split(images[200:], labels[200:], rows[200:]),
    )


@pytest.fixture(scope="session")
def task(dataset: Dataset) -> Task:
    """A small MLP on that data, with the digits' settings."""

    def make_model(rngs: nnx.Rngs, **numbers: Any) -> nnx.Module:
        return MLP((4, 4), hidden=(16,), classes=4, rngs=rngs, **numbers)

    return Task(
        name="tiny",
        summary="bright rows",
        load=lambda data_dir: dataset,
        make_model=make_model,
        kind=Images(),
        batch_size=32,
        epochs=3,
        presets=TASKS["digits-mlp"].presets,
    )


class Recorder(Callbacks):
    """Notes what runs tell."""

    def __init__(self) -> None:
        self.finished_ones: list[str] = []

    def finished(self, record: RunRecord) -> None:
        self.finished_ones.append(record.config.optimizer)


@pytest.fixture
def recorder() -> Recorder:
    """An observer that only remembers."""
    return Recorder()


@pytest.fixture
def tiny_task(task: Task, monkeypatch: pytest.MonkeyPatch) -> Task:
    """Makes the tiny task known as `tiny` and, so that it is the default, as digits."""
    known = {**TASKS, "tiny": task, "digits-mlp": task}
    monkeypatch.setattr(configuration, "find_task", known.__getitem__)
    return task
