"""The step size search, and that the defaults are what it found."""

from pathlib import Path

import numpy as np
import pytest

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.tasks import TASKS, AtEpoch, Task, candidates
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.material import load
from arsg_optax.demos.tasks.run import run
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.demos.training.sources import shuffle_key
from scripts import search

SEARCHED = {name: task for name, task in TASKS.items() if task.searched}


@pytest.mark.parametrize("task", SEARCHED.values(), ids=SEARCHED)
def test_defaults_are_what_the_search_found(task: Task):
    rows = search.read_table(search.table_path(task.name))
    found = search.chosen(rows)
    assert set(found) == set(task.searched)
    for name, rate in found.items():
        assert task.settings[name].learning_rate == rate, name
        options = task.settings[name].options.values()
        assert all(isinstance(value, AtEpoch) for value in options), (
            f"{name} was searched at its defaults, but for an epoch to act at"
        )


@pytest.mark.parametrize("task", SEARCHED.values(), ids=SEARCHED)
def test_every_optimizer_had_the_same_budget(task: Task):
    rows = search.read_table(search.table_path(task.name))
    assert len({row.seeds for row in rows}) == 1
    for name in task.searched:
        tried = [row for row in rows if row.optimizer == name]
        extra = len(tried) - candidates.CANDIDATES
        assert extra % search.EXTENSION == 0
        assert 0 <= extra <= search.EXTENSION * search.MAX_EXTENSIONS
        best = min(tried, key=lambda row: row.held_out_loss)
        assert best.chosen and sum(row.chosen for row in tried) == 1
        inner = tried[0] != best != tried[-1]
        assert inner or extra == search.EXTENSION * search.MAX_EXTENSIONS


def test_grid():
    assert candidates.grid(2e-4, 4) == [0.0002, 0.0005, 0.001, 0.002]
    assert candidates.grid(0.05, 3) == [0.05, 0.1, 0.2]
    assert candidates.grid(0.01, -3) == [0.001, 0.002, 0.005]
    assert all(len(candidates.candidates(name)) == 9 for name in OPTIMIZERS)


def test_scores_equal_single_runs(tiny_task: Task, dataset: Dataset):
    task = tiny_task
    part = candidates.split(dataset)
    scores = search.make_scores(task, "rsg", part, seeds=2)([0.1, 1.0])
    singly = []
    for seed in range(2):
        config = RunConfig(task="tiny", optimizer="rsg", learning_rate=1.0, seed=seed)
        record = run(config, material=load(config, data=part))
        singly.append(record.epochs[-1].test_loss_x)
    mean, spread = scores[1.0]
    np.testing.assert_allclose(mean, np.mean(singly), rtol=1e-4)
    np.testing.assert_allclose(spread, np.std(singly), rtol=1e-2, atol=1e-5)
    assert scores[0.1][0] > mean


def test_winner_at_an_edge_extends_the_grid(task: Task, dataset: Dataset, monkeypatch):
    def fake(*arguments):
        return lambda rates: {rate: (abs(rate - 1.0), 0.0) for rate in rates}

    monkeypatch.setattr(search, "make_scores", fake)
    rows = search.search(task, "adam", dataset, seeds=1)
    assert search.chosen(rows) == {"adam": 1.0}
    assert len(rows) == candidates.CANDIDATES + 2 * search.EXTENSION


def test_extension_ends(task: Task, dataset: Dataset, monkeypatch):
    def fake(*arguments):
        return lambda rates: {rate: (rate, 0.0) for rate in rates}

    monkeypatch.setattr(search, "make_scores", fake)
    rows = search.search(task, "adam", dataset, seeds=1)
    limit = candidates.CANDIDATES + search.MAX_EXTENSIONS * search.EXTENSION
    assert len(rows) == limit
    assert rows[0].chosen


def test_divergence_scores_infinity(task: Task, dataset: Dataset):
    part = candidates.split(dataset)
    scores = search.make_scores(task, "sgd", part, seeds=1)([0.01, 1e30])
    assert np.isfinite(scores[0.01][0])
    assert scores[1e30] == (np.inf, np.inf)


def test_table_survives_writing(tmp_path: Path):
    rows = [
        search.Candidate("adam", 0.0005, 0.25, 0.01, 3, True),
        search.Candidate("adam", 5.0, float("inf"), float("inf"), 3, False),
    ]
    search.write_table(tmp_path / "new" / "table.csv", rows)
    assert search.read_table(tmp_path / "new" / "table.csv") == rows


def test_order_of_images_is_shared_and_changes_each_epoch():
    keys = [shuffle_key(seed, epoch) for seed, epoch in [(0, 1), (0, 1), (0, 2)]]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]
