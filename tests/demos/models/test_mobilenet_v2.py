"""MobileNetV2 against NumPy."""

from functools import partial

import pytest
from flax import nnx

from arsg_optax.demos.models.mobilenet_v2 import (
    InvertedResidual,
    MobileNetV2,
    round_channels,
)
from tests.demos.models import checks
from tests.demos.models.reference import conv_norm, dense, global_average_pool, relu6

STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


def block(x, layers, train, stride):
    inner = x
    if "expand" in layers:
        inner = relu6(conv_norm(inner, layers["expand"], train))
    width = inner.shape[-1]
    inner = relu6(conv_norm(inner, layers["depthwise"], train, stride, groups=width))
    inner = conv_norm(inner, layers["project"], train)
    return x + inner if x.shape == inner.shape else inner


def network(x, layers, train):
    x = relu6(conv_norm(x, layers["stem"], train, stride=2))
    for index, stride in enumerate(STRIDES):
        x = block(x, layers["blocks"][index], train, stride)
    x = relu6(conv_norm(x, layers["head"], train))
    return dense(global_average_pool(x), layers["last"])


@pytest.mark.parametrize("width, count", [(1.0, 3_504_872), (0.5, 1_968_680)])
def test_dtypes_and_parameters(width, count):
    checks.assert_contract(partial(MobileNetV2, width), (64, 64, 3), count)


@pytest.mark.parametrize(
    "channels_out, stride, expansion", [(4, 1, 3), (6, 1, 1), (4, 2, 1), (6, 2, 3)]
)
def test_block(channels_out, stride, expansion):
    make = partial(InvertedResidual, 4, channels_out, stride, expansion)
    assert checks.abstract(make).adds_input == (stride == 1 and channels_out == 4)
    checks.assert_follows(make, partial(block, stride=stride), (3, 7, 6, 4))


def test_network():
    make = partial(MobileNetV2, 0.1, classes=5)
    checks.assert_follows(make, network, (2, 32, 36, 3), modes=(False,))


@pytest.mark.parametrize(
    "channels, rounded",
    [
        (3, 8),
        (11.9, 16),
        (12, 16),
        (16, 16),
        (19, 24),
        (20, 24),
        (33, 32),
        (1792, 1792),
    ],
)
def test_rounding(channels, rounded):
    # 11.9 would become 8 and 19 would become 16, both more than a tenth less.
    assert round_channels(channels) == rounded


def test_initial_values():
    checks.assert_small_dense_layer(partial(MobileNetV2, 0.1))


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_width_is_checked(width):
    with pytest.raises(ValueError, match=f"width must be above 0 .*got {width}"):
        MobileNetV2(width, rngs=nnx.Rngs(0))
