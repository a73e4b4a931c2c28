"""Small networks on random data, with the arrays that a sphere is for."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

INPUTS, WIDTH, CLASSES, BATCH = 8, 16, 5, 64


class Network(NamedTuple):
    """A loss with its parameters, and which of them are scale invariant."""

    loss: Callable[[Any], jax.Array]
    params: Any
    members: Any


def normal(seed: int, *shape: int, dtype: Any = jnp.float32) -> jax.Array:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), dtype)


def labels() -> jax.Array:
    return jnp.asarray(np.random.default_rng(9).integers(0, CLASSES, size=BATCH))


def cross_entropy(logits: jax.Array) -> jax.Array:
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(BATCH), labels()])


def standardize(x: jax.Array, axis: int) -> jax.Array:
    """Batch norm without parameters over axis 0, layer norm over -1."""
    centered = x - jnp.mean(x, axis, keepdims=True)
    return centered / jnp.sqrt(jnp.mean(centered**2, axis, keepdims=True) + 1e-5)


def _row(x: jax.Array) -> jax.Array:
    return x[None]


def batch_norm(dtype: Any = jnp.float32, activation: Any = jax.nn.relu) -> Network:
    """linear, batch norm, activation, linear, batch norm, activation, linear."""
    x = normal(0, BATCH, INPUTS, dtype=dtype)

    def loss(params):
        hidden = x
        for layer in params["layers"]:
            hidden = standardize(hidden @ layer["w"] + _row(layer["b"]), axis=0)
            hidden = activation(hidden * _row(layer["scale"]) + _row(layer["shift"]))
        return cross_entropy(hidden @ params["out"]["w"] + _row(params["out"]["b"]))

    def layer(seed, inputs):
        return {
            "b": normal(seed, WIDTH, dtype=dtype),
            "scale": jnp.ones(WIDTH, dtype),
            "shift": jnp.zeros(WIDTH, dtype),
            "w": normal(seed + 1, inputs, WIDTH, dtype=dtype),
        }

    out = {
        "b": jnp.zeros(CLASSES, dtype),
        "w": 0.3 * normal(5, WIDTH, CLASSES, dtype=dtype),
    }
    params = {"layers": [layer(1, INPUTS), layer(3, WIDTH)], "out": out}
    member = {"b": False, "scale": False, "shift": False, "w": True}
    members = {"layers": [member, member], "out": {"b": False, "w": False}}
    return Network(loss, params, members)


def layer_norm(bias: bool) -> Network:
    """A linear layer whose bias, at 0, is added before layer norm, or none."""
    x = normal(0, BATCH, INPUTS)

    def loss(params):
        hidden = x @ params["w"]
        if bias:
            hidden = hidden + _row(params["b"])
        hidden = jnp.tanh(standardize(hidden, axis=-1))
        return cross_entropy(hidden @ params["out"])

    params = {"out": normal(2, WIDTH, CLASSES), "w": normal(1, INPUTS, WIDTH)}
    members = {"out": False, "w": not bias}
    if bias:
        params["b"], members["b"] = jnp.zeros(WIDTH), False
    return Network(loss, params, members)


def weight_norm() -> Network:
    """Each weight matrix as a direction times a gain."""
    x = normal(0, BATCH, INPUTS)

    def loss(params):
        direction = params["v"] / jnp.sqrt(jnp.sum(params["v"] ** 2))
        hidden = jnp.tanh(x @ direction * params["gain"])
        return cross_entropy(hidden @ params["out"])

    params = {
        "gain": jnp.float32(4.0),
        "out": normal(2, WIDTH, CLASSES),
        "v": normal(1, INPUTS, WIDTH),
    }
    return Network(loss, params, {"gain": False, "out": False, "v": True})


def embedding(normalised: bool) -> Network:
    """Means of five embeddings each, with layer norm behind the table or without."""
    words = jnp.asarray(np.random.default_rng(7).integers(0, 20, size=(BATCH, 5)))

    def loss(params):
        found = params["table"][words]
        found = standardize(found, axis=-1) if normalised else found
        return cross_entropy(jnp.mean(found, axis=1) @ params["out"])

    params = {"out": normal(2, WIDTH, CLASSES), "table": normal(1, 20, WIDTH)}
    return Network(loss, params, {"out": False, "table": normalised})


def zero_classifier() -> Network:
    """A last layer of zeros: at first nothing before it has a gradient."""
    x = normal(0, BATCH, INPUTS)

    def loss(params):
        hidden = jnp.tanh(standardize(x @ params["w"], axis=0))
        return cross_entropy(hidden @ params["out"])

    params = {"out": jnp.zeros((WIDTH, CLASSES)), "w": normal(1, INPUTS, WIDTH)}
    return Network(loss, params, {"out": False, "w": True})


NETWORKS = {
    "batch norm": batch_norm(),
    "layer norm": layer_norm(bias=False),
    "layer norm after a bias": layer_norm(bias=True),
    "weight norm": weight_norm(),
    "embedding": embedding(normalised=False),
    "embedding with layer norm": embedding(normalised=True),
    "zero classifier": zero_classifier(),
}
