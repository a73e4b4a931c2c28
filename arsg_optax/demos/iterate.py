"""Evaluation at the iterate, with batch normalization, in Flax NNX and in Linen.

The running statistics of batch normalization belong to the parameters at which they
were gathered: the observation point. At the iterate they are gathered anew.

In Flax NNX::

    with at_iterate(model, optimizer, batches) as evaluated:
        accuracy = evaluate(evaluated, test_set)

In Flax Linen, with the `TrainState` of :mod:`arsg_optax.demos.linen`::

    variables = iterate_variables(state, batches)
    logits = state.apply_fn(variables, images, train=False)
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from arsg_optax.evaluation import eval_params

BATCHES = 50
_PROBE = 1024.0  # Much larger than statistics, and a power of two.

Statistics = Any


def recomputed_statistics(
    update: Callable[[Statistics, Any], Statistics],
    statistics: Statistics,
    batches: Iterable[Any],
    *,
    at_least: int = BATCHES,
) -> Statistics:
    """Mean of the batches' own statistics, at the parameters in use.

    Running statistics are averages with a momentum, which remember the parameters
    of hundreds of steps before; this is the plain mean over the batches. The momentum
    need not be known: an update is linear in the old statistics, and is probed once.

    Args:
        update: `update(statistics, batch)`, the running statistics after a forward
            pass in training mode.
        statistics: tree of float arrays, for its structure, shapes and dtypes.
        batches: at least `at_least` of them, all are used.
        at_least: below it, a mean is thought too noisy.

    Returns:
        Tree as `statistics`.

    Raises:
        ValueError: if there are too few batches, or if `update` leaves statistics as
            they are, which a forward pass in evaluation mode does.
    """
    if not jax.tree.leaves(statistics):
        return statistics
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise ValueError(_too_few(0, at_least))
    zeros = jax.tree.map(jnp.zeros_like, statistics)
    remembered = _momenta(update, zeros, first)
    total, count = zeros, 0
    for batch in itertools.chain([first], iterator):
        total = jax.tree.map(jnp.add, total, update(zeros, batch))
        count += 1
    if count < at_least:
        raise ValueError(_too_few(count, at_least))

    def mean(total: jax.Array, momentum: jax.Array) -> jax.Array:
        return (total / ((1 - momentum) * count)).astype(total.dtype)

    return jax.tree.map(mean, total, remembered)


def _too_few(count: int, at_least: int) -> str:
    return (
        f"batches must be at least {at_least}, got {count}; pass more of the training "
        "set, or state with at_least= that fewer will do"
    )


def _momenta(
    update: Callable[[Statistics, Any], Statistics], zeros: Statistics, batch: Any
) -> Statistics:
    """The share of the old statistics that an update keeps, of each array."""
    probes = jax.tree.map(lambda zero: jnp.full_like(zero, _PROBE), zeros)
    low, high = update(zeros, batch), update(probes, batch)

    def momentum(low: jax.Array, high: jax.Array) -> jax.Array:
        kept = (high.astype(jnp.float32) - low.astype(jnp.float32)) / _PROBE
        return jnp.median(kept).astype(low.dtype)

    momenta = jax.tree.map(momentum, low, high)
    if any(float(leaf) > 0.9999 for leaf in jax.tree.leaves(momenta)):
        raise ValueError(
            "update must change the statistics, got the same ones back; run the "
            "forward pass in training mode (model.train(), or train=True and "
            "mutable=['batch_stats'])"
        )
    return momenta


def _call(model: Any, batch: Any) -> Any:
    return model(batch)


@contextmanager
def at_iterate(
    model: nnx.Module,
    optimizer: Any,
    batches: Iterable[Any] = (),
    *,
    forward: Callable[[Any, Any], Any] = _call,
    at_least: int = BATCHES,
) -> Iterator[Any]:
    """Holds an NNX model at the iterate, in evaluation mode, for a `with` block.

    Everything that the model held is put back at the end, also after an error: the
    parameters, the running statistics, all other variables, and the modes of its
    layers.

    Args:
        model: a Flax NNX module; it is changed in place for the block.
        optimizer: the `nnx.Optimizer` that trains it, or the state of an Optax
            optimizer initialised with ``nnx.state(model, nnx.Param)``.
        batches: training inputs, from which running statistics are gathered at the
            iterate. Not looked at where the model has no `nnx.BatchStat`.
        forward: `forward(model, batch)`, a forward pass.
        at_least: the least number of batches.

    Yields:
        The model.

    Raises:
        ValueError: as :func:`recomputed_statistics` and
            :func:`arsg_optax.eval_params`.
    """
    graph, held = nnx.split(model)
    held = jax.tree.map(jnp.copy, held)
    opt_state = getattr(optimizer, "opt_state", optimizer)
    try:
        params = nnx.state(model, nnx.Param)
        nnx.update(model, eval_params(opt_state, params))
        _gather(model, batches, forward, at_least)
        model.eval()
        yield model
    finally:
        _restore(model, nnx.merge(graph, held))


def _gather(
    model: nnx.Module,
    batches: Iterable[Any],
    forward: Callable[[Any, Any], Any],
    at_least: int,
) -> None:
    statistics = nnx.state(model, nnx.BatchStat)
    model.train()
    graph, _, rest = nnx.split(model, nnx.BatchStat, ...)

    @jax.jit
    def update(statistics: Statistics, batch: Any, rest: Any) -> Statistics:
        copy = nnx.merge(graph, statistics, rest, copy=True)
        forward(copy, batch)
        return nnx.state(copy, nnx.BatchStat)

    def at_parameters(statistics: Statistics, batch: Any) -> Statistics:
        return update(statistics, batch, rest)

    nnx.update(
        model,
        recomputed_statistics(at_parameters, statistics, batches, at_least=at_least),
    )


def _restore(model: nnx.Module, before: nnx.Module) -> None:
    """Puts variables and the layers' modes back."""
    nnx.update(model, nnx.state(before))
    for (path, module), (_, old) in zip(
        nnx.iter_modules(model), nnx.iter_modules(before), strict=True
    ):
        del path
        for mode in ("use_running_average", "deterministic"):
            if hasattr(old, mode):
                setattr(module, mode, getattr(old, mode))


def iterate_variables(
    state: Any,
    batches: Iterable[Any] = (),
    *,
    forward: Callable[..., Any] | None = None,
    at_least: int = BATCHES,
) -> dict[str, Any]:
    """The variables of a Linen model at the iterate; nothing has to be put back.

    Args:
        state: a :class:`arsg_optax.demos.linen.TrainState`, or anything with
            `apply_fn`, `params`, `opt_state` and perhaps `batch_stats`.
        batches: training inputs, from which running statistics are gathered at the
            iterate. Not looked at where `batch_stats` are absent or empty.
        forward: `forward(variables, batch, mutable=["batch_stats"])`, a forward pass
            in training mode that returns `(outputs, updated)`; None for
            ``apply_fn(variables, batch, train=True, mutable=...)``.
        at_least: the least number of batches.

    Returns:
        `{"params": ..., "batch_stats": ...}` for `apply_fn`, the second only where
        the state has it.

    Raises:
        ValueError: as :func:`recomputed_statistics` and
            :func:`arsg_optax.eval_params`.
    """
    params = eval_params(state.opt_state, state.params)
    statistics = getattr(state, "batch_stats", None)
    if not statistics:
        return {"params": params}
    run = forward or (
        lambda variables, batch, mutable: state.apply_fn(
            variables, batch, train=True, mutable=mutable
        )
    )

    @jax.jit
    def update(params: Any, statistics: Statistics, batch: Any) -> Statistics:
        variables = {"params": params, "batch_stats": statistics}
        return run(variables, batch, mutable=["batch_stats"])[1]["batch_stats"]

    def at_parameters(statistics: Statistics, batch: Any) -> Statistics:
        return update(params, statistics, batch)

    gathered = recomputed_statistics(
        at_parameters, statistics, batches, at_least=at_least
    )
    return {"params": params, "batch_stats": gathered}
