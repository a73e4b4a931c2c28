"""Noisy quadratics on trees of several shapes, the same for package and reference."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import arsg_optax

SHAPES = {
    "vector": {"w": (7,)},
    "tree": {"b": (3,), "s": (), "w": (4, 5)},
}


class Problem(NamedTuple):
    """0.5 (y - y*)' H (y - y*), H diagonal, gradients with noise, flat in float64."""

    start: np.ndarray
    target: np.ndarray
    curvature: np.ndarray
    noise: np.ndarray  # (steps, size)
    shapes: dict[str, tuple[int, ...]]

    def gradient(self, t: int, y: np.ndarray) -> np.ndarray:
        return self.curvature * (y - self.target) + self.noise[t]

    def tree(self, flat: np.ndarray, dtype: Any) -> dict[str, np.ndarray]:
        """Splits a flat vector into the problem's arrays."""
        tree, position = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            piece = flat[position : position + size].reshape(shape)
            tree[name] = np.asarray(piece, dtype)
            position += size
        return tree

    def flat(self, tree: Any) -> np.ndarray:
        """The inverse of `tree`, in float64."""
        pieces = [np.asarray(tree[name], np.float64).ravel() for name in self.shapes]
        return np.concatenate(pieces)


def problem(seed: int, shapes: str, noise: float, steps: int) -> Problem:
    """A quadratic with curvatures from 0.01 to 1 and one coordinate at its target."""
    rng = np.random.default_rng(seed)
    size = sum(int(np.prod(shape)) for shape in SHAPES[shapes].values())
    start, target = rng.normal(size=(2, size))
    return Problem(
        start=start,
        target=target,
        curvature=10 ** rng.uniform(-2, 0, size=size),
        noise=noise * rng.normal(size=(steps, size)),
        shapes=SHAPES[shapes],
    )


def run(
    optimizer: optax.GradientTransformation,
    task: Problem,
    dtype: Any,
    evaluate: Callable[[Any, Any], Any] = arsg_optax.eval_params,
) -> Iterator[tuple[np.ndarray, np.ndarray, Any]]:
    """Runs jitted updates; yields parameters, iterate and state after each."""

    @jax.jit
    def step(gradient, state, params):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return params, state, evaluate(state, params)

    params: Any = task.tree(task.start, dtype)
    state, flat = optimizer.init(params), task.flat(params)
    for t in range(len(task.noise)):
        gradient = task.tree(task.gradient(t, flat), dtype)
        params, state, iterate = step(gradient, state, params)
        flat = task.flat(params)
        yield flat, task.flat(iterate), state


def deviation(
    got: list[np.ndarray], expected: list[np.ndarray], start: np.ndarray
) -> float:
    """Largest difference of two paths, relative to the largest parameter change."""
    change = max(np.max(np.abs(point - start)) for point in expected)
    pairs = zip(got, expected, strict=True)
    return max(np.max(np.abs(a - b)) for a, b in pairs) / change


Hyper = Callable[[int], float]


def constant(value: float) -> Hyper:
    return lambda t: value
