"""A long run that is interrupted goes on where it was, to the same numbers."""

import dataclasses
import signal

import jax
import numpy as np
import pytest

from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.configuration import RunConfig
from scripts.reproduction.runs.runner import run_all, train
from scripts.reproduction.store import Store
from tests.demos.quiet import quiet_checkpoints
from tests.demos.reproduction.observers import Told

pytestmark = quiet_checkpoints

SHORT = RunConfig(
    task="digits-mlp",
    optimizer="arsg",
    preset="none",
    learning_rate=0.002,
    epochs=4,
    batch_size=64,
    examples=256,
)
# Of which each epoch is worth a checkpoint.
TRIAL = dataclasses.replace(SHORT, save_seconds=0.0)


@pytest.fixture(scope="module")
def data():
    return find_task("digits-mlp").data(None, 256)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The run in one piece."""
    with jax.numpy_dtype_promotion("standard"):
        return train(TRIAL, data, Store(tmp_path_factory.mktemp("whole")), Told())


def test_it_goes_on_to_the_same_numbers(data, whole, tmp_path):
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(TRIAL, data, store, Told(stop_after=3))
    again = Told()
    # The third epoch was told of, but not kept any more.
    record = train(TRIAL, data, store, again)
    assert again.count("epoch_finished") == 2
    for epoch, other in zip(record.epochs, whole.epochs, strict=True):
        np.testing.assert_allclose(epoch, other, rtol=1e-8)
    assert record.seconds > 0


def test_ctrl_c_keeps_the_work_since_the_last_epoch(data, whole, tmp_path):
    store, told = Store(tmp_path), Told()
    told.steps_done = lambda *_: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_all([SHORT], store, lambda trial: data, told)
    assert list(store.partial(TRIAL).glob("checkpoints/[1-4]"))
    record = train(SHORT, data, store, Told())
    for epoch, other in zip(record.epochs, whole.epochs, strict=True):
        np.testing.assert_allclose(epoch, other, rtol=1e-8)


def test_a_short_run_keeps_nothing(data, tmp_path):
    store = Store(tmp_path)
    train(dataclasses.replace(SHORT, epochs=2), data, store, Told())
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_once_the_record_is_kept(data, whole, tmp_path):
    store = Store(tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        run_all([TRIAL], store, lambda trial: data, Told(stop_after=2))
    assert store.partial(TRIAL).exists() and store.find(TRIAL) is None
    assert store.records() == []
    run_all([TRIAL], store, lambda trial: data, Told())
    assert not store.partial(TRIAL).exists()
    found = store.find(TRIAL)
    assert found is not None and len(found.epochs) == 4
    assert found.epochs[-1].train_loss == pytest.approx(
        whole.epochs[-1].train_loss, rel=1e-8
    )
