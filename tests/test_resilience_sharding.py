"""AdaRem in loops inside `jax.shard_map`, its state made there; whole arrays apart.

One update of each optimizer with a state from outside is in `tests/interop`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

import arsg_optax
from tests.interop.meshes import make_mesh, shard_map
from tests.interop.steps import assert_close

AXES = ("x", "y")
SHAPES = {"b": (3,), "v": (16,), "w": (8, 16)}
LAYOUTS = {
    "replicated": dict.fromkeys(SHAPES, PartitionSpec()),
    "split": {
        "b": PartitionSpec(),
        "v": PartitionSpec(AXES),
        "w": PartitionSpec("x", "y"),
    },
    "mixed": {
        "b": PartitionSpec(),
        "v": PartitionSpec(),
        "w": PartitionSpec(None, "y"),
    },
}
OPTIMIZERS = {
    "adarem": lambda **changes: arsg_optax.adarem(0.1, **changes),
    "adarem_s": lambda **changes: arsg_optax.adarem_s(
        0.1, sphere_mask={"b": False, "v": True, "w": True}, **changes
    ),
}
CASES = pytest.mark.parametrize(
    ("name", "scope"), [(name, s) for name in OPTIMIZERS for s in ("tree", "leaf")]
)
pytestmark = pytest.mark.skipif(
    not hasattr(jax, "shard_map"), reason="JAX 0.6 keeps no record of what varies"
)


def _arrays(seed, *leading):
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(size=(*leading, *shape)), jnp.float32)
        for name, shape in SHAPES.items()
    }


def _loop(optimizer):
    """Params and successive gradients to params, by a scan that starts at `init`."""

    def step(held, gradient):
        params, state = held
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    def run(params, gradients):
        start = params, optimizer.init(params)
        return jax.lax.scan(step, start, gradients)[0][0]

    return run


@functools.cache
def _on_one_device(name, scope):
    return jax.jit(_loop(OPTIMIZERS[name](scope=scope)))(_arrays(0), _arrays(1, 5))


@pytest.mark.parametrize(
    ("name", "scope", "layout"),
    [
        *((name, scope, "split") for name in OPTIMIZERS for scope in ("tree", "leaf")),
        ("adarem", "tree", "replicated"),
        ("adarem_s", "leaf", "mixed"),
    ],
)
def test_a_loop_is_that_of_one_device(name, scope, layout):
    specs = LAYOUTS[layout]
    along = {name: PartitionSpec(None, *spec) for name, spec in specs.items()}
    loop = _loop(OPTIMIZERS[name](scope=scope, axis_name=AXES))
    mesh = make_mesh((2, 4), explicit=False)
    split = shard_map(loop, mesh=mesh, in_specs=(specs, along), out_specs=specs)
    arguments = _arrays(0), _arrays(1, 5)
    got = jax.jit(split)(*arguments)
    assert_close(got, _on_one_device(name, scope), 3e-6)


@pytest.mark.parametrize("scope", ["tree", "leaf"])
def test_whole_parameters_that_differ_by_device(scope):
    """With axis_name=() the devices are as many optimizers that know nothing else."""
    loop = _loop(arsg_optax.adarem(0.1, scope=scope, axis_name=()))
    arguments = _arrays(0, 2), _arrays(1, 2, 5)

    def on_this_device(*trees):
        alone = jax.tree.map(lambda leaf: leaf[0], trees)
        return jax.tree.map(lambda leaf: leaf[None], loop(*alone))

    mesh, spec = make_mesh((2, 4), explicit=False), PartitionSpec("x")
    apart = shard_map(on_this_device, mesh=mesh, in_specs=spec, out_specs=spec)
    expected = jax.jit(jax.vmap(loop))(*arguments)
    assert_close(jax.jit(apart)(*arguments), expected, 3e-6)


@CASES
def test_without_a_name_split_momenta_are_refused(name, scope):
    optimizer, specs = OPTIMIZERS[name](scope=scope), LAYOUTS["mixed"]
    mesh = make_mesh((2, 4), explicit=False)
    init = shard_map(
        lambda params: optimizer.init(params).count,
        mesh=mesh,
        in_specs=(specs,),
        out_specs=PartitionSpec(),
    )
    with pytest.raises(ValueError, match=r"axis_name must name .* axis_name=\('y',\)"):
        init(_arrays(0))
