"""How steps are run: a compiled loop, single compiled steps, or a stream of batches."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Protocol

import jax
import numpy as np
import optax

from arsg_optax.demos.training.layout import Layout
from arsg_optax.demos.training.optimizers import Points
from arsg_optax.demos.training.problems import Batch, Problem
from arsg_optax.demos.training.sources import (
    ResidentSource,
    Source,
    StreamSource,
    shuffle_key,
    step_key,
)
from arsg_optax.demos.training.steps import (
    TrainState,
    make_resident_step,
    make_step,
    make_steps,
)
from arsg_optax.tuning._losses import suits_compiled_loop

# Epochs from here on are never trained on; their batches serve statistics.
_ASIDE = 2**30


class Advance(Protocol):
    """Takes the steps from `start` to before `stop` of an epoch."""

    def compile(self, state: TrainState, epoch: int, start: int) -> None:
        """Compiles for states like this one, and takes no step."""
        ...

    def __call__(
        self, state: TrainState, epoch: int, start: int, stop: int
    ) -> TrainState:
        """The state after the steps; the one before is given up."""
        ...

    def batches_aside(self, count: int) -> Iterator[Batch]:
        """`count` training batches, in an order that training does not use."""
        ...


def make_advance(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    points: Points,
    source: Source,
    state: TrainState,
    seed: int,
    layout: Layout | None = None,
) -> Advance:
    """The way of taking steps that is fastest for this network on this backend."""
    if isinstance(source, StreamSource):
        return _Stream(problem, optimizer, points, source, seed, layout)
    batch = jax.eval_shape(
        lambda key: source.batch(source.arrays, source.order(key), np.int32(0), key),
        jax.random.key(0),
    )
    params = points.gradient_point(state.held)
    arguments = (params, state.model_state, batch, jax.random.key(0))
    parts = (problem, optimizer, points, source, layout)
    if suits_compiled_loop(problem.loss, *arguments):
        return _Loop(make_steps(*parts), source, seed, layout)
    return _Single(make_resident_step(*parts), source, seed, layout)


def jit_step(function: Callable[..., TrainState], layout: Layout | None) -> Any:
    """The function of a state that is given up, which comes back as it lay."""
    if layout is None:
        return jax.jit(function, donate_argnums=0)

    def kept(state: TrainState, *arguments: Any) -> TrainState:
        found = function(state, *arguments)
        return jax.lax.with_sharding_constraint(found, layout.of_state(found))

    return jax.jit(kept, donate_argnums=0)


class _Resident:
    """What the ways on data on the device share; each compiles its own function."""

    def __init__(
        self,
        function: Callable[..., TrainState],
        source: Any,
        seed: int,
        layout: Layout | None,
    ):
        self._run: Any = jit_step(function, layout)
        self._source: ResidentSource = source
        self._arrays = source.arrays
        self._seed = np.uint32(seed)
        everywhere = None
        if layout is not None:
            self._arrays = layout.everywhere(source.arrays)
            everywhere = layout.replicated()
        self._make_order = jax.jit(
            lambda seed, epoch: source.order(shuffle_key(seed, epoch)),
            out_shardings=everywhere,
        )
        self._make_batch = jax.jit(source.batch)
        self._order: tuple[int, Any] = (0, None)

    def _data(self, epoch: int) -> tuple[Any, ...]:
        """`arrays, order, seed, epoch`; the order is made once per epoch."""
        if self._order[0] != epoch:
            self._order = (epoch, self._make_order(self._seed, np.uint32(epoch)))
        return self._arrays, self._order[1], self._seed, np.uint32(epoch)

    def batches_aside(self, count: int) -> Iterator[Batch]:
        """As :class:`Advance` says."""
        arrays, steps = self._arrays, self._source.steps_per_epoch
        order = None
        for number in range(count):
            past, step = divmod(number, steps)
            epoch = np.uint32(_ASIDE + past)
            if step == 0:
                order = self._make_order(self._seed, epoch)
            key = step_key(self._seed, epoch, step)
            yield self._make_batch(arrays, order, np.int32(step), key)


class _Loop(_Resident):
    """Many steps in one compiled loop: the function is that of :func:`make_steps`."""

    def compile(self, state: TrainState, epoch: int, start: int) -> None:
        """As :class:`Advance` says."""
        bounds = (np.int32(start), np.int32(start))
        self._run = self._run.lower(state, *self._data(epoch), *bounds).compile()

    def __call__(
        self, state: TrainState, epoch: int, start: int, stop: int
    ) -> TrainState:
        """As :class:`Advance` says."""
        return self._run(state, *self._data(epoch), np.int32(start), np.int32(stop))


class _Single(_Resident):
    """One compiled step, that of :func:`make_resident_step`, after the other."""

    def compile(self, state: TrainState, epoch: int, start: int) -> None:
        """As :class:`Advance` says."""
        lowered = self._run.lower(state, *self._data(epoch), np.int32(start))
        self._run = lowered.compile()

    def __call__(
        self, state: TrainState, epoch: int, start: int, stop: int
    ) -> TrainState:
        """As :class:`Advance` says."""
        data = self._data(epoch)
        for index in range(start, stop):
            state = self._run(state, *data, np.int32(index))
        return state


class _Stream:
    """Batches from the host; the next is fetched while a step runs."""

    def __init__(
        self,
        problem: Problem,
        optimizer: optax.GradientTransformation,
        points: Points,
        source: StreamSource,
        seed: int,
        layout: Layout | None,
    ):
        self._source, self._layout = source, layout
        self._seed = np.uint32(seed)
        self._at = (0, 0)
        self._batches: Iterator[Batch] = iter(())
        step = make_step(problem, optimizer, points, layout)

        def keyed(state, batch, seed, epoch, index):
            key = step_key(seed, epoch, index)
            return step(state, batch, index, jax.random.split(key)[1])

        self._step: Any = jit_step(keyed, layout)

    def compile(self, state: TrainState, epoch: int, start: int) -> None:
        """As :class:`Advance` says; the first batch is looked at, not used up."""
        batches = self._from(epoch, start)
        first = next(batches)
        self._batches = itertools.chain([first], batches)
        numbers = (self._seed, np.uint32(epoch), np.int32(start))
        self._step = self._step.lower(state, first, *numbers).compile()

    def __call__(
        self, state: TrainState, epoch: int, start: int, stop: int
    ) -> TrainState:
        """As :class:`Advance` says."""
        batches = self._from(epoch, start)
        for index in range(start, stop):
            batch = next(batches)
            numbers = (self._seed, np.uint32(epoch), np.int32(index))
            state = self._step(state, batch, *numbers)
        self._at = (epoch, stop)
        return state

    def _from(self, epoch: int, start: int) -> Iterator[Batch]:
        if self._at != (epoch, start):
            self._batches = self._source.batches(epoch, start, self._layout)
            self._at = (epoch, start)
        return self._batches

    def batches_aside(self, count: int) -> Iterator[Any]:
        """As :class:`Advance` says."""
        for epoch in itertools.count(_ASIDE):
            left = count - (epoch - _ASIDE) * self._source.steps_per_epoch
            if left <= 0:
                return
            opened: Any = self._source.batches(epoch, 0, self._layout)
            with closing(opened) as batches:
                yield from itertools.islice(batches, left)
