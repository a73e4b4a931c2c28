"""A trial is the trainer's run; what is recorded is not run again."""

import dataclasses
import math
from threading import Thread

import jax
import numpy as np
import pytest

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.training.optimizers import find_optimizer
from scripts.reproduction.records.store import Store
from scripts.reproduction.records.trial import Trial
from scripts.reproduction.runs.runner import run_all, train
from tests.demos.reproduction.observers import Told
from tests.demos.waiting import wait_until

TRIAL = Trial("digits-mlp", "arsg", 0.002, epochs=2, batch_size=64, examples=256)


@pytest.fixture(scope="module")
def data():
    return find_task("digits-mlp").data(None, 256)


def test_a_trial_is_the_trainers_run(data):
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


def test_held_out_examples_are_those_of_the_training_set(data):
    kept = dataclasses.replace(TRIAL, held_out=True, epochs=1)
    broken = data._replace(test=data.test._replace(images=data.test.images * math.nan))
    record = train(kept, broken, Told())
    assert record.outcome == "finished"  # the test set was not read
    assert record.epochs[0].step < 4


def test_a_run_that_diverges_ends(data):
    record = train(dataclasses.replace(TRIAL, learning_rate=1e30), data, Told())
    assert record.outcome == "diverged" and len(record.epochs) == 1


def test_a_batch_larger_than_the_set(data):
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
        assert [record.trial.seed for record in store.records()] == [1]
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


def test_validation_data_end_no_run(data):
    broken = data._replace(test=data.test._replace(images=data.test.images * math.nan))
    record = train(TRIAL, broken, Told())
    assert record.outcome == "finished" and len(record.epochs) == 2
    assert math.isnan(record.epochs[-1].test_loss_x)


def test_a_damaged_checkpoint_is_thrown_away(data, tmp_path):
    store = Store(tmp_path)
    part = store.partial(TRIAL) / "4" / "state"
    part.mkdir(parents=True)
    (part / "nothing").write_text("of use")
    run_all([TRIAL], store, lambda trial: data, Told())
    record = store.find(TRIAL)
    assert record is not None and record.outcome == "finished"
    assert not store.partial(TRIAL).exists()
