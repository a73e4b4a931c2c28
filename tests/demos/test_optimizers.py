"""The registry: every name, its settings, and where each optimizer is evaluated."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.demos import train
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.optimizers import OPTIMIZERS, Points
from arsg_optax.demos.tasks import TASKS, Task

OURS = {"rsg", "arsg", "arsgb", "namsg", "swnts", "adarem"}
OPTAX = {
    "sgd",
    "adam",
    "adamw",
    "nadam",
    "amsgrad",
    "ranger",
    "schedule_free_adamw",
    "muon",
}


def test_registry_has_every_optimizer():
    assert set(OPTIMIZERS) == OURS | OPTAX
    assert {name for name, o in OPTIMIZERS.items() if o.baseline} == OPTAX


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_has_settings_for_what_applies(task: Task):
    _, params = train.build(task.make_model, 0)
    applying = {name for name, o in OPTIMIZERS.items() if o.applies(params)}
    assert set(task.settings) == applying


def test_muon_needs_a_matrix():
    vector = {"scale": jnp.zeros(3)}
    assert not OPTIMIZERS["muon"].applies(vector)
    assert OPTIMIZERS["adam"].applies(vector)


def test_table_a1_of_the_paper():
    settings = TASKS["mnist-logreg"].settings
    assert settings["adam"].learning_rate == 0.005
    assert settings["adam"].options == {"b1": 0.999, "b2": 0.999}
    assert settings["nadam"].learning_rate == 0.01
    assert settings["amsgrad"].options == {"b1": 0.99, "b2": 0.999}
    assert settings["rsg"].learning_rate == 5.0
    assert settings["arsg"].learning_rate == 0.05
    assert settings["sgd"].learning_rate == pytest.approx(0.02)
    assert settings["sgd"].options == {"momentum": 0.99}
    assert settings["ranger"].options["sync_period"] == 5


def test_distance_of_namsg_rises_over_the_first_epoch():
    distance = TASKS["mnist-logreg"].settings["namsg"].keywords(234)["distance"]
    values = [float(distance(step)) for step in (0, 117, 234, 1000)]
    np.testing.assert_allclose(values, [0.9, 1.95, 3.0, 3.0], rtol=1e-6)


def test_epochs_to_act_at_become_updates():
    settings = TASKS["mnist-logreg"].settings
    assert settings["arsgb"].keywords(234)["boost_at"] == 5 * 234
    assert settings["swnts"].keywords(234)["switch_at"] == 10 * 234
    assert str(settings["arsgb"].options["boost_at"]) == "epoch 6"


def own(points: Points, state: train.TrainState) -> Any:
    """The optimizer's own evaluation point x."""
    assert points.own_point is not None
    return points.own_point(state.opt_state, state.held)


def few_steps(name: str, task: Task, dataset: Dataset, steps: int):
    """Some steps by hand; gives the state and the optimizer's points."""
    forward, params = train.build(task.make_model, 0)
    points = OPTIMIZERS[name].points
    keywords = task.settings[name].keywords(steps)
    optimizer = OPTIMIZERS[name].make(0.05, **keywords)
    state = train.init_state(optimizer, points, params)
    images, labels = map(jnp.asarray, dataset.train[:2])

    @jax.jit
    def step(state: train.TrainState) -> train.TrainState:
        gradients = jax.grad(
            lambda params: train.score(forward(params, images), labels).loss
        )(points.gradient_point(state.held))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.held)
        return train.TrainState(optax.apply_updates(state.held, updates), opt_state)

    history = [state]
    for _ in range(steps):
        history.append(step(history[-1]))
    return points, history


def test_ranger_is_evaluated_at_the_slow_weights(task: Task, dataset: Dataset):
    points, history = few_steps("ranger", task, dataset, steps=7)
    slow = [own(points, state) for state in history]
    # The slow weights rest between the sixth steps, while y moves at every one.
    assert_trees(slow[5], slow[0], np.testing.assert_array_equal)
    assert_trees(slow[6], points.gradient_point(history[6].held), close)
    assert largest_difference(slow[6], slow[0]) > 1e-4
    assert largest_difference(slow[7], points.gradient_point(history[7].held)) > 1e-6


def test_schedule_free_is_evaluated_at_the_average(task: Task, dataset: Dataset):
    points, history = few_steps("schedule_free_adamw", task, dataset, steps=4)
    # With a constant step size all z weigh the same: x_t is the mean of z_1..z_t.
    states: list[Any] = [state.opt_state for state in history[1:]]
    mean = jax.tree.map(lambda *z: sum(z) / len(z), *(s.z for s in states))
    assert_trees(own(points, history[-1]), mean, close)


@pytest.mark.parametrize("name", ["arsg", "arsgb", "rsg", "namsg", "swnts"])
def test_ours_are_evaluated_at_the_iterate(name: str, task: Task, dataset: Dataset):
    points, history = few_steps(name, task, dataset, steps=3)
    last = history[-1]
    x = own(points, last)
    assert_trees(x, arsg_optax.eval_params(last.opt_state, last.held))
    assert largest_difference(x, last.held) > 1e-6


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_held_only_where_there_is_no_other_point(name: str):
    points = OPTIMIZERS[name].points
    assert (points.name == "held") == (points.own_point is None)


def close(actual: jax.Array, expected: jax.Array) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def assert_trees(actual, expected, check=np.testing.assert_allclose) -> None:
    jax.tree.map(check, actual, expected)


def largest_difference(first, second) -> float:
    differences = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), first, second)
    return max(float(value) for value in jax.tree.leaves(differences))
