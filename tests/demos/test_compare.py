"""Comparisons: training, divergence, interruption, and wrong requests."""

import math

import pytest

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import Task, find_task
from arsg_optax.demos.tasks.compare import compare, make_plan
from arsg_optax.demos.tasks.results import Outcome
from arsg_optax.demos.training.optimizers import OPTIMIZERS


def test_every_optimizer_lowers_the_loss(task: Task, dataset: Dataset, recorder):
    comparison = compare(make_plan(task, epochs=4), dataset, recorder)
    assert [run.optimizer for run in comparison.runs] == list(task.settings)
    assert set(recorder.finished) == set(OPTIMIZERS) - {"adarem_s"}
    for run in comparison.runs:
        assert run.outcome is Outcome.FINISHED
        first, last = run.rows[0], run.rows[-1]
        assert last.whole_train_loss_y < first.train_loss, run.optimizer
        assert (last.epoch, last.step) == (4, 4 * (200 // 32))
        same = all(row.whole_train_loss_x == row.whole_train_loss_y for row in run.rows)
        assert same != run.has_own_point, run.optimizer


def test_the_same_seed_gives_the_same_numbers(task: Task, dataset: Dataset, recorder):
    def numbers(seed: int):
        runs = compare(make_plan(task, ["sgd"], seed=seed), dataset, recorder).runs
        return [row._replace(seconds=0.0) for row in runs[0].rows]

    assert numbers(1) == numbers(1)
    assert numbers(1) != numbers(2)


def test_others_go_on_when_one_diverges(task: Task, dataset: Dataset, recorder):
    plan = make_plan(task, ["sgd", "adam"], learning_rates={"sgd": 1e30}, epochs=3)
    sgd, adam = compare(plan, dataset, recorder).runs
    assert sgd.outcome is Outcome.DIVERGED
    assert sgd.status() == f"diverged in epoch {len(sgd.rows)}"
    assert not sgd.rows[-1].is_finite()
    assert adam.outcome is Outcome.FINISHED
    assert len(adam.rows) == 3
    assert recorder.finished == ["sgd", "adam"]


def test_an_interrupt_leaves_the_runs_so_far(task: Task, dataset: Dataset, recorder):
    def stop(run, row):
        if (run.optimizer, row.epoch) == ("rsg", 2):
            raise KeyboardInterrupt

    recorder.epoch_finished = stop
    comparison = compare(make_plan(task, ["sgd", "rsg", "adam"]), dataset, recorder)
    assert comparison.interrupted
    sgd, rsg = comparison.runs
    assert (sgd.outcome, len(sgd.rows)) == (Outcome.FINISHED, 3)
    assert (rsg.outcome, len(rsg.rows)) == (Outcome.INTERRUPTED, 2)
    assert rsg.status() == "interrupted after 2 epochs"


def test_settings_reach_the_plan(task: Task):
    plan = make_plan(
        task, ["adam", "adam", "arsg"], batch_size=50, learning_rates={"adam": 0.5}
    )
    assert list(plan.settings) == ["adam", "arsg"]
    assert plan.settings["adam"].learning_rate == 0.5
    assert plan.settings["arsg"] == task.settings["arsg"]
    assert (plan.task.batch_size, plan.task.epochs) == (50, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizers": ["adma"]}, "unknown optimizer 'adma'; known.*arsg.*muon"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": -3}, "epochs must be at least 1, got -3"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0.*got -1"),
        ({"learning_rates": {"adam": -0.1}}, "'adam' must be positive.*got -0.1"),
        ({"learning_rates": {"adam": math.nan}}, "'adam' must be positive.*got nan"),
        ({"learning_rates": {"adma": 0.1}}, "'adma', which is not among"),
        (
            {"optimizers": ["adam"], "learning_rates": {"sgd": 0.1}},
            "'sgd', which is not among the optimizers of this run: adam",
        ),
    ],
)
def test_wrong_requests(task: Task, arguments: dict, message: str):
    with pytest.raises(UsageError, match=message):
        make_plan(task, **arguments)


def test_batch_larger_than_the_data(task: Task, dataset: Dataset, recorder):
    with pytest.raises(UsageError, match=r"at most the 200 training examples.*got 201"):
        compare(make_plan(task, ["adam"], batch_size=201), dataset, recorder)


def test_unknown_task():
    with pytest.raises(UsageError, match=r"unknown task 'digits'.*digits-mlp, mnist"):
        find_task("digits")
