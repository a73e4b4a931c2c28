"""Comparisons: training, divergence, interruption, and wrong requests."""

import math
import signal

import pytest

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import Task, find_task
from arsg_optax.demos.tasks.compare import compare, make_configs
from arsg_optax.demos.tasks.configuration import TaskConfig
from arsg_optax.demos.tasks.material import load
from arsg_optax.demos.tasks.records import Outcome
from arsg_optax.demos.training.optimizers import OPTIMIZERS


def compared(dataset: Dataset, optimizers=(), *callbacks, rates=None, **options):
    shared = TaskConfig(task="tiny", **options)
    configs = make_configs(shared, optimizers, rates)
    return compare(configs, load(shared, data=dataset), *callbacks)


@pytest.fixture(autouse=True)
def known(tiny_task: Task) -> None:
    """The tiny task is known."""


def test_every_optimizer_lowers_the_loss(task: Task, dataset: Dataset, recorder):
    records = compared(dataset, (), recorder, epochs=4)
    assert [record.config.optimizer for record in records] == list(task.settings)
    assert set(recorder.finished_ones) == set(OPTIMIZERS) - {"adarem_s"}
    for record in records:
        name, last = record.config.optimizer, record.epochs[-1]
        assert record.outcome == Outcome.FINISHED
        assert last.whole_train_loss_y < record.epochs[0].train_loss, name
        assert (len(record.epochs), last.step) == (4, 4 * (200 // 32))
        pairs = [(e.whole_train_loss_x, e.whole_train_loss_y) for e in record.epochs]
        same = all(x == y for x, y in pairs)
        assert same == (OPTIMIZERS[name].points.own_point is None), name


def test_the_same_seed_gives_the_same_numbers(dataset: Dataset):
    def numbers(seed: int):
        return compared(dataset, ["sgd"], seed=seed)[0].epochs

    assert numbers(1) == numbers(1)
    assert numbers(1) != numbers(2)


def test_others_go_on_when_one_diverges(dataset: Dataset, recorder):
    sgd, adam = compared(dataset, ["sgd", "adam"], recorder, rates={"sgd": 1e30})
    assert sgd.outcome == Outcome.DIVERGED
    assert sgd.status() == f"diverged in epoch {len(sgd.epochs)}"
    assert not sgd.epochs[-1].is_finite()
    assert adam.outcome == Outcome.FINISHED
    assert len(adam.epochs) == 3
    assert recorder.finished_ones == ["sgd", "adam"]


def test_an_interrupt_leaves_the_runs_so_far(dataset: Dataset, recorder):
    def stop(record, epoch):
        if (record.config.optimizer, len(record.epochs)) == ("rsg", 2):
            raise KeyboardInterrupt

    recorder.epoch_finished = stop
    sgd, rsg = compared(dataset, ["sgd", "rsg", "adam"], recorder)
    assert (sgd.outcome, len(sgd.epochs)) == (Outcome.FINISHED, 3)
    assert (rsg.outcome, len(rsg.epochs)) == (Outcome.INTERRUPTED, 2)
    assert rsg.status() == "interrupted after 2 epochs"


def test_a_signal_ends_the_run_and_the_comparison(dataset: Dataset, recorder):
    recorder.steps_done = lambda *_: signal.raise_signal(signal.SIGINT)
    (sgd,) = compared(dataset, ["sgd", "adam"], recorder)
    assert (sgd.outcome, sgd.signal) == (Outcome.INTERRUPTED, signal.SIGINT)


def test_settings_reach_the_runs(task: Task):
    shared = TaskConfig(task="tiny", batch_size=50)
    adam, arsg = make_configs(shared, ["adam", "adam", "arsg"], {"adam": 0.5})
    assert adam.chosen_settings().learning_rate == 0.5
    assert arsg.chosen_settings() == task.settings["arsg"]
    assert (adam.chosen_task().batch_size, adam.chosen_task().epochs) == (50, 3)


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
def test_wrong_requests(arguments: dict, message: str):
    names = arguments.pop("optimizers", ())
    rates = arguments.pop("learning_rates", None)
    with pytest.raises(UsageError, match=message):
        make_configs(TaskConfig(task="tiny", **arguments), names, rates)


def test_batch_larger_than_the_data(dataset: Dataset):
    with pytest.raises(UsageError, match=r"at most the 200 training examples.*got 201"):
        compared(dataset, ["adam"], batch_size=201)


def test_an_optimizer_for_another_network(dataset: Dataset):
    with pytest.raises(UsageError, match="'adarem_s' needs weights of 4 axes"):
        compared(dataset, ["adam", "adarem_s"], rates={"adarem_s": 0.1})


def test_unknown_task():
    with pytest.raises(UsageError, match=r"unknown task 'digits'.*digits-mlp, mnist"):
        find_task("digits")
