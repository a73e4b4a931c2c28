"""Shapes of the parameters whose updates are measured."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from arsg_optax.demos.models.resnet import ResNet50

Shapes = dict[str, tuple[int, ...]]


def residual_network() -> Shapes:
    """ResNet-50 on ImageNet: 161 arrays, 25.6 M parameters."""
    network = nnx.eval_shape(lambda: ResNet50(1000, rngs=nnx.Rngs(0)))
    leaves: Any = jax.tree_util.tree_leaves_with_path(nnx.state(network, nnx.Param))
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def transformer(layers: int = 12, width: int = 768) -> Shapes:
    """The smallest GPT-2: 148 arrays, 124 M parameters."""
    shapes: Shapes = {"tokens": (50257, width), "positions": (1024, width)}
    shapes |= {"last/scale": (width,), "last/bias": (width,)}
    for layer in range(layers):
        for norm in ("attention_norm", "mlp_norm"):
            shapes |= {f"{layer}/{norm}/{part}": (width,) for part in ("scale", "bias")}
        for name, fan_in, fan_out in (
            ("query_key_value", width, 3 * width),
            ("attention_out", width, width),
            ("mlp_in", width, 4 * width),
            ("mlp_out", 4 * width, width),
        ):
            shapes[f"{layer}/{name}/kernel"] = (fan_in, fan_out)
            shapes[f"{layer}/{name}/bias"] = (fan_out,)
    return shapes


def flat() -> Shapes:
    """One array of 25.6 M parameters."""
    return {"all": (25_000, 1024)}


def many_small() -> Shapes:
    """2,000 arrays of up to 24 elements, as physics-informed models have them."""
    return {f"{index}": (4, 4 + index % 3) for index in range(2000)}


def thousand() -> Shapes:
    """1,000 arrays of a dozen shapes, as deep networks have them."""
    kinds = [(64,), (128,), (256,), (32,), (64, 64), (64, 128), (128, 128), (256, 64)]
    kinds += [(128, 10), (3, 3, 16, 32), (3, 3, 32, 64), (1, 1, 64, 128)]
    return {f"{index}": kinds[index % len(kinds)] for index in range(1000)}


ARRAYS: Mapping[str, Any] = {
    "resnet50": residual_network,
    "transformer": transformer,
    "flat": flat,
    "small": many_small,
    "thousand": thousand,
}
