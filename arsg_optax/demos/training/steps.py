"""One step, and many of them in one compiled loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax.demos.training.layout import Layout
from arsg_optax.demos.training.optimizers import Held, Points
from arsg_optax.demos.training.problems import Batch, ModelState, Params, Problem
from arsg_optax.demos.training.sources import ResidentSource, shuffle_key, step_key


class TrainState(NamedTuple):
    """What a step changes.

    Attributes:
        held: what the loop holds of the parameters.
        opt_state: the optimizer's.
        model_state: the network's, beside its parameters.
        losses: float32 `[steps_per_epoch]`, the minibatch losses of this epoch so far.
    """

    held: Held
    opt_state: optax.OptState
    model_state: ModelState
    losses: jax.Array


Step = Callable[[TrainState, Batch, jax.Array, jax.Array], TrainState]


def init_state(
    optimizer: optax.GradientTransformation,
    points: Points,
    params: Params,
    model_state: ModelState,
    steps_per_epoch: int,
) -> TrainState:
    """The state before the first step, in buffers of its own.

    Optimizers such as schedule-free or lookahead start from references to the
    parameters; donating those would give one buffer away twice.
    """
    held = points.hold(params)
    losses = jnp.zeros([steps_per_epoch], jnp.float32)
    state = TrainState(held, optimizer.init(held), model_state, losses)
    return jax.tree.map(jnp.copy, state)


def make_step(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    points: Points,
    layout: Layout | None = None,
) -> Step:
    """Makes the pure function of one step.

    Args:
        problem: the network.
        optimizer: the gradient transformation.
        points: where it takes gradients.
        layout: on several devices, None for one. The update then works on arrays that
            lie as the optimizer's: where these are split, gradients are scattered when
            they are summed, and only the new parameters are gathered.

    Returns:
        `step(state, batch, index, key)`, where `index` is the step's number in the
        epoch, at which its loss is noted.
    """
    update = optax.with_extra_args_support(optimizer).update

    def step(
        state: TrainState, batch: Batch, index: jax.Array, key: jax.Array
    ) -> TrainState:
        rows = batch if layout is None else layout.batch(batch)

        def loss_at(params: Params) -> tuple[jax.Array, ModelState]:
            return problem.loss(params, state.model_state, rows, key)

        point = points.gradient_point(state.held)
        value_and_grad = jax.value_and_grad(loss_at, has_aux=True)
        (value, model_state), gradients = value_and_grad(point)
        held, opt_state = state.held, state.opt_state
        if layout is not None:
            gradients = _lying(layout.of_gradients, gradients)
            gradients, held = _lying(layout.of_optimizer, (gradients, held))
        # Policies watch the loss; other optimizers ignore it.
        updates, opt_state = update(gradients, opt_state, held, value=value)
        held = optax.apply_updates(held, updates)
        if layout is not None:
            opt_state = _lying(layout.of_optimizer, opt_state)
            held = _lying(layout.of_params, held)
        losses = state.losses.at[index].set(value.astype(state.losses.dtype))
        return TrainState(held, opt_state, model_state, losses)

    return step


def _lying(shardings: Callable[[Any], Any], tree: Any) -> Any:
    return jax.lax.with_sharding_constraint(tree, shardings(tree))


def make_resident_step(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    points: Points,
    source: ResidentSource,
    layout: Layout | None = None,
) -> Callable[..., TrainState]:
    """Makes `step(state, arrays, order, seed, epoch, index)` on data on the device."""
    step = make_step(problem, optimizer, points, layout)

    def resident_step(
        state: TrainState,
        arrays: Any,
        order: Any,
        seed: jax.Array,
        epoch: jax.Array,
        index: jax.Array,
    ) -> TrainState:
        batch_key, key = jax.random.split(step_key(seed, epoch, index))
        batch = source.batch(arrays, order, index, batch_key)
        return step(state, batch, index, key)

    return resident_step


def make_steps(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    points: Points,
    source: ResidentSource,
    layout: Layout | None = None,
) -> Callable[..., TrainState]:
    """Makes `steps(state, arrays, order, seed, epoch, start, stop)`.

    It is a compiled loop over the steps from `start` to before `stop` of an epoch. The
    bounds are arguments, so one compilation serves any number of steps, and how an
    epoch is cut into calls changes no bit of the result.
    """
    step = make_resident_step(problem, optimizer, points, source, layout)

    def steps(
        state: TrainState,
        arrays: Any,
        order: Any,
        seed: jax.Array,
        epoch: jax.Array,
        start: jax.Array | int,
        stop: jax.Array | int,
    ) -> TrainState:
        def body(index: jax.Array, state: TrainState) -> TrainState:
            return step(state, arrays, order, seed, epoch, index)

        return jax.lax.fori_loop(start, stop, body, state)

    return steps


def make_epoch(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    points: Points,
    source: ResidentSource,
) -> Callable[[TrainState, Any, jax.Array, jax.Array], TrainState]:
    """Makes `epoch(state, arrays, seed, number)`, all steps of an epoch.

    It can be jitted, scanned and vmapped, which is what a search does.
    """
    steps = make_steps(problem, optimizer, points, source)

    def epoch(
        state: TrainState, arrays: Any, seed: jax.Array, number: jax.Array
    ) -> TrainState:
        order = source.order(shuffle_key(seed, number))
        state = state._replace(model_state=problem.start_epoch(state.model_state))
        count = source.steps_per_epoch
        return steps(state, arrays, order, seed, number, 0, count)

    return epoch
