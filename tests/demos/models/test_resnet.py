"""ResNet-18 and ResNet-50 against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arsg_optax.demos.models.layers import ConvNorm
from arsg_optax.demos.models.resnet import (
    BasicBlock,
    BottleneckBlock,
    ResNet,
    ResNet18,
    ResNet50,
)
from tests.demos.models import checks
from tests.demos.models.reference import (
    conv_norm,
    dense,
    global_average_pool,
    max_pool,
    relu,
)


def basic(x, layers, train, stride):
    inner = relu(conv_norm(x, layers["first"], train, stride))
    inner = conv_norm(inner, layers["second"], train)
    return relu(inner + shortcut(x, layers, train, stride))


def bottleneck(x, layers, train, stride):
    inner = relu(conv_norm(x, layers["first"], train))
    inner = relu(conv_norm(inner, layers["second"], train, stride))
    inner = conv_norm(inner, layers["third"], train)
    return relu(inner + shortcut(x, layers, train, stride))


def shortcut(x, layers, train, stride):
    if "shortcut" not in layers:
        return x
    return conv_norm(x, layers["shortcut"], train, stride)


def network(x, layers, train, block, strides):
    x = max_pool(relu(conv_norm(x, layers["stem"], train, stride=2)), 3, 2, 1)
    for index, stride in enumerate(strides):
        x = block(x, layers["blocks"][index], train, stride)
    return dense(global_average_pool(x), layers["last"])


@pytest.mark.parametrize(
    "model, count", [(ResNet18, 11_689_512), (ResNet50, 25_557_032)]
)
def test_dtypes_and_parameters(model, count):
    checks.assert_contract(model, (64, 64, 3), count)


@pytest.mark.parametrize(
    "window, stride, groups", [(1, 2, 1), (3, 1, 2), (3, 2, 1), (7, 2, 1)]
)
def test_convolution_and_norm(window, stride, groups):
    make = partial(ConvNorm, 4, 6, window, stride, groups)
    reference = partial(conv_norm, stride=stride, groups=groups)
    checks.assert_follows(make, reference, (3, 7, 8, 4))


def test_running_statistics():
    module = checks.randomized(partial(ConvNorm, 3, 4, 3))
    mean, variance = np.array(module.norm.mean), np.array(module.norm.var)
    x = jax.random.normal(checks.rngs()(), (4, 5, 5, 3))
    convolved = np.asarray(module.conv(x))
    module.train()
    module(x)
    batch_mean, batch_variance = convolved.mean((0, 1, 2)), convolved.var((0, 1, 2))
    np.testing.assert_allclose(
        module.norm.mean, 0.9 * mean + 0.1 * batch_mean, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        module.norm.var, 0.9 * variance + 0.1 * batch_variance, rtol=1e-5
    )


@pytest.mark.parametrize("groups", [1, 64])
def test_initial_values(groups):
    module = ConvNorm(64, 128, 3, groups=groups, rngs=checks.rngs())
    kernel = np.asarray(module.conv.kernel)
    wanted = np.sqrt(2 / (9 * 128))
    # A standard deviation of n normal numbers is uncertain by 1 / sqrt(2 n) of it.
    np.testing.assert_allclose(kernel.std(), wanted, rtol=4 / np.sqrt(2 * kernel.size))
    assert np.max(np.abs(kernel)) > 2.5 * wanted
    assert module.conv.bias is None
    np.testing.assert_array_equal(module.norm.scale, np.ones(128))
    np.testing.assert_array_equal(module.norm.bias, np.zeros(128))


@pytest.mark.parametrize(
    "block, reference, channels_in, stride",
    [
        (BasicBlock, basic, 4, 2),
        (BasicBlock, basic, 6, 1),
        (BottleneckBlock, bottleneck, 16, 1),
        (BottleneckBlock, bottleneck, 6, 2),
    ],
)
def test_block(block, reference, channels_in, stride):
    make = partial(block, channels_in, 4, stride)
    unchanged = stride == 1 and channels_in == 4 * block.expansion
    assert (checks.abstract(make).shortcut is None) == unchanged
    shape = (3, 7, 6, channels_in)
    checks.assert_follows(make, partial(reference, stride=stride), shape)


def test_network():
    make = partial(ResNet, BasicBlock, (1, 2), width=4, classes=5)
    whole = partial(network, block=basic, strides=(1, 2, 1))
    checks.assert_follows(make, whole, (3, 18, 15, 3))


def test_stages():
    """A stage has half the size of the one before, and twice the channels."""
    outputs = nnx.eval_shape(_block_outputs, checks.abstract(ResNet18))
    shapes = list(dict.fromkeys(output.shape for output in outputs))
    sizes = zip((56, 28, 14, 7), (64, 128, 256, 512), strict=True)
    assert shapes == [(2, size, size, channels) for size, channels in sizes]


def _block_outputs(network):
    x, outputs = jnp.zeros((2, 56, 56, 64)), []
    for block in network.blocks:
        x = block(x)
        outputs.append(x)
    return outputs
