"""A loss over batches, its gradient and Hessian products, one batch at a time."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._precision import compute_dtype
from arsg_optax._trees import leaf_dtype
from arsg_optax.tuning._batches import count_batches
from arsg_optax.tuning._losses import real_scalar
from arsg_optax.tuning.lanczos import projections, squared_norm

Loss = Callable[[optax.Params, Any], Any]


class Objective:
    """The loss over all batches, differentiated by the coordinates D^(1/2) params.

    Each method runs one compiled function a batch, in a loop in Python: that is some
    40 µs a batch dearer than a compiled loop, inside which XLA:CPU would run
    convolutions several times slower.
    """

    def __init__(self, loss_fn: Loss, point: Any, preconditioner: Any, batches: Any):
        self.batches = _check_batches(batches)
        self._scale = _scale(preconditioner, point)
        self._given = (point, self._scale, jax.tree.map(jnp.asarray, batches))
        live = jax.tree.map(lambda scale: jnp.sum(scale > 0), self._scale)
        self.size = sum(int(count) for count in jax.tree.leaves(live))

        def loss_of(point, batches, index):
            batch = jax.tree.map(lambda x: x[index], batches)
            return real_scalar(loss_fn(point, batch))

        def gradient(point, scale, batches, index):
            loss, slopes = jax.value_and_grad(loss_of)(point, batches, index)
            return jax.tree.map(jnp.multiply, scale, slopes), loss

        def product(vector, point, scale, *batch):
            slope = lambda point: gradient(point, scale, *batch)[0]  # noqa: E731
            tangent = jax.tree.map(jnp.multiply, scale, vector)
            return jax.jvp(slope, (point,), (tangent,))[1]

        def deviation(basis, mean, *given):
            difference = jax.tree.map(jnp.subtract, gradient(*given)[0], mean)
            return projections(basis, difference), squared_norm(difference)

        self._gradient, self._product, self._deviation = map(
            jax.jit, (gradient, product, deviation)
        )

    def mean_gradient(self) -> tuple[Any, float]:
        """Mean gradient and mean loss, both finite."""
        losses = []

        def slopes():
            for index in range(self.batches):
                slope, loss = self._gradient(*self._given, np.int32(index))
                losses.append(loss)
                yield slope

        mean = _mean(slopes())
        _check_finite(losses, mean)
        return mean, float(np.mean(jax.device_get(losses), dtype=float))

    def product(self, vector: Any) -> Any:
        """The mean Hessian times a vector."""
        return _mean(
            self._product(vector, *self._given, np.int32(index))
            for index in range(self.batches)
        )

    def deviations(self, basis: Any, mean: Any) -> tuple[np.ndarray, np.ndarray]:
        """Each batch's gradient minus the mean: along a basis (n, k), and squared (n,).

        It makes a second pass, so that only one gradient is held at a time.
        """
        found = [
            self._deviation(basis, mean, *self._given, np.int32(index))
            for index in range(self.batches)
        ]
        along, squares = zip(*jax.device_get(found), strict=True)
        return np.array(along, float), np.array(squares, float)

    def random(self, key: Any, like: Any) -> Any:
        """Normal random numbers, placed like another vector."""
        leaves, structure = jax.tree.flatten(like)
        keys = jax.tree.unflatten(structure, list(jax.random.split(key, len(leaves))))

        def draw(key, x, scale):
            normal = jax.random.normal(key, x.shape, x.dtype)
            return jnp.where(scale > 0, normal, jnp.zeros_like(x))

        return jax.tree.map(draw, keys, like, self._scale)


def _mean(vectors: Iterable[Any]) -> Any:
    """Sums as they come; the first is no zeros, which might lie elsewhere."""
    vectors = iter(vectors)
    total, count = next(vectors), 1
    for vector in vectors:
        total, count = _add(total, vector), count + 1
    return _divide(total, np.int32(count))


@functools.partial(jax.jit, donate_argnums=0)
def _add(total: Any, vector: Any) -> Any:
    return jax.tree.map(jnp.add, total, vector)


@functools.partial(jax.jit, donate_argnums=0)
def _divide(total: Any, count: Any) -> Any:
    return jax.tree.map(lambda x: x / count.astype(x.dtype), total)


def widened(params: optax.Params) -> Any:
    """Parameters of 32 bits at least."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf_dtype(leaf), jnp.floating):
            raise ValueError(
                f"params must be real floating point, got dtype {leaf_dtype(leaf)} at "
                f"'{jax.tree_util.keystr(path)}'; hold such leaves fixed inside "
                "loss_fn, and complex ones as two real arrays."
            )
    arrays = jax.tree.map(jnp.asarray, params)
    if not sum(leaf.size for leaf in jax.tree.leaves(arrays)):
        raise ValueError(
            f"params must hold at least one number, got {params}; pass the arrays that "
            "the loss is to be differentiated by."
        )
    return jax.tree.map(lambda leaf: leaf.astype(compute_dtype(leaf)), arrays)


def _scale(preconditioner: Any, point: Any) -> Any:
    """D^(-1/2) as a tree, 0 where D is 0 or infinite."""
    if preconditioner is None:
        return jax.tree.map(jnp.ones_like, point)
    remedy = "pass the state.denominator() that belongs to params, or None for SGD."
    got, expected = jax.tree.structure(preconditioner), jax.tree.structure(point)
    if got != expected:
        raise ValueError(
            f"preconditioner must have the tree structure of params, {expected}, got "
            f"{got}; {remedy}"
        )

    def leaf_scale(path, divisor, x):
        at = f"at '{jax.tree_util.keystr(path)}'"
        divisor = jnp.asarray(divisor)
        if divisor.shape != x.shape:
            raise ValueError(
                f"preconditioner must have the shape {x.shape} {at}, got "
                f"{divisor.shape}; {remedy}"
            )
        if not bool(jnp.all(divisor >= 0)):
            raise ValueError(
                f"preconditioner must be at least 0, got {jnp.min(divisor)} {at}; it "
                "divides the gradient, and 0 takes a parameter out."
            )
        divisor = divisor.astype(x.dtype)
        live = divisor > 0  # Of inf, the inverse is 0 as it is.
        root = jnp.sqrt(jnp.where(live, divisor, 1))
        return jnp.where(live, 1 / root, jnp.zeros_like(x))

    scale = jax.tree_util.tree_map_with_path(leaf_scale, preconditioner, point)
    if not any(bool(jnp.any(leaf > 0)) for leaf in jax.tree.leaves(scale)):
        raise ValueError(
            f"preconditioner must be above 0 somewhere, got none; {remedy}"
        )
    return scale


def _check_batches(batches: Any) -> int:
    """How many batches there are, at least two."""
    count = count_batches(batches)
    if count < 2:
        raise ValueError(
            f"batches must hold at least two along axis 0, got {count}; the noise is "
            "what differs between them: split the one into halves."
        )
    return count


def _check_finite(losses: list[Any], gradient: Any) -> None:
    for index, loss in enumerate(losses):
        if not math.isfinite(float(loss)):
            raise ValueError(
                f"loss_fn must return a finite loss, got {loss} for batch {index}; "
                "pass params at which it is finite."
            )
    if math.isfinite(float(squared_norm(gradient))):
        return
    for path, slope in jax.tree_util.tree_leaves_with_path(gradient):
        square = float(squared_norm(slope))
        if not math.isfinite(square):
            raise ValueError(
                f"loss_fn must have finite gradients, got a squared norm of {square} "
                f"at '{jax.tree_util.keystr(path)}'; pass params at which they are, "
                "and guard roots of 0."
            )
