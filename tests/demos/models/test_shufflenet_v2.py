"""ShuffleNetV2 against NumPy."""

from functools import partial

import numpy as np
import pytest
from flax import nnx

from arsg_optax.demos.models.shufflenet_v2 import (
    ShuffleBranch,
    ShuffleDownUnit,
    ShuffleNetV2,
    ShuffleUnit,
    channel_shuffle,
)
from tests.demos.models import checks, reference
from tests.demos.models.reference import conv_norm, dense, global_average_pool, relu


def branch(x, layers, train, stride):
    x = relu(conv_norm(x, layers["first"], train))
    x = conv_norm(x, layers["depthwise"], train, stride, groups=x.shape[-1])
    return relu(conv_norm(x, layers["last"], train))


def unit(x, layers, train):
    half = x.shape[-1] // 2
    changed = branch(x[..., half:], layers["branch"], train, stride=1)
    return reference.channel_shuffle(np.concatenate([x[..., :half], changed], -1))


def down_unit(x, layers, train):
    left = conv_norm(x, layers["depthwise"], train, stride=2, groups=x.shape[-1])
    left = relu(conv_norm(left, layers["project"], train))
    right = branch(x, layers["branch"], train, stride=2)
    return reference.channel_shuffle(np.concatenate([left, right], -1))


def network(x, layers, train):
    x = relu(conv_norm(x, layers["stem"], train, stride=2))
    x = reference.max_pool(x, 3, 2, 1)
    for index in range(16):
        kind = down_unit if index in (0, 4, 12) else unit
        x = kind(x, layers["units"][index], train)
    x = relu(conv_norm(x, layers["head"], train))
    return dense(global_average_pool(x), layers["last"])


@pytest.mark.parametrize("width, count", [(1.0, 2_278_604), (0.5, 1_366_792)])
def test_dtypes_and_parameters(width, count):
    checks.assert_contract(partial(ShuffleNetV2, width), (64, 64, 3), count)


@pytest.mark.parametrize("stride", [1, 2])
def test_branch(stride):
    make = partial(ShuffleBranch, 4, 6, stride)
    checks.assert_follows(make, partial(branch, stride=stride), (3, 7, 6, 4))


def test_unit():
    checks.assert_follows(partial(ShuffleUnit, 8), unit, (3, 7, 6, 8))


def test_down_unit():
    checks.assert_follows(partial(ShuffleDownUnit, 6, 8), down_unit, (3, 7, 6, 6))


def test_network():
    make = partial(ShuffleNetV2, 0.5, classes=5)
    checks.assert_follows(make, network, (2, 32, 36, 3), modes=(False,))


def test_shuffle():
    x = np.arange(6)
    np.testing.assert_array_equal(channel_shuffle(x), [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(channel_shuffle(x, 3), [0, 2, 4, 1, 3, 5])


def test_initial_values():
    checks.assert_small_dense_layer(partial(ShuffleNetV2, 0.5))


def test_width_is_checked():
    message = r"width must be one of 0\.5, 1\.0, 1\.5, 2\.0, got 0\.75"
    with pytest.raises(ValueError, match=message):
        ShuffleNetV2(0.75, rngs=nnx.Rngs(0))
