"""The trainer's step for eight chips: what is split, and what the chips exchange."""

import jax
import pytest

from scripts.compile_for_topology import (
    Compiled,
    compile_step,
    make_layout,
    transformer,
)
from scripts.compiled_step import count
from tests.aot.accelerators import v5e

# Flax's norms promote bfloat16 to float32 by themselves.
pytestmark = [pytest.mark.tpu_aot, pytest.mark.usefixtures("relaxed_promotion")]

_WIDTH, _DEPTH, _HIDDEN, _LENGTH, _BATCH, _WORDS = 128, 8, 384, 64, 2, 512


def _compiled(fsdp: int, split_state: bool = False) -> Compiled:
    v5e()  # Skips without libtpu.
    subject = transformer(_WIDTH, _DEPTH, 4, _LENGTH, _BATCH, _WORDS)
    layout = make_layout("v5e:2x4", fsdp, split_state)
    return compile_step(subject, "orsg", layout, _BATCH)


def _matrices() -> list[tuple[int, int]]:
    return _DEPTH * (4 * [(_WIDTH, _WIDTH)] + 3 * [(_WIDTH, _HIDDEN)])


def _model_flops() -> int:
    """Of a chip's share of the batch: forward, again for the gradient, and backward."""
    tokens = _BATCH * _LENGTH
    layers = sum(m * n for m, n in _matrices())
    # What a block adds last is not computed again.
    products = 8 * layers - 2 * _DEPTH * _WIDTH * _HIDDEN + 6 * _WORDS * _WIDTH
    return tokens * (products + 4 * 4 * _DEPTH * _LENGTH * _WIDTH)


def _orthogonalization_flops() -> int:
    return sum(5 * (4 * m * m * n + 2 * m**3) for m, n in _matrices())


def test_copies_exchange_their_gradients_alone():
    compiled = _compiled(fsdp=1)
    found = count(compiled.text)
    assert set(found.exchanges) == {"all-reduce"}
    # In bfloat16 mostly; those of the tied embedding twice.
    sizes = 2 * (compiled.parameters + _WORDS * _WIDTH)
    assert sizes <= found.exchanges["all-reduce"].bytes < 2 * sizes
    # Every chip orthogonalizes every matrix.
    assert found.flops == _model_flops() + _orthogonalization_flops()


def test_split_states_gather_new_parameters_alone():
    compiled = _compiled(fsdp=1, split_state=True)
    found = count(compiled.text)
    # In float32, once; vectors below 1024 elements are not split.
    gathered = found.exchanges["all-gather"].bytes
    assert gathered == 4 * (compiled.parameters - _WIDTH)
    # In bfloat16, but for one of the tied embedding's.
    scattered = found.exchanges["reduce-scatter"].bytes
    assert scattered <= 2 * (compiled.parameters + 2 * _WORDS * _WIDTH)
    # From parts of every matrix to a layer's whole ones, of which a chip has one.
    layer = sum(m * n for m, n in _matrices()) // _DEPTH
    assert 4 * layer <= found.exchanges["all-to-all"].bytes < 1.2 * 4 * layer
    # Norms, whose gradients are too small to be scattered.
    assert found.exchanges["all-reduce"].bytes < 0.01 * scattered
    # Every chip orthogonalizes the matrices of one layer.
    assert found.flops == _model_flops() + _orthogonalization_flops() / 8


def test_split_parameters_are_gathered_and_their_gradients_scattered():
    compiled = _compiled(fsdp=8)
    found = count(compiled.text)
    assert {"all-gather", "reduce-scatter"} <= set(found.exchanges)
    # A chip has an eighth of every array that is large enough to be split.
    memory = compiled.program.memory_analysis()
    arrays = jax.tree.leaves((compiled.state.held, compiled.state.opt_state))
    large = sum(4 * leaf.size for leaf in arrays if leaf.size >= 1024)
    assert large / 8 < memory.argument_size_in_bytes < 1.1 * large / 8
    # The chips share the orthogonalization, too, by layer.
    assert found.flops == _model_flops() + _orthogonalization_flops() / 8
