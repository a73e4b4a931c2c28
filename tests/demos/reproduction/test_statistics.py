"""Statistics against their definitions; a choice sees training losses only."""

import dataclasses
import math

import numpy as np
import pytest

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import Epoch, RunRecord
from scripts.reproduction.findings.statistics import (
    epochs_to,
    estimate,
    paired,
)
from scripts.reproduction.runs.selection import choosable, choose, reported

TRIAL = RunConfig(
    task="mnist-logreg",
    optimizer="arsg",
    preset="none",
    learning_rate=0.01,
    epochs=1,
    batch_size=256,
)


def _record(loss, outcome="finished", **changes):
    epoch = Epoch(1, loss, *[math.nan] * 4, 0.1, 0.2)
    return RunRecord(dataclasses.replace(TRIAL, **changes), outcome, (epoch,))


def test_an_interval_is_students():
    found = estimate([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5 and found.count == 4
    assert found.deviation == pytest.approx(np.sqrt(5 / 3))
    # The 97.5 % quantile of t with three degrees of freedom is 3.1824.
    assert found.high - found.mean == pytest.approx(
        3.18245 * np.sqrt(5 / 3) / 2, rel=1e-4
    )
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_the_interval_holds_the_mean_in_95_of_100():
    random = np.random.default_rng(0)
    draws = random.normal(3.0, 2.0, (4000, 5))
    held = [low <= 3.0 <= high for _, _, low, high, _ in map(estimate, draws.tolist())]
    assert 0.94 < np.mean(held) < 0.96


def test_one_value_has_no_interval():
    found = estimate([2.0])
    assert found.mean == 2.0 and math.isnan(found.low) and str(found) == "2"
    with pytest.raises(ValueError, match="at least one number"):
        estimate([])


def test_pairs_take_the_seeds_common_part_out():
    common = np.random.default_rng(1).normal(0, 100, 5)
    difference = paired(list(common + 1.0), list(common))
    assert difference.mean == pytest.approx(1) and difference.deviation < 1e-9
    with pytest.raises(ValueError, match="equal counts, got 2 and 1"):
        paired([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("losses", "target", "expected"),
    [
        ([4.0, 2.0, 1.0], 3.0, 1.5),
        ([4.0, 2.0, 1.0], 1.0, 3.0),
        ([4.0, 2.0], 5.0, 1.0),
        ([4.0, 2.0], 1.0, None),
        ([4.0, 5.0, 1.0], 3.0, 2.5),
        ([math.nan, 2.0], 3.0, 2.0),
        ([], 3.0, None),
    ],
)
def test_epochs_to_a_loss(losses, target, expected):
    assert epochs_to(losses, target) == expected


def test_the_smallest_training_loss_is_chosen():
    records = [
        _record(0.3),
        _record(0.2, learning_rate=0.02),
        _record(0.1, outcome="diverged", learning_rate=0.05),
        _record(math.nan, learning_rate=0.1),
    ]
    best = choose([choosable(record) for record in records])
    assert best is not None and best.learning_rate == 0.02
    assert choose([choosable(record) for record in records[2:]]) is None
    assert choose([]) is None


def test_a_choice_never_sees_validation_numbers():
    record = _record(0.3)
    better = record.epochs[0]._replace(test_loss_x=0.0, test_accuracy_x=1.0)
    assert choosable(dataclasses.replace(record, epochs=(better,))) == choosable(record)
    held = _record(0.3, held_out=True)
    epochs = [held.epochs[0]._replace(test_accuracy_x=a) for a in (0.5, 0.75, 0.625)]
    assert choosable(dataclasses.replace(held, epochs=tuple(epochs))).loss == 0.25
    with pytest.raises(UsageError, match="chose settings and reports nothing"):
        reported([record, held])
    assert reported([record]) == [record]
