"""Small arrays, gradients and the few steps that most interoperability tests take."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import arsg_optax
from tests.interop.row import Row

SHAPES = {"b": (3,), "w": (2, 3)}


def tree(seed: int, dtype: Any = jnp.float32, scale: float = 1.0) -> dict[str, Any]:
    """Normal arrays of the small shapes."""
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(scale * rng.normal(size=shape), dtype)
        for name, shape in SHAPES.items()
    }


def gradients(count: int, dtype: Any = jnp.float32) -> list[dict[str, Any]]:
    """Gradients that are the same in every test."""
    return [tree(100 + index, dtype) for index in range(count)]


def advance(
    row: Row,
    optimizer: optax.GradientTransformation,
    params: Any,
    trees: Iterable[Any],
    state: Any = None,
    compiled: bool = False,
) -> tuple[Any, Any]:
    """Updates with the row's extra arguments; returns parameters and state."""
    update = optax.with_extra_args_support(optimizer).update
    update = jax.jit(update) if compiled else update
    state = optimizer.init(params) if state is None else state
    for gradient in trees:
        updates, state = update(
            gradient, state, params, **row.extra_args(jnp.float32(1.0))
        )
        params = optax.apply_updates(params, updates)
    return params, state


def update_once(
    row: Row,
    optimizer: optax.GradientTransformation,
    gradient: Any,
    state: Any,
    params: Any,
) -> tuple[Any, Any]:
    """The updates themselves and the new state."""
    update = optax.with_extra_args_support(optimizer).update
    return update(gradient, state, params, **row.extra_args(jnp.float32(1.0)))


def iterate(state: Any, params: Any) -> Any:
    """`eval_params`, of a type that type checkers let be indexed."""
    return arsg_optax.eval_params(state, params)


def assert_close(actual: Any, expected: Any, rounding: float = 1e-5) -> None:
    """Equal trees, but for errors relative to each array's largest element."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        scale = np.max(np.abs(b), initial=0.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=rounding * scale)


def assert_identical(actual: Any, expected: Any) -> None:
    """Equal trees, bit by bit, in structure, dtype and value."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def assert_finite(tree: Any) -> None:
    for leaf in jax.tree.leaves(tree):
        assert np.all(np.isfinite(np.asarray(leaf, np.float64)))


def signature(tree: Any) -> list[tuple[Any, Any, bool]]:
    """What jit keys its cache on: shape, dtype and weak type of every leaf."""
    avals = [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]
    return [(aval.shape, aval.dtype, aval.weak_type) for aval in avals]
