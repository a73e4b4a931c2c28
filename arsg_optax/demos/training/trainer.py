"""The loop: an epoch in chunks of compiled steps, between which the host looks."""

import time
from typing import Any

import jax
import numpy as np
import optax

from arsg_optax.demos.training.advance import make_advance
from arsg_optax.demos.training.evaluation import Evaluator
from arsg_optax.demos.training.layout import Layout
from arsg_optax.demos.training.optimizers import Points
from arsg_optax.demos.training.problems import Params, Problem
from arsg_optax.demos.training.processes import of_first
from arsg_optax.demos.training.sources import Sources
from arsg_optax.demos.training.steps import TrainState, init_state

_CHUNK_SECONDS = 1.0


class Trainer:
    """Trains a problem with one optimizer.

    Where it stands is `epoch` (from 1) and `step` (steps of it that are done); with
    `state`, that is all a checkpoint needs.

    Args:
        problem: the network.
        sources: what it reads.
        optimizer: the gradient transformation.
        points: where it takes gradients and is evaluated.
        seed: of the initial values, of the order of the data, and of what is random
            in a step.
        start: initial parameters and model state, None to make them from the seed.
        layout: on several devices, None for one. Every array is made where it lies.
    """

    def __init__(
        self,
        problem: Problem,
        sources: Sources,
        optimizer: optax.GradientTransformation,
        points: Points,
        *,
        seed: int = 0,
        start: tuple[Params, Any] | None = None,
        layout: Layout | None = None,
    ):
        self.steps_per_epoch = sources.train.steps_per_epoch
        self.epoch, self.step = 1, 0

        def make() -> TrainState:
            begun = problem.init(seed) if start is None else start
            return init_state(optimizer, points, *begun, self.steps_per_epoch)

        evaluated, test = sources.train_evaluation, sources.test
        if layout is None:
            self.state = make()
        else:
            shardings = layout.of_state(jax.eval_shape(make))
            self.state = jax.jit(make, out_shardings=shardings)()
            evaluated, test = evaluated.on(layout), test.on(layout)
        self._advance = make_advance(
            problem, optimizer, points, sources.train, self.state, seed, layout
        )
        self._start_epoch = jax.jit(problem.start_epoch)
        self.evaluator = Evaluator(
            problem,
            points,
            evaluated,
            test,
            self._advance.batches_aside,
        )
        self._seconds_a_step = 0.0

    @property
    def total_steps(self) -> int:
        """Steps done since the beginning."""
        return (self.epoch - 1) * self.steps_per_epoch + self.step

    def compile(self) -> float:
        """Compiles the steps; returns the seconds it took."""
        started = time.perf_counter()
        # An epoch whose steps are all done has no batch left to look at.
        start = self.step % self.steps_per_epoch
        self._advance.compile(self.state, self.epoch, start)
        return time.perf_counter() - started

    def run_chunk(self, stop: int | None = None) -> np.ndarray:
        """Takes steps for about a second, within the epoch.

        Args:
            stop: where in the epoch to stop at the latest, None for its end.

        Returns:
            Their minibatch losses, float32 `[steps]`.
        """
        start = self.step
        if start == 0:
            model_state = self._start_epoch(self.state.model_state)
            self.state = self.state._replace(model_state=model_state)
        last = self.steps_per_epoch if stop is None else stop
        last = min(last, start + self._chunk_steps())
        began = time.perf_counter()
        self.state = self._advance(self.state, self.epoch, start, last)
        losses = np.array(self.state.losses)[start:last]
        took = (time.perf_counter() - began) / (last - start)
        self._seconds_a_step = of_first(took)
        self.step = last
        return losses

    def mean_loss(self) -> float:
        """Mean of the minibatch losses of the epoch so far, NaN before its first."""
        if self.step == 0:
            return float("nan")
        losses = np.asarray(self.state.losses)[: self.step]
        return float(np.mean(losses, dtype=np.float64))

    def next_epoch(self) -> None:
        """Moves on from the end of an epoch."""
        self.epoch, self.step = self.epoch + 1, 0

    def _chunk_steps(self) -> int:
        if self._seconds_a_step == 0.0:
            return 1
        return max(1, int(_CHUNK_SECONDS / self._seconds_a_step))
