"""The registry: every name, its settings, and where each optimizer is evaluated."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import arsg_optax
from arsg_optax import MatrixAxes
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.models import Transformer
from arsg_optax.demos.tasks import TASKS, Task
from arsg_optax.demos.tasks.settings import Clock
from arsg_optax.demos.training.optimizers import OPTIMIZERS, Points, hidden_matrices
from arsg_optax.demos.training.steps import TrainState, init_state, make_step
from arsg_optax.transforms.orthogonalization import is_axes

OURS = {"orsg", "arsgw", "rsg", "arsg", "arsgb", "namsg", "swnts"}
OURS |= {"adarem", "adarem_s"}
CLOCK = Clock(steps_per_epoch=234, epochs=20, protocol_epochs=20)
OPTAX = {
    "sgd",
    "adam",
    "adamw",
    "nadam",
    "amsgrad",
    "ranger",
    "schedule_free_adamw",
    "muon",
    "inner_muon",
}


def test_registry_has_every_optimizer():
    assert set(OPTIMIZERS) == OURS | OPTAX
    assert {name for name, o in OPTIMIZERS.items() if o.baseline} == OPTAX


@pytest.mark.parametrize("name", ["digits-mlp", "mnist-logreg"])
def test_a_small_task_has_settings_for_what_applies(name: str):
    model = nnx.eval_shape(lambda: TASKS[name].make_model(rngs=nnx.Rngs(0)))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    applying = {name for name, o in OPTIMIZERS.items() if o.applies(params)}
    assert set(TASKS[name].settings) == applying


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_settings_are_of_known_optimizers(task: Task):
    for preset in task.presets.values():
        assert preset and set(preset) <= set(OPTIMIZERS)


def test_muon_needs_a_matrix():
    vector = {"scale": jnp.zeros(3)}
    assert not OPTIMIZERS["muon"].applies(vector)
    assert OPTIMIZERS["adam"].applies(vector)
    assert not OPTIMIZERS["adarem_s"].applies({"matrix": jnp.zeros((3, 3))})
    assert OPTIMIZERS["adarem_s"].applies({"kernel": jnp.zeros((3, 3, 1, 2))})


def test_stacked_layers_are_the_matrices_that_layers_apart_are():
    def found(scan: bool) -> Any:
        make = partial(Transformer, 32, 8, 3, 2, scan=scan)
        model = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
        return hidden_matrices(nnx.to_pure_dict(nnx.state(model, nnx.Param)))

    stacked, apart = found(True), found(False)
    for layer in apart.pop("layers").values():
        axes = jax.tree.map(
            lambda one: one and MatrixAxes(1, 2), layer, is_leaf=is_axes
        )
        assert stacked["layers"] == axes
    assert stacked["layers"]["mlp"]["up"]["kernel"] == MatrixAxes(1, 2)
    assert {**apart, "layers": stacked["layers"]} == stacked


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
    distance = TASKS["mnist-logreg"].settings["namsg"].keywords(CLOCK)["distance"]
    values = [float(distance(step)) for step in (0, 117, 234, 1000)]
    np.testing.assert_allclose(values, [0.9, 1.95, 3.0, 3.0], rtol=1e-6)


def test_epochs_to_act_at_become_updates():
    settings = TASKS["mnist-logreg"].settings
    assert settings["arsgb"].keywords(CLOCK)["boost_at"] == 5 * 234
    assert settings["swnts"].keywords(CLOCK)["switch_at"] == 10 * 234
    assert str(settings["arsgb"].options["boost_at"]) == "epoch 6"


def test_times_shrink_with_a_shorter_run():
    task = TASKS["cifar10-resnet20"].resized(epochs=8, batch_size=None)
    clock = task.clock(195)
    assert task.preset("fine")["arsgb"].keywords(clock)["boost_at"] == 5 * 195
    assert task.preset("fast")["arsgb"].keywords(clock)["boost_at"] == 2 * 195
    rate = task.schedule.of(0.5, clock)
    np.testing.assert_allclose(
        [rate(step) for step in (0, 1199, 1200, 1559)], [0.5, 0.5, 0.05, 0.05]
    )


def test_the_schedules_of_the_protocols():
    text = TASKS["wikitext2-lstm"]
    rate = text.schedule.of(1.0, text.clock(10))
    steps = (199, 200, 299, 300)
    np.testing.assert_allclose([rate(s) for s in steps], [1, 1 / 4, 1 / 4, 1 / 16])
    cosine = TASKS["imagenet-resnet18"]
    rate = cosine.schedule.of(0.4, cosine.clock(10))
    expected = [0.4, 0.2, 0.0, 0.0]
    np.testing.assert_allclose(
        [rate(s) for s in (0, 500, 1000, 1001)], expected, atol=1e-7
    )


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_clipping_and_decay_come_before_every_optimizer(name: str):
    """Clipped to norm 1 and decayed by 0.5 is what the optimizer then gets."""
    optimizer = OPTIMIZERS[name]
    params = {"kernel": jnp.full((2, 2, 1, 2), 0.5), "matrix": jnp.ones((2, 2))}
    gradients = jax.tree.map(lambda leaf: 3.0 * jnp.ones_like(leaf), params)
    acting = {"swnts": {"switch_at": 5}, "arsgb": {"boost_at": 5}}
    options = acting.get(name, {})
    before = [optax.clip_by_global_norm(1.0), optax.add_decayed_weights(0.5)]
    behind = optimizer.behind(before, 0.1, **options)
    alone = optimizer.make(0.1, **options)
    norm = optax.tree.norm(gradients)
    prepared = jax.tree.map(lambda g, p: g / norm + 0.5 * p, gradients, params)
    found, expected = (
        one_update(optimizer.points, transform, params, given)
        for transform, given in ((behind, gradients), (alone, prepared))
    )
    assert_trees(found, expected, close)


def one_update(points: Points, transform: Any, params: Any, gradients: Any) -> Any:
    """The optimizer's own point after an update, or the held one."""
    held = points.hold(params)
    state = transform.init(held)
    updates, state = transform.update(gradients, state, held)
    held = optax.apply_updates(held, updates)
    at_x = points.own_point or (lambda state, held: points.gradient_point(held))
    return points.gradient_point(held), at_x(state, held)


def own(points: Points, state: TrainState) -> Any:
    """The optimizer's own evaluation point x."""
    assert points.own_point is not None
    return points.own_point(state.opt_state, state.held)


def few_steps(name: str, task: Task, dataset: Dataset, steps: int):
    """Some steps by hand; gives the optimizer's points and the states."""
    problem = task.setup(dataset).problem
    points = OPTIMIZERS[name].points
    optimizer = task.transform(OPTIMIZERS[name], task.settings[name], steps, 0.05)
    state = init_state(optimizer, points, *problem.init(0), steps)
    batch = tuple(map(jnp.asarray, dataset.train[:2]))
    step = jax.jit(make_step(problem, optimizer, points))
    history = [state]
    for index in range(steps):
        key = jax.random.key(index)
        history.append(step(history[-1], batch, jnp.int32(index), key))
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
