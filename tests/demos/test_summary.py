"""The numbers of the final table."""

import math

import pytest

from arsg_optax.demos.report.summary import (
    format_loss,
    ranked,
    steps_to,
    summarize,
    target,
)
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import Epoch, Outcome, RunRecord


def make_run(
    name: str,
    losses: list[float],
    *,
    gain: float = 1.0,
    outcome: Outcome = Outcome.FINISHED,
) -> RunRecord:
    """A run whose losses at y are `gain` times those at x."""
    epochs = tuple(
        Epoch(10 * n, loss, gain * loss, loss, gain * loss, loss, 0.5, 0.5)
        for n, loss in enumerate(losses, 1)
    )
    config = RunConfig(optimizer=name, learning_rate=0.1, epochs=len(losses))
    return RunRecord(config, outcome, epochs)


RUNS = [
    make_run("adam", [1.0, 0.1, 0.3]),
    make_run("sgd", [1.0, 0.8, 0.4]),
    make_run("nadam", [0.1, math.nan], outcome=Outcome.DIVERGED),
    make_run("arsg", [0.2, 0.1, 0.01]),
    make_run("rsg", [0.2, 0.1, 0.9]),
    make_run("muon", [0.05], outcome=Outcome.INTERRUPTED),
]


def test_three_quarters_of_the_finished_reach_the_target():
    assert target(RUNS) == 0.4
    assert target(RUNS[2:3]) is None
    assert target(RUNS[:1]) == 0.3


def test_the_criterion_ranks_what_finished():
    names = [record.config.optimizer for record in ranked(RUNS)]
    assert names == ["arsg", "adam", "sgd", "rsg", "muon", "nadam"]


@pytest.mark.parametrize(
    ("losses", "loss", "steps"),
    [
        ([1.0, 0.5, 0.1], 0.3, 25.0),
        ([1.0, 0.5, 0.1], 0.5, 20.0),
        ([1.0, 0.5, 0.1], 0.1, 30.0),
        ([1.0, 0.5, 0.1], 1.5, 10.0),
        ([1.0, 0.5, 0.1], 0.05, None),
        ([1.0, 0.4, 0.6, 0.2], 0.5, 10 + 10 * 5 / 6),
        ([1.0, math.nan], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_steps_are_interpolated_between_epochs(losses, loss, steps):
    found = steps_to(make_run("arsg", losses), loss)
    assert found == (None if steps is None else pytest.approx(steps))


def test_own_points_get_a_line_of_their_own():
    runs = [make_run("adam", [0.5, 0.3]), make_run("arsg", [0.4, 0.2], gain=2.0)]
    (at_y, at_x, adam), note = summarize(runs)
    assert (at_y.point, at_x.point, adam.point) == ("y", "x: iterate", "y = x")
    assert (at_y.train_final, at_x.train_final) == ("0.4000", "0.2000")
    assert (at_y.steps, at_x.steps, adam.steps) == ("", "15", "20")
    assert "0.3000" in note and "Ranked by the test loss at x" in note


def test_diverged_run_keeps_its_best_numbers():
    run = make_run("sgd", [0.5, 0.3, math.inf], outcome=Outcome.DIVERGED)
    (line,), note = summarize([run])
    assert line.status == "diverged in epoch 3"
    assert (line.train_best, line.train_final, line.steps) == ("0.3000", "inf", "-")
    assert "no loss to reach" in note


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.22271, "0.2227"), (2.3, "2.3000"), (1.4e-5, "1.4e-05"), (12345.0, "1.2e+04")],
)
def test_losses_are_short(value: float, text: str):
    assert format_loss(value) == text
