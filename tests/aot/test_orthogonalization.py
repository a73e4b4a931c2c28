"""ORSG's programs of a TPU and a GPU: products in bfloat16, everything else once."""

import jax
import pytest

import arsg_optax
from tests.aot.accelerators import h100, v5e
from tests.aot.program import SHAPES, SPLIT, compile_update

_MATRICES = {
    "dense": True,
    "conv": arsg_optax.MatrixAxes((0, 1, 2), 3),
    "bias": False,
}
_OPTIMIZER = arsg_optax.orsg(0.02, matrices=_MATRICES, weight_decay=0.1)


def _products(program):
    """Dtypes of what matrix products make, wherever they stand in the program."""
    lines = [
        line
        for line in program.text.splitlines()
        if " dot(" in line or " convolution(" in line or "custom-call(" in line
    ]
    return {dtype for line in lines for dtype in ("bf16[", "f32[") if dtype in line}


@pytest.mark.tpu_aot
@pytest.mark.parametrize(("count", "explicit"), [(1, False), (8, True)])
def test_compiles_for_a_tpu_slice(count, explicit):
    chips = v5e()[:count]
    program = compile_update(_OPTIMIZER, chips, explicit=explicit)
    assert "bf16[" in _products(program)
    # The rest is one pass, as without matrices.
    assert program.passes("bias") == 1
    assert program.bytes_per_element("bias") == 28  # y, m, v twice and g.
    moved = {kernel.opcode for kernel in program.collectives()}
    assert bool(moved) == (count > 1)


@pytest.mark.gpu_aot
def test_compiles_for_a_gpu():
    program = compile_update(_OPTIMIZER, h100())
    assert "bf16[" in program.text
    assert program.bytes_per_element("bias") == 28


@pytest.mark.tpu_aot
def test_shardings_are_those_of_the_parameters():
    """On an explicit mesh the types of all results say so."""
    chips = v5e()
    kinds = (jax.sharding.AxisType.Explicit,)
    mesh = jax.sharding.Mesh(chips, ("d",), axis_types=kinds)
    params = {
        name: jax.ShapeDtypeStruct(
            shape,
            "float32",
            sharding=jax.sharding.NamedSharding(
                mesh, jax.sharding.PartitionSpec(*SPLIT[name])
            ),
        )
        for name, shape in SHAPES.items()
    }
    state = jax.eval_shape(_OPTIMIZER.init, params)
    updates, _ = jax.eval_shape(_OPTIMIZER.update, params, state, params)
    for name in SHAPES:
        assert updates[name].sharding.spec == params[name].sharding.spec
