"""The iterate where the state lies in a host's memory, or split as no parameter is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import arsg_optax
from tests.interop.meshes import make_mesh

OPTIMIZERS = {
    "rsg": arsg_optax.rsg(0.1),
    "orsg": arsg_optax.orsg(0.1),
    "exact": arsg_optax.arsgw(0.1, b1=0.9, exact=True),
    "averaged": arsg_optax.average_remotely(optax.adam(0.1)),
    "observed": arsg_optax.observe_remotely(optax.adam(0.1), 2.0),
    "schedule-free": optax.contrib.schedule_free_adamw(0.1),
    "projected": arsg_optax.project(
        arsg_optax.rsg(0.1), arsg_optax.Box(-1.0, 1.0), metric="euclidean"
    ),
}


def _trained(optimizer):
    mesh = make_mesh((8,), explicit=False)
    whole = NamedSharding(mesh, P())
    params = {"w": jnp.arange(64.0).reshape(16, 4) / 64, "b": jnp.ones(8)}
    params = jax.device_put(params, whole)
    state = optimizer.init(params)
    for _ in range(3):
        gradients = jax.tree.map(jnp.sin, params)
        updates, state = jax.jit(optimizer.update)(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return mesh, params, state


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("memory", [None, "pinned_host"])
@pytest.mark.usefixtures("relaxed_promotion")
def test_the_iterate_is_laid_out_as_the_parameters(name: str, memory: str | None):
    if memory is not None and not hasattr(jax, "memory"):
        pytest.skip("this version computes with no array in a host's memory")
    mesh, params, state = _trained(OPTIMIZERS[name])
    expected = arsg_optax.eval_params(state, params)
    parts = NamedSharding(mesh, P("x"), memory_kind=memory)
    scalars = NamedSharding(mesh, P(), memory_kind=memory)

    def placed(leaf):
        return jax.device_put(leaf, parts if leaf.ndim else scalars)

    split = jax.tree.map(placed, state)
    for compiled in (False, True):
        evaluate = jax.jit(arsg_optax.eval_params) if compiled else None
        found = (evaluate or arsg_optax.eval_params)(split, params)
        for leaf, whole, held in zip(
            *map(jax.tree.leaves, (found, expected, params)), strict=True
        ):
            np.testing.assert_allclose(leaf, whole, rtol=1e-6)
            assert leaf.sharding.memory_kind == held.sharding.memory_kind
            assert compiled or leaf.sharding == held.sharding


@pytest.mark.skipif(not hasattr(jax, "memory"), reason="an older version of JAX")
def test_a_state_in_host_memory_is_updated_from_there():
    optimizer = arsg_optax.arsgw(0.1)
    params, state = {"w": jnp.ones((16, 4))}, optimizer.init({"w": jnp.ones((16, 4))})
    hosted = jax.device_put(state, jax.memory.Space.Host)
    places = jax.tree.map(lambda leaf: leaf.sharding, (params, hosted))

    def update(gradients, state, params):
        state = jax.device_put(state, jax.memory.Space.Device)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    here, there = (params, state), (params, hosted)
    for _ in range(3):
        here = jax.jit(update)(here[0], here[1], here[0])
        there = jax.jit(update, out_shardings=places)(there[0], there[1], there[0])
    assert {x.sharding.memory_kind for x in jax.tree.leaves(there[1])} == {
        "pinned_host"
    }
    points = (arsg_optax.eval_params(state, params) for params, state in (here, there))
    np.testing.assert_array_equal(*(point["w"] for point in points))
