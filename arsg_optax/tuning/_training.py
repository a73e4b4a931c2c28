"""One training of a search: its state, its start and its step, pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Hyperparameters = dict[str, Any]
LossFn = Callable[..., Any]


def count_candidates(hypers: Hyperparameters) -> int:
    """How many candidates the hyper-parameters describe."""
    return len(next(iter(hypers.values())))


class Training(NamedTuple):
    """What all candidates have in common.

    Attributes:
      make_optimizer: from hyper-parameters, () arrays by name, to an optimizer.
      loss: of parameters, model state and batch: a real scalar and the next model
        state.
      gradient_point: where the loss is taken, from what the optimizer is given as
        parameters.
    """

    make_optimizer: Callable[[Hyperparameters], optax.GradientTransformation]
    loss: Callable[[Any, Any, Any], tuple[jax.Array, Any]]
    gradient_point: Callable[[Any], Any]


class TrainingState(NamedTuple):
    """Where a candidate stands.

    Attributes:
      params: what the optimizer is given as parameters.
      opt_state: the optimizer's.
      aux: the model's, beside its parameters.
      alive: () bool, whether all losses so far were finite.
      losses: float [steps], inf from the first on that was not finite.
    """

    params: Any
    opt_state: Any
    aux: Any
    alive: jax.Array
    losses: jax.Array


def init(
    training: Training, hyper: Hyperparameters, params: Any, aux: Any, steps: int
) -> TrainingState:
    """The state before the first step."""
    optimizer = training.make_optimizer(hyper)
    losses = jnp.zeros([steps], jnp.float32)
    state = optimizer.init(params)
    return TrainingState(params, state, aux, jnp.bool_(True), losses)


def step(
    training: Training,
    state: TrainingState,
    hyper: Hyperparameters,
    batch: Any,
    index: jax.Array,
) -> TrainingState:
    """The state after a step.

    From the first loss on that is not finite the parameters stay where they are.
    """
    optimizer = optax.with_extra_args_support(training.make_optimizer(hyper))

    def loss_at(params: Any) -> tuple[jax.Array, Any]:
        return training.loss(params, state.aux, batch)

    point = training.gradient_point(state.params)
    (value, aux), gradients = jax.value_and_grad(loss_at, has_aux=True)(point)
    # Policies watch the value, line searches need all three; others ignore them.
    extra: dict[str, Any] = {
        "value": value,
        "grad": gradients,
        "value_fn": lambda params: loss_at(params)[0],
    }
    updates, opt_state = optimizer.update(
        gradients, state.opt_state, state.params, **extra
    )
    opt_state = jax.tree.map(_as_before, opt_state, state.opt_state)
    alive = state.alive & jnp.isfinite(value.astype(jnp.float32))
    updates = jax.tree.map(lambda u: jnp.where(alive, u, jnp.zeros_like(u)), updates)
    params = optax.apply_updates(state.params, updates)
    noted = jnp.where(alive, value.astype(jnp.float32), jnp.float32(jnp.inf))
    losses = state.losses.at[index].set(noted)
    return TrainingState(params, opt_state, aux, alive, losses)


def _as_before(after: Any, before: Any) -> Any:
    """In the dtype that it had: a traced rate is wider than a Python number.

    Some of Optax's optimizers multiply it with their state, which a compiled loop must
    hand on as it came.
    """
    return after.astype(before.dtype) if after.dtype != before.dtype else after
