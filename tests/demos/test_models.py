"""The networks: shapes, dtypes, initial values."""

from functools import partial

import jax
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


def count_of(*layers):
    """Parameters of dense layers `(inputs, outputs)`."""
    return sum((inputs + 1) * outputs for inputs, outputs in layers)


@pytest.mark.parametrize(
    "model, count",
    [
        (partial(MLP, hidden=(6, 5), classes=3), count_of((15, 6), (6, 5), (5, 3))),
        (partial(LogisticRegression, classes=7), count_of((15, 7))),
        (
            partial(NormalizedMLP, hidden=(6, 5), classes=3),
            # Matrices without a bias, two numbers per normalized one.
            15 * 6 + 6 * 5 + 2 * (6 + 5) + count_of((5, 3)),
        ),
    ],
)
def test_dtypes_and_parameters(model, count):
    checks.assert_contract(partial(model, (5, 3)), (5, 3), count)


def test_the_network_of_the_mnist_experiment():
    convolutions = (25 * 20 + 20) + (25 * 20 * 50 + 50)
    norms = 2 * (20 + 50 + 500)
    dense = count_of((50 * 4 * 4, 500), (500, 10))
    checks.assert_contract(MnistCNN, (28, 28), convolutions + norms + dense)


def test_logistic_regression_starts_at_zero():
    leaves = jax.tree.leaves(nnx.state(LogisticRegression(rngs=nnx.Rngs(0))))
    assert sum(leaf.size for leaf in leaves) == 28 * 28 * 10 + 10
    assert all(not np.any(leaf) for leaf in leaves)


def test_hidden_matrices_of_the_normalized_mlp_have_no_scale():
    network = checks.randomized(
        partial(NormalizedMLP, (4, 4), hidden=(6, 5), classes=3)
    )
    images = jax.random.normal(jax.random.key(0), (7, 4, 4))
    graphdef, state = nnx.split(network)
    params = nnx.to_pure_dict(state)
    assert [set(layer) for layer in params["hidden"].values()] == [{"kernel"}] * 2
    forward = jax.jit(lambda params: nnx.merge(graphdef, params)(images))
    before = forward(params)
    params["hidden"] = jax.tree.map(lambda kernel: 3.0 * kernel, params["hidden"])
    after = forward(params)
    # But for the epsilon of layer normalization, 1e-6 of variances of order 0.1.
    np.testing.assert_allclose(after, before, rtol=1e-3)
