"""The networks: shapes, dtypes, initial values."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arsg_optax.demos.models import (
    MLP,
    LogisticRegression,
    MnistCNN,
    NormalizedMLP,
)
from tests.demos.models import checks

MODELS = [MLP, LogisticRegression, NormalizedMLP]


def _made(model, *arguments, **options):
    """Under jit, which compiles all initial values as one program."""
    make = nnx.jit(lambda: model(*arguments, **options, rngs=checks.rngs()))
    return make()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(model, dtype):
    network = _made(model, (5, 3), classes=7, dtype=dtype)
    scores = network(jnp.ones((2, 5, 3), jnp.float32))
    assert (scores.shape, scores.dtype) == ((2, 7), dtype)
    stored = {leaf.dtype for leaf in jax.tree.leaves(nnx.state(network))}
    assert stored == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("model", MODELS)
def test_parameter_dtype(model):
    network = _made(model, (5, 3), param_dtype=jnp.bfloat16)
    stored = {leaf.dtype for leaf in jax.tree.leaves(nnx.state(network))}
    assert stored == {jnp.dtype(jnp.bfloat16)}


def test_logistic_regression_starts_at_zero():
    leaves = jax.tree.leaves(nnx.state(LogisticRegression(rngs=nnx.Rngs(0))))
    assert sum(leaf.size for leaf in leaves) == 28 * 28 * 10 + 10
    assert all(not np.any(leaf) for leaf in leaves)


def test_mlp_depth_follows_hidden():
    network = checks.abstract(partial(MLP, (4, 4), hidden=(6, 5), classes=3))
    shapes = [layer.kernel.shape for layer in network.layers]
    assert shapes == [(16, 6), (6, 5), (5, 3)]


def test_the_network_of_the_mnist_experiment():
    network = _made(MnistCNN)
    scores = nnx.jit(lambda network, images: network(images))(
        network, jnp.ones((2, 28, 28))
    )
    assert scores.shape == (2, 10)
    counted = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
    convolutions = (25 * 20 + 20) + (25 * 20 * 50 + 50)
    dense = (50 * 4 * 4 * 500 + 500) + (500 * 10 + 10)
    assert counted == convolutions + dense + 2 * (20 + 50 + 500)


def test_hidden_matrices_of_the_normalized_mlp_have_no_scale():
    network = _made(NormalizedMLP, (4, 4), hidden=(6, 5), classes=3)
    images = jax.random.normal(jax.random.key(0), (7, 4, 4))
    graphdef, state = nnx.split(network)
    params = nnx.to_pure_dict(state)
    assert [set(layer) for layer in params["hidden"].values()] == [{"kernel"}] * 2
    forward = jax.jit(lambda params: nnx.merge(graphdef, params)(images))
    before = forward(params)
    params["hidden"] = jax.tree.map(lambda kernel: 3.0 * kernel, params["hidden"])
    after = forward(params)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
