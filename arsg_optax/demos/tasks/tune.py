"""The step size of a task's optimizer, by the package's own search.

A task becomes what :func:`arsg_optax.tuning.search_learning_rate` takes. Each candidate
is trained as the demos' trainer would train it, from the same initial values on the
same batches with the same crops and dropout, so the curves are those of `arsg train`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import Settings, Setup, Task
from arsg_optax.demos.training.optimizers import Optimizer
from arsg_optax.demos.training.problems import Problem
from arsg_optax.demos.training.sources import (
    ResidentSource,
    resident,
    shuffle_key,
    step_key,
)
from arsg_optax.tuning import (
    LearningRateSearch,
    LearningRateSuggestion,
    probe_learning_rate,
    search_learning_rate,
)


class SearchProblem(NamedTuple):
    """A task's network and data as arguments of a search.

    Attributes:
        loss_fn: `loss_fn(params, aux, batch)`.
        params: makes what the loop holds of the parameters from a seed.
        aux: the model state at the beginning.
        batches: of seed and step, those of the trainer.
        gradient_point: where the optimizer takes gradients.
        make_optimizer: of a step size.
        steps: of the whole protocol.
    """

    loss_fn: Callable[..., Any]
    params: Callable[[int], Any]
    aux: Any
    batches: Any
    gradient_point: Callable[[Any], Any]
    make_optimizer: Callable[[Any], Any]
    steps: int


def search_problem(
    task: Task,
    setup: Setup,
    optimizer: Optimizer,
    settings: Settings,
    seeds: int = 1,
    first_seed: int = 0,
) -> SearchProblem:
    """Makes a search's arguments of a task whose data stay on the device.

    A search's seed 0 is the trainer's `first_seed`, and so on.
    """
    problem, source = setup.problem, resident(setup.sources.train)
    steps = source.steps_per_epoch
    make = jax.vmap(
        jax.vmap(lambda seed, epoch: source.order(shuffle_key(seed, epoch)), (None, 0)),
        (0, None),
    )
    epochs = jnp.arange(1, task.epochs + 1, dtype=jnp.uint32)
    numbers = jnp.arange(first_seed, first_seed + seeds, dtype=jnp.uint32)
    orders = jax.jit(make)(numbers, epochs)
    batch = partial(_batch, source)
    return SearchProblem(
        loss_fn=partial(_loss, problem),
        params=lambda seed: optimizer.points.hold(problem.init(first_seed + seed)[0]),
        aux=problem.init(0)[1],
        batches=jax.tree_util.Partial(batch, source.arrays, orders, numbers),
        gradient_point=optimizer.points.gradient_point,
        make_optimizer=lambda rate: task.transform(optimizer, settings, steps, rate),
        steps=task.epochs * steps,
    )


def search_task(
    task: Task,
    setup: Setup,
    optimizer: Optimizer,
    settings: Settings,
    learning_rates: Sequence[float],
    *,
    steps: int,
    seeds: int = 1,
    first_seed: int = 0,
    **options: Any,
) -> LearningRateSearch:
    """Searches the step size of one optimizer on one task.

    Args:
        task: its schedule, clipping and decay are used.
        setup: of the task.
        optimizer: from the registry.
        settings: what it is given beside the step size.
        learning_rates: the candidates.
        steps: of each training.
        seeds: trainings of each candidate.
        first_seed: of these.
        **options: of :func:`arsg_optax.tuning.search_learning_rate`.
    """
    parts = search_problem(task, setup, optimizer, settings, seeds, first_seed)
    return search_learning_rate(
        parts.make_optimizer,
        parts.loss_fn,
        parts.params,
        parts.batches,
        learning_rates,
        steps=steps,
        aux=parts.aux,
        seeds=seeds,
        gradient_point=parts.gradient_point,
        **options,
    )


def probe_task(
    task: Task,
    setup: Setup,
    optimizer: Optimizer,
    settings: Settings,
    *,
    share: float = 0.05,
    seed: int = 0,
) -> LearningRateSuggestion:
    """A step size of rsg or arsg on a task, from curvature and noise at the start.

    Args:
        task: see :func:`search_task`.
        setup: of the task.
        optimizer: rsg or arsg.
        settings: their b1, observation and eps hold.
        share: of the training's gradients that may be spent.
        seed: of the initial values and of the batches.

    Raises:
        UsageError: for another optimizer, or if the share is too small.
    """
    if optimizer.name not in ("rsg", "arsg"):
        raise UsageError(
            f"optimizer must be rsg or arsg to be probed, got {optimizer.name!r}"
        )
    parts = search_problem(task, setup, optimizer, settings, first_seed=seed)

    def loss(params: Any, given: Any) -> Any:
        return parts.loss_fn(params, parts.aux, given)[0]

    known = ("b1", "observation", "eps")
    options: Any = {name: v for name, v in settings.options.items() if name in known}
    try:
        return probe_learning_rate(
            loss,
            parts.params(0),
            parts.batches,
            steps=parts.steps,
            optimizer=optimizer.name,
            share=share,
            **options,
        )
    except ValueError as error:
        raise UsageError(f"{task.name} cannot be probed: {error}") from error


def _batch(
    source: ResidentSource,
    arrays: Any,
    orders: Any,
    numbers: jax.Array,
    seed: jax.Array,
    step: jax.Array,
) -> Any:
    """The trainer's batch of a step, its key and its number in the epoch."""
    passed, index = step // source.steps_per_epoch, step % source.steps_per_epoch
    order = jax.tree.map(lambda rows: rows[seed, passed], orders)
    key = step_key(numbers[seed], passed + 1, index)
    batch_key, key = jax.random.split(key)
    return source.batch(arrays, order, index, batch_key), key, index


def _loss(problem: Problem, params: Any, aux: Any, given: Any) -> tuple[jax.Array, Any]:
    batch, key, index = given
    begun = problem.start_epoch(aux)
    aux = jax.tree.map(lambda a, b: jnp.where(index == 0, a, b), begun, aux)
    return problem.loss(params, aux, batch, key)
