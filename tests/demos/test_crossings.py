"""The crossings train, are evaluated where they say, and keep their spheres."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arsg_optax import tuning
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.models import NormalizedMLP
from arsg_optax.demos.tasks import Task, candidates
from arsg_optax.demos.training.trainer import Trainer
from scripts.crossings import (
    CROSSING_TASKS,
    CROSSINGS,
    LIKE,
    hidden_matrices,
)

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
    def make_model(rngs: nnx.Rngs, **numbers: Any) -> nnx.Module:
        return NormalizedMLP((4, 4), (16, 16), classes=4, rngs=rngs, **numbers)

    return replace(
        CROSSING_TASKS["digits"],
        load=lambda data_dir: dataset,
        make_model=make_model,
        batch_size=32,
        epochs=10,
    )


def _trained(name: str, task: Task, dataset: Dataset):
    setup = task.setup(dataset)
    start = setup.problem.init(0)
    transform = CROSSINGS[name].make(RATES[name])
    trainer = Trainer(
        setup.problem, setup.sources, transform, CROSSINGS[name].points, start=start
    )
    before = trainer.evaluator(trainer.state)
    while trainer.epoch <= task.epochs:
        while trainer.step < trainer.steps_per_epoch:
            trainer.run_chunk()
        trainer.next_epoch()
    return start[0], trainer.state, before, trainer.evaluator(trainer.state)


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
    assert all(len(candidates.candidates(n, LIKE.get(n))) == 9 for n in CROSSINGS)


def test_the_mask_names_the_scale_invariant_matrices(
    crossing_task: Task, dataset: Dataset
):
    problem = crossing_task.setup(dataset).problem
    params, model_state = problem.init(0)
    batch = tuple(map(jnp.asarray, dataset.train[:2]))

    def loss(params):
        return problem.loss(params, model_state, batch, jax.random.key(0))[0]

    found = tuning.scale_invariant_leaves(loss, params)
    assert found == hidden_matrices(params)
    assert any(jax.tree.leaves(found)) and not all(jax.tree.leaves(found))
