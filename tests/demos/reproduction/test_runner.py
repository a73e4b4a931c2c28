"""A trial is the trainer's run; what is recorded is not run again."""

import dataclasses
import math
import signal
from threading import Thread

import jax
import numpy as np
import pytest

from arsg_optax.demos.errors import CheckpointError, UsageError
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.training.checkpoints import Checkpoints
from arsg_optax.demos.training.optimizers import find_optimizer
from scripts.reproduction.runs import runner
from scripts.reproduction.runs.runner import run_all
from scripts.reproduction.store import Store
from tests.demos.quiet import quiet_checkpoints
from tests.demos.reproduction.observers import Told
from tests.demos.waiting import wait_until

pytestmark = quiet_checkpoints

TRIAL = RunConfig(
    task="digits-mlp",
    optimizer="arsg",
    preset="none",
    learning_rate=0.002,
    epochs=2,
    batch_size=64,
    examples=256,
)


@pytest.fixture(scope="module")
def data():
    return find_task("digits-mlp").data(None, 256)


@pytest.fixture
def train(tmp_path):
    """Trains a trial on some data, telling an observer."""
    store = Store(tmp_path / "runs")
    return lambda trial, data, told: runner.train(trial, data, store, told)


def test_a_trial_is_the_trainers_run(data, train):
    told = Told()
    record = train(TRIAL, data, told)
    task = find_task("digits-mlp").resized(2, 64)
    setup = task.setup(data)
    trainer = task.trainer(setup, find_optimizer("arsg"), TRIAL.settings, seed=0)
    losses = []
    for _ in range(2):
        while trainer.step < trainer.steps_per_epoch:
            trainer.run_chunk()
        losses.append(trainer.mean_loss())
        trainer.next_epoch()
    assert record.outcome == "finished"
    assert [epoch.step for epoch in record.epochs] == [4, 8]
    np.testing.assert_allclose([e.train_loss for e in record.epochs], losses, rtol=1e-6)
    assert told.count("epoch_finished") == 2
    assert record.epochs[-1].test_loss_x != record.epochs[-1].test_loss_y


def test_held_out_examples_are_those_of_the_training_set(data, train):
    kept = dataclasses.replace(TRIAL, held_out=True, epochs=1)
    broken = data._replace(test=data.test._replace(images=data.test.images * math.nan))
    record = train(kept, broken, Told())
    assert record.outcome == "finished"  # the test set was not read
    assert record.epochs[0].step < 4


def test_a_run_that_diverges_ends(data, train):
    record = train(dataclasses.replace(TRIAL, learning_rate=1e30), data, Told())
    assert record.outcome == "diverged" and len(record.epochs) == 1


def test_a_batch_larger_than_the_set(data, train):
    with pytest.raises(UsageError, match="batch_size must be at most the 256"):
        train(dataclasses.replace(TRIAL, batch_size=500), data, Told())


def test_what_is_recorded_is_not_run_again(data, tmp_path):
    store, told = Store(tmp_path), Told()
    trials = [dataclasses.replace(TRIAL, epochs=1, seed=seed) for seed in (0, 1)]
    run_all(trials[:1], store, lambda trial: data, told)
    run_all([*trials, trials[0]], store, lambda trial: data, told)
    assert len(store.records()) == 2
    assert told.count("started") == 2 and told.count("known") == 1


def test_what_another_process_runs_is_waited_for(data, tmp_path):
    store, told = Store(tmp_path), Told()
    trials = [dataclasses.replace(TRIAL, epochs=1, seed=seed) for seed in (0, 1)]

    def work():
        # The fixture's choice is this thread's only.
        with jax.numpy_dtype_promotion("standard"):
            run_all(trials, Store(tmp_path), lambda trial: data, told, wait=0.01)

    thread = Thread(target=work, daemon=True)
    with store.claim(trials[0]):
        thread.start()
        wait_until(lambda: told.count("finished") or not thread.is_alive())
        thread.join(0.2)
        assert thread.is_alive()
        assert [record.config.seed for record in store.records()] == [1]
    # The other ended without a record: the trial is run here.
    thread.join(60)
    assert not thread.is_alive() and told.count("taken") == 1
    assert len(store.records()) == 2


def test_an_interrupted_trial_leaves_no_record(data, tmp_path):
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_all([TRIAL], store, lambda trial: data, Told(stop_after=1))
    assert store.find(TRIAL) is None
    with store.claim(TRIAL) as ours:
        assert ours


def test_validation_data_end_no_run(data, train):
    broken = data._replace(test=data.test._replace(images=data.test.images * math.nan))
    record = train(TRIAL, broken, Told())
    assert record.outcome == "finished" and len(record.epochs) == 2
    assert math.isnan(record.epochs[-1].test_loss_x)


def _interrupted(data, store):
    trial = dataclasses.replace(TRIAL, save_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        run_all([trial], store, lambda trial: data, Told(stop_after=2))
    return trial


def test_damaged_checkpoints_are_set_aside(data, tmp_path):
    store = Store(tmp_path)
    trial = _interrupted(data, store)
    for file in store.partial(trial).glob("checkpoints/*/state/**/d/*"):
        file.write_bytes(b"")
    told = Told()
    run_all([trial], store, lambda trial: data, told)
    record = store.find(trial)
    assert record is not None and record.outcome == "finished"
    assert told.count("epoch_finished") == 2
    aside = store.partial(trial).with_name(f"{trial.key()}.damaged-0")
    assert list(aside.glob("checkpoints/*/state"))


def test_a_full_disk_deletes_nothing(data, tmp_path, monkeypatch):
    store = Store(tmp_path)
    trial = _interrupted(data, store)
    before = sorted(store.partial(trial).glob("checkpoints/*"))
    assert before

    def full(self, state, total):
        raise CheckpointError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="full"):
        patch.setattr(Checkpoints, "_check_room", full)
        longer = dataclasses.replace(trial, save_seconds=-1.0)
        stop = Told()
        stop.steps_done = lambda *_: signal.raise_signal(signal.SIGTERM)
        run_all([longer], store, lambda trial: data, stop)
    assert sorted(store.partial(trial).glob("checkpoints/*")) == before
    told = Told()
    run_all([trial], store, lambda trial: data, told)
    assert told.count("epoch_finished") == 1
