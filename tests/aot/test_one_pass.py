"""One update is one pass over memory, on the programs of a TPU and of a GPU."""

import jax
import jax.numpy as jnp
import optax
import pytest

import arsg_optax
from tests.aot.accelerators import h100, v5e
from tests.aot.program import SHAPES, compile_update

_NARROW = {"mu_dtype": jnp.bfloat16, "nu_dtype": jnp.bfloat16}


def _halved(count):
    return 0.1 * 0.5 ** count.astype(jnp.float32)


def _matrices(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


# Bytes a parameter: each array of the state and the parameter are read and written
# once, the gradient is read.
ONE_PASS = {
    "rsg": (arsg_optax.rsg(0.1), 20),
    "arsg": (arsg_optax.arsg(0.1), 36),
    "arsg-decay": (arsg_optax.arsg(0.1, weight_decay=0.01), 36),
    "arsg-schedule": (arsg_optax.arsg(_halved), 36),
    "arsg-bfloat16": (arsg_optax.arsg(0.1, **_NARROW), 24),
    "arsgb": (arsg_optax.arsgb(0.1, boost_at=10), 36),
    "namsg": (arsg_optax.namsg(0.1), 36),
    # The two-point form reads nothing more: the old direction follows of the old state.
    "rsg-exact": (arsg_optax.rsg(0.1, exact=True), 20),
    "arsg-exact": (arsg_optax.arsg(_halved, exact=True, weight_decay=0.01), 36),
    "arsg-exact-bfloat16": (arsg_optax.arsg(0.1, exact=True, **_NARROW), 24),
    "arsgb-exact": (arsg_optax.arsgb(0.1, boost_at=10, exact=True), 36),
    "namsg-exact": (arsg_optax.namsg(0.1, exact=True), 36),
    "adarem": (arsg_optax.adarem(0.1), 20),
    "adarem-leaf": (arsg_optax.adarem(0.1, scope="leaf"), 20),
    "adarem-bfloat16": (arsg_optax.adarem(0.1, mu_dtype=jnp.bfloat16), 16),
}
# A norm or an inner product over the new step comes first, so there are two passes, and
# the second one reads again what it needs.
TWO_PASSES = {
    "swnts": (arsg_optax.swnts(0.1, switch_at=10), 52),
    "adarem_s": (arsg_optax.adarem_s(0.1, sphere_mask=_matrices), 32),
}


@pytest.fixture(scope="module")
def chips():
    """The chips of a TPU."""
    return v5e()


@pytest.fixture(scope="module")
def gpus():
    """A GPU."""
    return h100()


def _assert_one_pass(program, expected_bytes):
    for name in SHAPES:
        assert program.passes(name) == 1, name
        assert program.bytes_per_element(name) == expected_bytes, name
    assert program.temporary_bytes < 0.01 * 4 * sum(program.sizes.values())


@pytest.mark.tpu_aot
@pytest.mark.parametrize("name", ONE_PASS)
def test_one_pass_on_a_tpu(name, chips):
    optimizer, expected_bytes = ONE_PASS[name]
    _assert_one_pass(compile_update(optimizer, chips[:1]), expected_bytes)


@pytest.mark.tpu_aot
@pytest.mark.parametrize("name", ONE_PASS)
def test_one_pass_on_a_split_tpu_slice(name, chips):
    """Eight chips: nothing is gathered, and only scalars are reduced."""
    optimizer, expected_bytes = ONE_PASS[name]
    program = compile_update(optimizer, chips)
    _assert_one_pass(program, expected_bytes)
    for kernel in program.collectives():
        assert kernel.opcode.startswith("all-reduce")
        assert all(size == 1 for _, size in kernel.writes)


@pytest.mark.tpu_aot
def test_one_pass_in_bfloat16_alone_on_a_tpu(chips):
    """The maximum of AdaRem's momentum is taken in the width of the parameters."""
    optimizer = arsg_optax.adarem(0.1, mu_dtype=jnp.bfloat16)
    _assert_one_pass(compile_update(optimizer, chips[:1], jnp.bfloat16), 10)


@pytest.mark.tpu_aot
@pytest.mark.parametrize("name", TWO_PASSES)
@pytest.mark.parametrize("count", [1, 8])
def test_two_passes_where_a_norm_comes_first(name, count, chips):
    optimizer, most_bytes = TWO_PASSES[name]
    program = compile_update(optimizer, chips[:count])
    for parameter in SHAPES:
        assert program.passes(parameter) <= 2, parameter
        assert program.bytes_per_element(parameter) <= most_bytes, parameter
    for kernel in program.collectives():
        assert kernel.opcode.startswith("all-reduce")
        assert all(size <= len(SHAPES) for _, size in kernel.writes)


@pytest.mark.gpu_aot
@pytest.mark.parametrize("name", ONE_PASS)
def test_one_pass_on_a_gpu(name, gpus):
    optimizer, expected_bytes = ONE_PASS[name]
    program = compile_update(optimizer, gpus)
    _assert_one_pass(program, expected_bytes)


@pytest.mark.tpu_aot
def test_the_count_sees_a_second_pass(chips):
    """An update that first needs its own norm is no single pass."""
    clipped = optax.chain(optax.clip_by_global_norm(1.0), arsg_optax.arsg(0.1))
    program = compile_update(clipped, chips[:1])
    assert all(program.passes(name) == 2 for name in SHAPES)
