"""The numbers of the final table."""

import math

import pytest

from arsg_optax.demos.report.summary import format_loss, summarize
from arsg_optax.demos.tasks.results import (
    Outcome,
    Row,
    Run,
    Target,
    steps_to,
    target,
)


def make_run(
    name: str,
    losses: list[float],
    *,
    baseline: bool = True,
    own_point: str = "held",
    outcome: Outcome = Outcome.FINISHED,
) -> Run:
    rows = [
        Row(
            optimizer=name,
            epoch=epoch,
            step=10 * epoch,
            train_loss=loss,
            whole_train_loss_y=loss if own_point == "held" else 2 * loss,
            whole_train_loss_x=loss,
            test_loss_y=loss,
            test_loss_x=loss,
            test_accuracy_y=0.5,
            test_accuracy_x=0.5,
            seconds=float(epoch),
            learning_rate=0.1,
            own_point=own_point,
        )
        for epoch, loss in enumerate(losses, 1)
    ]
    return Run(name, baseline, own_point, 0.1, rows=rows, outcome=outcome)


def test_target_is_the_lowest_final_loss_of_the_finished_baselines():
    runs = [
        make_run("adam", [1.0, 0.1, 0.3]),
        make_run("sgd", [1.0, 0.8, 0.4]),
        make_run("arsg", [0.2, 0.1, 0.01], baseline=False),
        make_run("nadam", [0.1, math.nan], outcome=Outcome.DIVERGED),
        make_run("muon", [0.05], outcome=Outcome.INTERRUPTED),
    ]
    assert target(runs) == Target(0.3, "adam")
    assert target(runs[2:]) is None


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
    runs = [
        make_run("arsg", [0.4, 0.2], baseline=False, own_point="iterate"),
        make_run("adam", [0.5, 0.3]),
    ]
    (at_y, at_x, adam), note = summarize(runs)
    assert (at_y.point, at_x.point, adam.point) == ("y", "x: iterate", "y = x")
    assert (at_y.train_final, at_x.train_final) == ("0.4000", "0.2000")
    assert (at_y.steps, at_x.steps, adam.steps) == ("", "15", "20")
    assert "0.3000" in note and "adam" in note


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
