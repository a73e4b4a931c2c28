"""A language model of another package, unchanged: Mamba-2 in Flax NNX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import arsg_optax
from arsg_optax import MatrixAxes, hidden_matrices
from arsg_optax.flax import at_iterate
from tests.clients import client

# Each channel is convolved alone, (4, 1, channels): there is no matrix in it.
RULES = {"conv1d/conv/kernel": False}
OPTIMIZERS = {
    "orsg": lambda: arsg_optax.orsg(
        0.02, matrices=lambda params: hidden_matrices(params, RULES)
    ),
    "arsgw": lambda: arsg_optax.arsgw(0.02),
}


@pytest.fixture
def model():
    mamba2 = client("mamba2_jax")
    config = mamba2.Mamba2Config(
        vocab_size=32,
        hidden_size=16,
        state_size=8,
        head_dim=8,
        chunk_size=16,
        num_hidden_layers=1,
    )
    return mamba2.Mamba2ForCausalLM(config, rngs=nnx.Rngs(0))


def _loss(model, tokens):
    return model(tokens, labels=tokens)["loss"]


@nnx.jit
def _step(model, optimizer, tokens):
    loss, gradients = nnx.value_and_grad(_loss)(model, tokens)
    optimizer.update(model, gradients)
    return loss


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_learns_to_count(model, name):
    tokens = (jnp.arange(4)[:, None] + jnp.arange(12)) % 32
    optimizer = nnx.Optimizer(model, OPTIMIZERS[name](), wrt=nnx.Param)
    before = jax.tree.map(np.asarray, nnx.state(model, nnx.Param))
    losses = [float(_step(model, optimizer, tokens)) for _ in range(12)]
    assert losses[-1] < losses[0] - 0.5
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), before, nnx.state(model, nnx.Param)
    )
    assert all(jax.tree.leaves(moved))
    held = float(_loss(model, tokens))
    with at_iterate(model, optimizer) as evaluated:
        iterate = float(_loss(evaluated, tokens))
    assert iterate != held and iterate < losses[0] - 0.5
    assert float(_loss(model, tokens)) == held


def test_its_hidden_matrices(model):
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    with pytest.raises(ValueError, match=r"conv1d/conv/kernel.*\(4, 1, 48\)"):
        hidden_matrices(params)
    found = hidden_matrices(params, RULES)
    leaves = jax.tree_util.tree_leaves_with_path(
        found, is_leaf=lambda leaf: isinstance(leaf, MatrixAxes)
    )
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves
    }
    assert names == {
        f"backbone/layers/0/mixer/{name}/kernel" for name in ("in_proj", "out_proj")
    }
    assert {axes for _, axes in leaves} == {MatrixAxes(input=0, output=1)}
