"""One network in Flax NNX and in Linen, with a trained optimizer, and in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import core, linen, nnx

import arsg_optax
from arsg_optax.flax import TrainState

MOMENTA = (0.99, 0.9)


class Network(nnx.Module):
    """Dropout stands before a normalization, so that it would be noticed."""

    def __init__(self, norm: Any = nnx.BatchNorm):
        rngs = nnx.Rngs(0)
        self.inner = nnx.Linear(3, 4, rngs=rngs)
        self.norms = nnx.List(
            norm(width, momentum=momentum, rngs=rngs)
            for width, momentum in zip((4, 5), MOMENTA, strict=True)
        )
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.outer = nnx.Linear(4, 5, rngs=rngs)
        self.last = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norms[0](self.inner(x)))
        x = self.norms[1](self.outer(self.dropout(x)))
        return self.last(nnx.relu(x))


class LinenNetwork(linen.Module):
    """The same."""

    rate: float = 0.0

    @linen.compact
    def __call__(self, x, train):
        def norm(momentum, name):
            return linen.BatchNorm(not train, momentum=momentum, name=name)

        x = linen.relu(norm(MOMENTA[0], "norms_0")(linen.Dense(4, name="inner")(x)))
        x = linen.Dropout(self.rate, deterministic=not train)(x)
        x = norm(MOMENTA[1], "norms_1")(linen.Dense(5, name="outer")(x))
        return linen.Dense(2, name="last")(linen.relu(x))


class Plain(nnx.Module):
    """Without batch normalization."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.last = nnx.Linear(3, 2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(x))


def random_batches(count=50):
    random = np.random.default_rng(0)
    return [
        jnp.asarray(1 + 2 * random.normal(size=(8, 3)), jnp.float32)
        for _ in range(count)
    ]


def trained(model, solver=None, steps=3, wrt=nnx.Param):
    """An optimizer whose iterate has left the parameters in the model."""
    solver = arsg_optax.rsg(0.1, 0.9, observation=0.2) if solver is None else solver
    optimizer = nnx.Optimizer(model, solver, wrt=wrt)
    for _ in range(steps):
        gradient = jax.tree.map(jnp.cos, nnx.state(model, wrt))
        optimizer.update(model, gradient)
    for norm in getattr(model, "norms", ()):
        norm.mean[...] += 0.3
        norm.var[...] *= 3.0
    return optimizer


def float64(state):
    """Dictionaries with names as in Linen's tree."""
    arrays = jax.tree.map(lambda leaf: np.array(leaf, np.float64), state)
    arrays = nnx.to_pure_dict(arrays) if isinstance(state, nnx.State) else arrays
    for index, norm in arrays.pop("norms", {}).items():
        arrays[f"norms_{index}"] = norm
    return arrays


def numpy_statistics(params, batches):
    """Mean of the batches' own means and biased variances, without dropout."""
    found = {"norms_0": [], "norms_1": []}
    for x in batches:
        x = np.float64(x)
        for name, norm in (("inner", "norms_0"), ("outer", "norms_1")):
            x = x @ params[name]["kernel"] + params[name]["bias"]
            mean, variance = x.mean(0), x.var(0)
            found[norm].append((mean, variance))
            x = (x - mean) / np.sqrt(variance + 1e-5) * params[norm]["scale"]
            x = np.maximum(x + params[norm]["bias"], 0)
    return {
        norm: dict(zip(("mean", "var"), np.mean(pairs, axis=0), strict=True))
        for norm, pairs in found.items()
    }


def assert_trees_close(got, wanted, tolerance=2e-5):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for one, other in zip(*map(jax.tree.leaves, (got, wanted)), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def linen_state(cls=TrainState, rate=0.0, steps=3, frozen=False):
    """With the weights and the updates of `trained(Network())`."""
    network, solver = LinenNetwork(rate), arsg_optax.rsg(0.1, 0.9, observation=0.2)
    flat = nnx.to_pure_dict(nnx.state(Network(), nnx.Param))
    for index, norm in flat.pop("norms").items():
        flat[f"norms_{index}"] = norm
    zeros = {
        name: {"mean": jnp.zeros(width), "var": jnp.ones(width)}
        for name, width in (("norms_0", 4), ("norms_1", 5))
    }
    wrap = core.freeze if frozen else dict
    extra = {"batch_stats": wrap(zeros)} if cls is TrainState else {}
    state = cls.create(apply_fn=network.apply, params=wrap(flat), tx=solver, **extra)
    for _ in range(steps):
        state = state.apply_gradients(grads=jax.tree.map(jnp.cos, state.params))
    return state
