"""ResNet-20 against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from arsg_optax.demos.models.resnet_cifar import (
    CifarBlock,
    ResNetCifar,
    padded_shortcut,
)
from tests.demos.models import checks
from tests.demos.models.reference import conv_norm, dense, global_average_pool, relu


def block(x, layers, train, stride):
    inner = relu(conv_norm(x, layers["first"], train, stride))
    inner = conv_norm(inner, layers["second"], train)
    shortcut = np.zeros_like(inner)
    shortcut[..., : x.shape[-1]] = x[:, ::stride, ::stride]
    return relu(inner + shortcut)


def network(x, layers, train):
    x = relu(conv_norm(x, layers["stem"], train))
    for index in range(3):
        x = block(x, layers["blocks"][index], train, stride=2 if index else 1)
    return dense(global_average_pool(x), layers["last"])


def test_dtypes_and_parameters():
    checks.assert_contract(ResNetCifar, (28, 28, 3), 269_722)


@pytest.mark.parametrize(
    "channels, stride, size", [((6, 6), 1, 7), ((4, 8), 2, 6), ((4, 8), 2, 7)]
)
def test_block(channels, stride, size):
    make = partial(CifarBlock, *channels, stride)
    shape = (3, size, size + 2, channels[0])
    checks.assert_follows(make, partial(block, stride=stride), shape)


def test_shortcut_has_no_parameters():
    x = np.arange(1.0, 9.0, dtype=np.float32).reshape(1, 2, 4, 1)
    shortcut = np.asarray(padded_shortcut(x, 3, 2))
    np.testing.assert_array_equal(shortcut, [[[[1, 0, 0], [3, 0, 0]]]])


def test_network():
    checks.assert_follows(partial(ResNetCifar, 8), network, (3, 7, 8, 3))


def test_trains():
    """The one vision network that does: all have the same layers and gradients."""
    images = jax.random.normal(checks.rngs()(), (4, 8, 8, 3))
    labels = jnp.arange(4) % 3
    model = checks.randomized(partial(ResNetCifar, 8, classes=3))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(
                model(images), labels
            ).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    losses = [float(step(model, optimizer)) for _ in range(10)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_depth_is_checked(depth):
    with pytest.raises(ValueError, match=rf"depth must be 6 n \+ 2 .*got {depth}"):
        ResNetCifar(depth, rngs=nnx.Rngs(0))
