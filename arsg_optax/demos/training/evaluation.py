"""Scores at the gradient point and at the optimizer's own evaluation point."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax

from arsg_optax.demos.training.optimizers import Points
from arsg_optax.demos.training.problems import (
    Batch,
    ModelState,
    Params,
    Problem,
    Totals,
)
from arsg_optax.demos.training.sources import EvaluationSet
from arsg_optax.demos.training.steps import TrainState
from arsg_optax.flax import BATCHES, recomputed_statistics


class Scores(NamedTuple):
    """Mean loss (cross entropy, nats) and accuracy (share, 0 to 1) over a set."""

    loss: jax.Array
    accuracy: jax.Array


class PointScores(NamedTuple):
    """Scores after an epoch.

    Attributes:
        train_y: the training set, or the part that is evaluated, at the gradient
            point y.
        train_x: the same at the optimizer's own evaluation point x.
        test_y: the test or validation set at y.
        test_x: the same at x.
    """

    train_y: Scores
    train_x: Scores
    test_y: Scores
    test_x: Scores


class EvaluationStopped(Exception):
    """An evaluation was given up because a stop was requested."""


Total = Callable[[Params, ModelState, Batch], tuple[Totals, ModelState]]


def set_scores(
    total: Total,
    start: Callable[[ModelState, Batch], ModelState],
    params: Params,
    model_state: ModelState,
    batches: Iterable[Batch],
) -> Scores:
    """Scores over the batches of a set; can be traced.

    Args:
        total: :meth:`Problem.totals`, perhaps jitted.
        start: :meth:`Problem.start_evaluation`.
        params: where.
        model_state: with the statistics that belong there.
        batches: at least one.
    """
    sums = None
    for batch in batches:
        if sums is None:
            sums, model_state = total(params, start(model_state, batch), batch)
            continue
        more, model_state = total(params, model_state, batch)
        sums = sums.add(more)
    if sums is None:
        raise ValueError("the set to evaluate must hold a batch, got none")
    return Scores(sums.loss / sums.count, sums.right / sums.count)


# Optimizers that are compared on one problem share what is compiled.
@lru_cache(maxsize=2)
def _totals(problem: Problem, prepare: Callable[[jax.Array], jax.Array]) -> Total:
    """:meth:`Problem.totals` of stored batches, jitted."""

    def total(params: Params, model_state: ModelState, batch: Batch):
        inputs, *rest = batch
        return problem.totals(params, model_state, (prepare(inputs), *rest))

    return jax.jit(total)


class Evaluator:
    """Evaluates a training state.

    Args:
        problem: the network.
        points: where the optimizer takes gradients and is evaluated.
        train_set: training examples to evaluate on.
        test_set: test or validation set.
        statistics_batches: `statistics_batches(count)` iterates over `count` training
            batches, from which statistics are gathered at x.
    """

    def __init__(
        self,
        problem: Problem,
        points: Points,
        train_set: EvaluationSet,
        test_set: EvaluationSet,
        statistics_batches: Callable[[int], Iterator[Batch]],
    ):
        self._problem = problem
        self._sets = (train_set, test_set)
        self._totals = [_totals(problem, each.prepare) for each in self._sets]
        self._statistics_batches = statistics_batches
        self._y = points.gradient_point
        self._x = None if points.own_point is None else jax.jit(points.own_point)
        self._forward = jax.jit(problem.loss)

    def __call__(self, state: TrainState, stop: object = False) -> PointScores:
        """Scores at both points, on the device.

        Args:
            state: of training.
            stop: looked at before each batch; if it has become true, the evaluation
                is given up.

        Raises:
            EvaluationStopped: then.
        """
        train_y, test_y = self._at(self._y(state.held), state.model_state, stop)
        if self._x is None:
            return PointScores(train_y, train_y, test_y, test_y)
        params, model_state = self.own_point(state, stop)
        train_x, test_x = self._at(params, model_state, stop)
        return PointScores(train_y, train_x, test_y, test_x)

    def test_loss(self, state: TrainState) -> jax.Array:
        """The test loss at x, on the device."""
        return self._of_set(1, *self.own_point(state), False).loss

    def own_point(
        self, state: TrainState, stop: object = False
    ) -> tuple[Params, ModelState]:
        """x and the model state that belongs to it."""
        if self._x is None:
            return self._y(state.held), state.model_state
        params = self._x(state.opt_state, state.held)
        if not self._problem.has_statistics(state.model_state):
            return params, state.model_state
        batches = _until(stop, self._statistics_batches(BATCHES))
        update = partial(self._statistics, params)
        return params, recomputed_statistics(update, state.model_state, batches)

    def _statistics(self, params: Params, statistics: Any, batch: Batch) -> Any:
        return self._forward(params, statistics, batch, jax.random.key(0))[1]

    def _at(
        self, params: Params, model_state: ModelState, stop: object
    ) -> list[Scores]:
        return [self._of_set(n, params, model_state, stop) for n in (0, 1)]

    def _of_set(
        self, number: int, params: Params, model_state: ModelState, stop: object
    ) -> Scores:
        return set_scores(
            self._totals[number],
            self._problem.start_evaluation,
            params,
            model_state,
            _until(stop, self._sets[number].batches),
        )


def _until(stop: object, batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        if stop:
            raise EvaluationStopped
        yield batch


def to_floats(tree: Any) -> Any:
    """A tree of scalars as Python floats; waits for the device."""
    return jax.tree.map(float, jax.device_get(tree))
