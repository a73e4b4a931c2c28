"""Several hyper-parameters at once, by successive halving."""

import csv
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.tuning import LogUniform, Uniform, search
from arsg_optax.tuning.halving_search import plan_rounds
from arsg_optax.tuning.space import configurations
from tests.tuning.searches import regression, square_loss, start, train

SPACE = {"learning_rate": [0.003, 0.01, 0.1], "b1": [0.5, 0.9]}


def _search(space=SPACE, make=arsg_optax.rsg, steps=27, **options):
    return search(
        make, space, square_loss, start(), regression(), steps=steps, **options
    )


def test_without_halving_all_are_trained_to_the_end():
    found = _search(keep=1)
    assert found.losses.shape == (6, 27)
    assert set(found.steps) == {27}
    for row, losses in zip(found.rows(), found.losses, strict=True):
        optimizer = arsg_optax.rsg(
            np.float32(row["learning_rate"]), np.float32(row["b1"])
        )
        expected = train(optimizer, start(), regression(), 27)
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert (np.diff(found.final_losses) >= 0).all()
    rows = found.rows()[0]
    assert found.best == {name: rows[name] for name in SPACE}


@pytest.mark.parametrize("options", [{}, {"memory_limit": 1}, {"engine": "unrolled"}])
def test_the_better_ones_go_on_where_they_stood(options):
    whole, found = _search(keep=1), _search(min_steps=3, **options)
    assert sorted(found.steps) == [3, 3, 3, 3, 9, 27]
    for row, losses in zip(found.rows(), found.losses, strict=True):
        same = [
            i
            for i, other in enumerate(whole.rows())
            if all(other[name] == row[name] for name in SPACE)
        ]
        steps = row["steps"]
        expected = whole.losses[same[0], :steps]
        np.testing.assert_allclose(losses[:steps], expected, rtol=1e-4)
        assert np.isnan(losses[steps:]).all()
    # After three steps a candidate's loss is that of its third step.
    third = whole.losses[:, 2]
    assert found.losses[0, 2] <= np.sort(third)[1] * (1 + 1e-5)
    assert found.losses[1, 2] <= np.sort(third)[1] * (1 + 1e-5)


def test_halving_on_eight_devices_equals_one():
    mesh = jax.make_mesh((8,), ("all",))
    one, eight = _search(min_steps=3), _search(min_steps=3, mesh=mesh)
    assert eight.best == one.best
    np.testing.assert_allclose(eight.losses, one.losses, rtol=1e-4)


def test_what_diverges_goes_first():
    found = _search({"learning_rate": [1e30, 0.01, 0.1, 1e31]}, keep=0.5)
    assert found.diverged.tolist() == [False, False, True, True]
    assert found.steps.tolist() == [27, 14, 7, 7]
    lost = _search({"learning_rate": [1e30, 1e31]})
    assert lost.best == {}
    assert "all diverged" in str(lost)


def test_one_that_diverges_late_leaves_the_best_to_another():
    batches = jnp.array([1.0] * 27 + [30.0] * 54)
    found = search(
        optax.sgd,
        {"learning_rate": [0.3, 0.05, 0.02]},
        lambda params, batch: (params * batch) ** 2,
        jnp.float32(1.0),
        batches,
        steps=81,
    )
    assert found.diverged.tolist() == [True, False, False]
    assert found.best == {"learning_rate": pytest.approx(0.05)}
    assert "all diverged" not in str(found)


def test_ranges_are_filled_evenly_and_the_same_for_a_seed():
    space = {
        "learning_rate": LogUniform(1e-3, 10.0),
        "b1": Uniform(0.5, 0.9),
        "observation": [0.1, 0.2],
    }
    found = configurations(space, 8, seed=3)
    assert list(found) == list(space)
    assert sorted(found["observation"]) == [0.1] * 8 + [0.2] * 8
    decades = np.floor(4 * np.log10(found["learning_rate"] / 1e-3) + 1e-9)
    assert sorted(decades) == list(range(16))
    parts = np.floor((found["b1"] - 0.5) / 0.4 * 16)
    assert sorted(parts) == list(range(16))
    again, other = (configurations(space, 8, seed=s)["b1"] for s in (3, 4))
    np.testing.assert_array_equal(found["b1"], again)
    assert (found["b1"] != other).any()


def test_samples_are_searched():
    space = {"learning_rate": LogUniform(1e-3, 0.3), "b1": Uniform(0.5, 0.95)}
    found = _search(space, samples=9, make=functools.partial(arsg_optax.arsg, b2=0.9))
    assert sorted(found.steps) == [3] * 6 + [9] * 2 + [27]
    assert found.best["learning_rate"] == found.hyperparameters["learning_rate"][0]
    assert math.isfinite(found.final_losses[0])


def test_table(tmp_path):
    found = _search(min_steps=3, seeds=2)
    found.to_csv(tmp_path / "found.csv")
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*SPACE, "steps", "final_loss", "spread", "diverged"]
    assert [int(row["steps"]) for row in rows] == found.steps.tolist()
    assert float(rows[0]["final_loss"]) == found.final_losses[0]
    assert float(rows[0]["spread"]) > 0
    assert str(found).count("\n") == 6


@pytest.mark.parametrize(
    ("arguments", "rounds"),
    [
        ((9, 90, 1 / 3, None), [(9, 10), (3, 30), (1, 90)]),
        ((27, 100, 1 / 3, None), [(27, 4), (9, 12), (3, 34), (1, 100)]),
        ((7, 100, 1 / 3, None), [(7, 12), (2, 34), (1, 100)]),
        ((8, 100, 0.5, None), [(8, 13), (4, 25), (2, 50), (1, 100)]),
        ((8, 100, 0.5, 25), [(8, 25), (4, 50), (2, 100)]),
        ((5, 100, 1.0, None), [(5, 100)]),
        ((1, 100, 0.5, None), [(1, 100)]),
        ((9, 1, 0.5, None), [(9, 1)]),
    ],
)
def test_rounds(arguments, rounds):
    assert plan_rounds(*arguments) == rounds


def test_progress_goes_to_one():
    shares = []
    _search(min_steps=3, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("space", "match"),
    [
        ({}, "space must name hyper-parameters"),
        ({"b1": []}, r"space\['b1'\] must be numbers"),
        ({"b1": ["a"]}, r"space\['b1'\] must be numbers"),
        ({"debias": [True]}, r"space\['debias'\] must be numbers"),
        ({"b1": 0.9}, r"space\['b1'\] must be numbers"),
        ({"b1": [math.inf]}, r"space\['b1'\] must be numbers"),
        ({"b1": Uniform(1, 0)}, r"space\['b1'\] must have finite low < high"),
        ({"b1": LogUniform(0, 1)}, r"space\['b1'\] must have finite 0 < low < high"),
    ],
)
def test_spaces_that_are_none(space, match):
    with pytest.raises(ValueError, match=match):
        _search(space)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"keep": 0}, r"keep must be in \(0, 1\], got 0"),
        ({"keep": 2.0}, r"keep must be in \(0, 1\], got 2"),
        ({"min_steps": 30}, "min_steps must be at most steps, 27, got 30"),
        ({"samples": 0}, "samples must be a whole number, at least 1"),
        ({"min_steps": 0}, "min_steps must be a whole number, at least 1"),
        ({"steps": 0}, "steps must be a whole number, at least 1"),
        ({"make": optax.sgd}, "unexpected keyword argument 'b1'"),
    ],
)
def test_errors_name_argument_value_and_remedy(options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        _search(**options)
