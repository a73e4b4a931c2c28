"""The search of step sizes, and that the defaults are what it found."""

import numpy as np
import pytest

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.tasks import TASKS, AtEpoch, Task, candidates, sweep
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.material import load
from arsg_optax.demos.tasks.run import run
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.demos.training.sources import shuffle_key
from arsg_optax.tuning import LearningRateSearch

SEARCHED = {name: task for name, task in TASKS.items() if task.searched}


@pytest.mark.parametrize("task", SEARCHED.values(), ids=SEARCHED)
def test_defaults_are_what_the_search_found(task: Task):
    rows = sweep.kept(task.name)
    found = sweep.chosen(rows)
    assert set(found) == set(task.searched)
    for name, rate in found.items():
        assert task.settings[name].learning_rate == rate, name
        if task.clip is None:  # A protocol gives options of its own.
            options = task.settings[name].options.values()
            assert all(isinstance(value, AtEpoch) for value in options), name


@pytest.mark.parametrize("task", SEARCHED.values(), ids=SEARCHED)
def test_every_optimizer_had_the_same_budget(task: Task):
    rows = sweep.kept(task.name)
    assert len({row.seeds for row in rows}) == 1
    for name in task.searched:
        tried = [row for row in rows if row.optimizer == name]
        extra = len(tried) - candidates.CANDIDATES
        assert extra % sweep.EXTENSION == 0
        assert 0 <= extra <= sweep.EXTENSION * sweep.MAX_EXTENSIONS
        best = min(tried, key=lambda row: row.loss)
        assert best.chosen and sum(row.chosen for row in tried) == 1
        inner = tried[0] != best != tried[-1]
        assert inner or extra == sweep.EXTENSION * sweep.MAX_EXTENSIONS


def test_grid():
    assert candidates.grid(2e-4, 4) == [0.0002, 0.0005, 0.001, 0.002]
    assert candidates.grid(0.05, 3) == [0.05, 0.1, 0.2]
    assert candidates.grid(0.01, -3) == [0.001, 0.002, 0.005]
    assert all(len(candidates.candidates(name)) == 9 for name in OPTIMIZERS)


def swept(task: Task, dataset: Dataset, name: str, **options):
    setup = task.setup(candidates.split(dataset))
    settings = task.settings[name]
    return sweep.sweep(task, setup, OPTIMIZERS[name], settings, **options)


def test_losses_equal_those_of_single_runs(tiny_task, dataset, monkeypatch):
    monkeypatch.setattr(sweep, "candidates", lambda *_: [0.1, 1.0, 1e30])
    low, high, lost = swept(tiny_task, dataset, "rsg", seeds=2)
    singly = []
    for seed in range(2):
        config = RunConfig(task="tiny", optimizer="rsg", learning_rate=1.0, seed=seed)
        material = load(config, data=dataset, held_out=True)
        singly.append(run(config, material=material).epochs[-1].test_loss_x)
    np.testing.assert_allclose(high.loss, np.mean(singly), rtol=1e-4)
    np.testing.assert_allclose(high.spread, np.std(singly), rtol=1e-2, atol=1e-5)
    assert low.loss > high.loss
    assert (lost.loss, lost.spread) == (np.inf, np.inf)
    assert [row.chosen for row in (low, high, lost)] == [False, True, False]
    assert sweep.good([low, high, lost]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("best", "extensions"), [(1.0, 2), (1e-30, sweep.MAX_EXTENSIONS), (0.002, 0)]
)
def test_a_winner_at_an_edge_extends_the_grid(
    task, dataset, monkeypatch, best, extensions
):
    def fake(task, setup, optimizer, settings, rates, **options):
        rates = np.asarray(rates, np.float64)
        distance = np.abs(np.log(rates / best))
        return LearningRateSearch(
            rates[distance.argmin()], *4 * [distance], 0 * rates, "vmapped", 1
        )._replace(learning_rates=rates)

    monkeypatch.setattr(sweep, "search_task", fake)
    rows = swept(task, dataset, "adam")
    assert len(rows) == candidates.CANDIDATES + extensions * sweep.EXTENSION
    (rate,) = sweep.chosen(rows).values()
    assert rate == (best if best > 1e-30 else rows[0].learning_rate)
    assert rows == sorted(rows)


def test_where_all_diverge_none_is_chosen(tiny_task, dataset, monkeypatch):
    monkeypatch.setattr(sweep, "MAX_EXTENSIONS", 0)
    monkeypatch.setattr(sweep, "candidates", lambda *_: [1e30, 1e35])
    assert sweep.chosen(swept(tiny_task, dataset, "sgd")) == {}


def test_the_table_survives_writing():
    rows = [
        sweep.Candidate("adam", 0.0005, 0.25, 0.01, 3, True),
        sweep.Candidate("adam", 5.0, float("inf"), float("inf"), 3, False),
    ]
    assert sweep.read_table(sweep.table_text(rows)) == rows


def test_order_of_images_is_shared_and_changes_each_epoch():
    keys = [shuffle_key(seed, epoch) for seed, epoch in [(0, 1), (0, 1), (0, 2)]]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]
