"""A long run that is interrupted goes on where it was, to the same numbers."""

import dataclasses

import pytest

from arsg_optax.demos.tasks import find_task
from scripts.reproduction.records.partial import Partial
from scripts.reproduction.records.store import Store
from scripts.reproduction.records.trial import Trial
from scripts.reproduction.runs.runner import run_all, train
from tests.demos.reproduction.observers import Told

TRIAL = Trial("digits-mlp", "arsg", 0.002, epochs=4, batch_size=64, examples=256)


@pytest.fixture(scope="module")
def data():
    return find_task("digits-mlp").data(None, 256)


@pytest.fixture
def whole(data):
    """The run in one piece."""
    return train(TRIAL, data, Told())


def test_it_goes_on_to_the_same_numbers(data, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(TRIAL, data, Told(stop_after=3), Partial(tmp_path / "part", worth=0))
    again = Told()
    # The third epoch was told of, but not kept any more.
    record = train(TRIAL, data, again, Partial(tmp_path / "part", worth=0))
    assert again.count("epoch_finished") == 2
    assert record.epochs == tuple(
        type(epoch)._make(_nine_digits(epoch)) if n < 2 else epoch
        for n, epoch in enumerate(whole.epochs)
    )
    assert record.seconds > 0


def _nine_digits(epoch):
    return [float(f"{value:.9g}") for value in epoch]


def test_a_short_run_keeps_nothing(data, tmp_path):
    partial = Partial(tmp_path / "part", worth=60)
    train(dataclasses.replace(TRIAL, epochs=2), data, Told(), partial)
    assert not (tmp_path / "part").exists()


def test_nothing_is_left_once_the_record_is_kept(data, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(Partial.__init__, "__defaults__", (0.0,))
    store = Store(tmp_path)
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
