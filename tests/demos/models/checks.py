"""What is asked of every vision network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

Make = Callable[..., nnx.Module]
Reference = Callable[[np.ndarray, Any, bool], np.ndarray]


def abstract(make: Make, **options: Any) -> Any:
    """The module with shapes and dtypes in place of arrays."""
    return nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0), **options))


def rngs() -> nnx.Rngs:
    """A source whose draws compile in a fifth of the default one's time."""
    return nnx.Rngs(jax.random.key(0, impl="rbg"))


def randomized(make: Make, seed: int = 0) -> Any:
    """The module with parameters and running statistics that no initializer gives.

    The initializers are not run, as compiling them takes a second a shape.
    """
    random = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], shape: tuple[int, ...]) -> np.ndarray:
        if path[-1] == "var":
            return random.uniform(0.5, 2.0, shape)
        fan_in = np.prod(shape[:-1]) if path[-1] == "kernel" else 1.0
        return random.normal(size=shape) / np.sqrt(fan_in)

    module = abstract(make)
    drawn = [
        (path, leaf.replace(jnp.asarray(draw(path, leaf.shape), leaf.dtype)))
        for path, leaf in nnx.to_flat_state(nnx.state(module))
    ]
    nnx.update(module, nnx.from_flat_state(drawn))
    return module


def assert_follows(
    make: Make,
    reference: Reference,
    shape: tuple[int, ...],
    modes: tuple[bool, ...] = (True, False),
    tolerance: float = 1e-5,
) -> None:
    """Compares with `reference(x, arrays, train)`, in training and in evaluation."""
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    for train in modes:
        # Anew for each mode, as a pass in training moves the running statistics.
        module = randomized(make)
        expected = reference(x.astype(np.float64), _arrays(module), train)
        module.train() if train else module.eval()
        got = nnx.jit(lambda module, x: module(x))(module, x)
        assert (got.shape, got.dtype) == (expected.shape, jnp.float32)
        limit = tolerance * np.max(np.abs(expected))
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=limit)


def assert_contract(make: Make, image: tuple[int, ...], count: int) -> None:
    """Scores follow `dtype`, `count` parameters `param_dtype`, statistics are float32.

    Nothing is allocated or compiled.
    """
    model = abstract(make, dtype=jnp.bfloat16, param_dtype=jnp.float16)
    images = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    scores, params, statistics = nnx.eval_shape(_forward, model, images)
    assert scores.dtype == jnp.bfloat16 and scores.shape[0] == 2
    assert _dtypes(params) == {jnp.dtype(jnp.float16)}
    assert _dtypes(statistics) <= {jnp.dtype(jnp.float32)}
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def assert_small_dense_layer(make: Make) -> None:
    """The layer `last` has weights of standard deviation 0.01 and no biases yet."""
    # Under jit all other layers' initial values are dropped before they are compiled.
    last = nnx.jit(lambda: nnx.to_pure_dict(nnx.state(make(rngs=rngs()).last)))()
    kernel, bias = last["kernel"], last["bias"]
    # A standard deviation of n normal numbers is uncertain by 1 / sqrt(2 n) of it.
    np.testing.assert_allclose(kernel.std(), 0.01, rtol=4 / np.sqrt(2 * kernel.size))
    np.testing.assert_array_equal(bias, np.zeros_like(bias))


def _forward(model: Any, images: jax.Array) -> tuple[jax.Array, Any, Any]:
    scores = model(images)
    _, params, statistics, _ = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    return scores, params, statistics


def _arrays(module: nnx.Module) -> Any:
    arrays = nnx.to_pure_dict(nnx.state(module))
    return jax.tree.map(lambda leaf: np.array(leaf, np.float64), arrays)


def _dtypes(state: Any) -> set[Any]:
    return {leaf.dtype for leaf in jax.tree.leaves(state)}
