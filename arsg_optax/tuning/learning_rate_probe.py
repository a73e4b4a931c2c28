"""A step size without a grid: a few gradients and Hessian products, then a formula."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._validation import check, check_number
from arsg_optax.tuning._batches import make_batches
from arsg_optax.tuning.curvature import curvature
from arsg_optax.tuning.learning_rate_suggestion import (
    LearningRateSuggestion,
    suggest_learning_rate,
)

# Of ARSG's squared gradient, what its sharpest directions may hold and be left out.
_RARE = 0.01
_MAX_ITERATIONS = 10
_LEAST = 14
_MOST = 1880  # 64 batches with ten products, and their share of the rest.


class Allotment(NamedTuple):
    """How a number of gradients is spent.

    Attributes:
      warm_up: batches whose gradients make the root mean square.
      batches: of these, those of which the Hessian is.
      iterations: products with it.
    """

    warm_up: int
    batches: int
    iterations: int

    @property
    def gradients(self) -> int:
        """The cost in gradients; a Hessian product counts as two."""
        return self.warm_up + 2 * self.batches * (1 + self.iterations)


def probe_learning_rate(
    loss_fn: Callable[[Any, Any], Any],
    params: optax.Params,
    batches: Any,
    *,
    steps: int,
    optimizer: str = "arsg",
    share: float = 0.05,
    b1: float = 0.999,
    observation: float = 0.1,
    eps: float = 1e-8,
    safety: float = 0.5,
    noise_share: float = 0.5,
) -> LearningRateSuggestion:
    r"""Measures curvature and noise at the initial parameters and suggests a step size.

    The measurement takes no step and spends at most ``share`` of the gradients of the
    training. For ARSG it first measures what v̂ tends to, the mean square of the
    gradient over some batches: :math:`D = \sqrt{\overline{g^2}} + \epsilon`; then it
    measures the curvature on the last of these batches, so that every entry that has a
    gradient there has one in D.

    Args:
      loss_fn: ``loss_fn(params, batch)`` returns the mean loss, a real scalar; what is
        random in it must come with the batch.
      params: initial parameters, a tree of floating point arrays.
      batches: as :func:`search_learning_rate` takes them; the first ones are used.
      steps: length of the training that is planned.
      optimizer: "rsg" or "arsg".
      share: which share of the training's gradients the measurement may take, in (0,
        1].
      b1: momentum decay, in [0, 1).
      observation: observation factor, in [0, 1).
      eps: ARSG's; 1e-3 in its fine mode.
      safety: see :func:`suggest_learning_rate`.
      noise_share: see :func:`suggest_learning_rate`.

    Returns:
      The step size with its reasons; ``str()`` of it is readable.

    Raises:
      ValueError: if an argument is out of range, if ``share`` of ``steps`` is fewer
        than 14 gradients, or as :func:`curvature`.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp
      >>> x = jax.random.normal(jax.random.key(0), (40, 32, 4))  # 40 batches
      >>> y = x @ jnp.array([1.0, -2.0, 3.0, 0.5])
      >>> def loss(params, batch):
      ...     x, y = batch
      ...     return jnp.mean((x @ params - y) ** 2)
      >>> found = arsg_optax.tuning.probe_learning_rate(
      ...     loss, jnp.zeros(4), (x, y), steps=2000, optimizer="rsg")
      >>> print(found.limited_by, found.gradients <= 100)
      curvature True
    """
    if optimizer not in ("rsg", "arsg"):
        raise ValueError(
            f"optimizer must be 'rsg' or 'arsg', got {optimizer!r}; for others use "
            "search_learning_rate."
        )
    check("steps", steps, remedy="it counts the updates that are planned.")
    check_number("share", share, 0, "(]", 1, "0.05 is the default.")
    check("eps", eps)
    adaptive = optimizer == "arsg"
    allotment = allot(math.floor(share * steps + 1e-9), adaptive)
    if allotment is None:
        raise ValueError(
            f"share must give at least {_LEAST} gradients, got {share} of {steps} "
            f"steps; raise it to {_LEAST / steps:.2g}, or search."
        )
    count = max(allotment.warm_up, allotment.batches)
    seen = _first(batches, count)
    divisors = None
    if adaptive:
        rms = gradient_rms(loss_fn, params, seen)
        divisors = jax.tree.map(lambda leaf: leaf + eps, rms)
    last = jax.tree.map(lambda *a: jnp.stack(a), *seen[-allotment.batches :])
    measured = curvature(
        loss_fn,
        params,
        last,
        preconditioner=divisors,
        iterations=allotment.iterations,
    )
    suggestion = suggest_learning_rate(
        measured,
        b1=b1,
        observation=observation,
        safety=safety,
        noise_share=noise_share,
        min_weight=_RARE if adaptive else 0.0,
    )
    return suggestion._replace(gradients=measured.gradients + allotment.warm_up)


def allot(gradients: int, adaptive: bool) -> Allotment | None:
    """Spends a number of gradients; None if they are too few.

    A quarter goes into the root mean square of an adaptive method. Of the rest two
    batches get as many products as there are, up to ten; then more batches get ten.
    """
    warm_up = gradients // 4 if adaptive else 0
    rest = gradients - warm_up
    iterations = min(_MAX_ITERATIONS, rest // 4 - 1)
    if gradients < _LEAST or iterations < 1:
        return None
    batches = rest // (2 * (1 + iterations))
    return Allotment(
        warm_up, min(batches, warm_up) if adaptive else batches, iterations
    )


def gradient_rms(
    loss_fn: Callable[[Any, Any], Any], params: optax.Params, batches: list[Any]
) -> Any:
    """Root mean square of the gradient over batches: what √v̂ tends to at `params`.

    Args:
      loss_fn: takes parameters and a batch, returns a real scalar.
      params: tree of floating point arrays.
      batches: one or more.

    Returns:
      Tree as `params`, float32 at least.
    """

    @jax.jit
    def add(total: Any, params: Any, batch: Any) -> Any:
        gradient = jax.grad(loss_fn)(params, batch)
        return jax.tree.map(
            lambda t, g: t + jnp.square(g.astype(t.dtype)), total, gradient
        )

    total = jax.tree.map(
        lambda p: jnp.zeros_like(p, jnp.promote_types(p.dtype, jnp.float32)), params
    )
    for batch in batches:
        total = add(total, params, batch)
    return jax.tree.map(lambda t: jnp.sqrt(t / len(batches)), total)


def _first(batches: Any, count: int) -> list[Any]:
    source = make_batches(batches)
    at = jax.jit(source.at)
    return [at(source.arrays, np.uint32(0), np.int32(step)) for step in range(count)]
