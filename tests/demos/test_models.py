"""The networks: shapes, dtypes, initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arsg_optax.demos.models import MLP, LogisticRegression

MODELS = [MLP, LogisticRegression]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(model, dtype):
    network = model((5, 3), classes=7, dtype=dtype, rngs=nnx.Rngs(0))
    scores = network(jnp.ones((2, 5, 3), jnp.float32))
    assert (scores.shape, scores.dtype) == ((2, 7), dtype)
    stored = {leaf.dtype for leaf in jax.tree.leaves(nnx.state(network))}
    assert stored == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("model", MODELS)
def test_parameter_dtype(model):
    network = model((5, 3), param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    stored = {leaf.dtype for leaf in jax.tree.leaves(nnx.state(network))}
    assert stored == {jnp.dtype(jnp.bfloat16)}


def test_logistic_regression_starts_at_zero():
    leaves = jax.tree.leaves(nnx.state(LogisticRegression(rngs=nnx.Rngs(0))))
    assert sum(leaf.size for leaf in leaves) == 28 * 28 * 10 + 10
    assert all(not np.any(leaf) for leaf in leaves)


def test_mlp_depth_follows_hidden():
    network = MLP((4, 4), hidden=(6, 5), classes=3, rngs=nnx.Rngs(0))
    shapes = [layer.kernel.shape for layer in network.layers]
    assert shapes == [(16, 6), (6, 5), (5, 3)]
