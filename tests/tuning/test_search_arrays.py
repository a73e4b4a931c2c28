"""Searches on arrays of other kinds and in other places, and models that are called."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.tuning import search, search_learning_rate
from arsg_optax.tuning._meshes import use_mesh
from tests.tuning.searches import regression, square_loss, start, train

RATES = [0.003, 0.01, 0.03, 0.1]
PARTS = {"learning_rate": RATES}


@jax.tree_util.register_pytree_node_class
class Model:
    """Parameters that can be called, as Equinox's modules can."""

    def __init__(self, tree):
        self.tree = tree

    def __call__(self, x):
        return x @ self.tree["w"] + self.tree["b"]

    def tree_flatten(self):
        return (self.tree,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def _losses(
    params=None, batches=None, loss=square_loss, make=arsg_optax.rsg, **options
):
    found = search_learning_rate(
        make,
        loss,
        start() if params is None else params,
        regression() if batches is None else batches,
        RATES,
        steps=10,
        **options,
    )
    return found.losses


def test_a_model_that_can_be_called_is_no_function_of_a_seed():
    def loss(model, batch):
        return jnp.mean((model(batch[0]) - batch[1]) ** 2)

    np.testing.assert_allclose(_losses(Model(start()), loss=loss), _losses(), rtol=1e-6)


@pytest.mark.parametrize("engine", ["vmapped", "unrolled", "sequential"])
@pytest.mark.parametrize("placed", ["params", "batches"])
def test_arrays_on_another_device_by_request(placed, engine):
    given = {"params": start(), "batches": regression()}
    given[placed] = jax.device_put(given[placed], jax.devices()[3])
    np.testing.assert_allclose(_losses(**given, engine=engine), _losses(), rtol=1e-5)


@pytest.mark.parametrize("engine", ["vmapped", "unrolled", "sequential"])
def test_groups_go_on_where_they_were(engine):
    def found():
        return search(
            arsg_optax.rsg,
            PARTS,
            square_loss,
            start(),
            regression(),
            steps=9,
            keep=0.5,
            engine=engine,
            memory_limit=1,
        )

    with jax.default_device(jax.devices()[1]):
        elsewhere = found()
    np.testing.assert_allclose(elsewhere.losses, found().losses, rtol=1e-5)


@pytest.mark.parametrize("around", [False, True])
def test_a_typed_mesh_may_be_set_around_the_search(around):
    types = (jax.sharding.AxisType.Explicit,)
    mesh = jax.make_mesh((8,), ("all",), axis_types=types)
    with use_mesh(mesh) if around else nullcontext():
        found = _losses(mesh=mesh)
    np.testing.assert_allclose(found, _losses(), rtol=1e-5)


def test_states_keep_their_dtype_under_a_traced_rate(relaxed_promotion):
    def make(rate):
        return optax.contrib.schedule_free_adamw(rate)

    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), start())
    found = _losses(narrow, make=make)
    assert np.isfinite(found).all()
    assert (found[:, -1] < found[:, 0]).all()


def test_float64(x64):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), start())
    batches = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), regression())
    found = _losses(params, batches)
    for rate, losses in zip(RATES, found, strict=True):
        expected = train(arsg_optax.rsg(rate), params, batches, 10)
        np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_whole_floats_are_numbers_of_steps():
    found = search_learning_rate(
        arsg_optax.rsg, square_loss, start(), regression(), RATES, steps=10.0, seeds=1.0
    )
    np.testing.assert_array_equal(found.losses, _losses())
