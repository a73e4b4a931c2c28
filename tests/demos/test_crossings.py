"""The crossings train, are evaluated where they say, and keep their spheres."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arsg_optax import tuning
from arsg_optax.demos import search, train
from arsg_optax.demos.crossings import (
    CROSSING_TASKS,
    CROSSINGS,
    LIKE,
    hidden_matrices,
)
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.models import NormalizedMLP
from arsg_optax.demos.tasks import Task

RATES = {
    "arsg with resilience": 0.02,
    "rsg with resilience": 5.0,
    "arsg on the sphere": 0.02,
    "adarem_s": 0.5,
    "remote muon": 0.02,
    "remote schedule-free": 0.02,
}


@pytest.fixture(scope="module")
def crossing_task(dataset: Dataset) -> Task:
    def make_model(rngs: nnx.Rngs) -> nnx.Module:
        return NormalizedMLP((4, 4), hidden=(16, 16), classes=4, rngs=rngs)

    return replace(
        CROSSING_TASKS["digits"],
        load=lambda data_dir: dataset,
        make_model=make_model,
        batch_size=32,
        epochs=10,
    )


def _trained(name: str, task: Task, dataset: Dataset):
    arrays = train.to_device(dataset)
    forward, params = train.build(task.make_model, 0)
    optimizer = CROSSINGS[name]
    transform = optimizer.make(RATES[name])
    state = train.init_state(transform, optimizer.points, params)
    steps = jax.jit(
        train.make_train_steps(forward, transform, optimizer.points, task.batch_size)
    )
    before = train.evaluate(forward, optimizer.points, state, arrays)
    for epoch in range(task.epochs):
        state, _ = steps(state, train.shuffle_key(0, epoch), arrays)
    after = train.evaluate(forward, optimizer.points, state, arrays)
    return params, state, before, after


@pytest.mark.parametrize("name", RATES)
def test_it_trains(name: str, crossing_task: Task, dataset: Dataset):
    params, state, before, after = _trained(name, crossing_task, dataset)
    for point in (0, 1):  # The whole training set, held and at the own point.
        assert after[point].loss < 0.5 * before[point].loss
    if name in ("arsg on the sphere", "adarem_s"):
        points = [state.held]
        own = CROSSINGS[name].points.own_point
        points += [own(state.opt_state, state.held)] if own else []
        for point in points:
            for index in point["hidden"]:
                radius = np.linalg.norm(params["hidden"][index]["kernel"])
                norm = np.linalg.norm(point["hidden"][index]["kernel"])
                np.testing.assert_allclose(norm, radius, rtol=1e-6)


def test_every_crossing_has_a_rate_here_and_a_range_there():
    assert set(RATES) == set(LIKE) < set(CROSSINGS)
    assert all(len(search.candidates(n, LIKE.get(n))) == 9 for n in CROSSINGS)


def test_the_mask_names_the_scale_invariant_matrices(
    crossing_task: Task, dataset: Dataset
):
    forward, params = train.build(crossing_task.make_model, 0)
    images, labels = map(jnp.asarray, dataset.train[:2])

    def loss(params):
        return train.score(forward(params, images), labels).loss

    found = tuning.scale_invariant_leaves(loss, params)
    assert found == hidden_matrices(params)
    assert any(jax.tree.leaves(found)) and not all(jax.tree.leaves(found))
