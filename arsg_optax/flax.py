"""Helpers for Flax: evaluation at the iterate, and a state that passes the loss on.

It needs Flax: ``pip install "arsg_optax[flax]"``.

The running statistics of batch normalization belong to the parameters at which they
were gathered: the observation point. At the iterate they are gathered anew.

In Flax NNX::

    with at_iterate(model, optimizer, batches) as evaluated:
        accuracy = evaluate(evaluated, test_set)

In Flax Linen, with :class:`TrainState`::

    variables = iterate_variables(state, batches)
    logits = state.apply_fn(variables, images, train=False)
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import core, nnx, struct
from flax.training import train_state

from arsg_optax.evaluation import eval_params

BATCHES = 50
_PROBE = 1024.0  # A power of two: an update that changes nothing keeps exactly 1.

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
            pass in training mode. It is given statistics of float32 at least.
        statistics: tree of float arrays, for its structure, shapes and dtypes.
        batches: at least `at_least` of them, all are used, with equal weight.
        at_least: with fewer batches the mean is thought too noisy.

    Returns:
        Tree as `statistics`.

    Raises:
        ValueError: if there are too few batches, or if `update` leaves some statistics
            as they are, which a forward pass in evaluation mode does.
    """
    if not jax.tree.leaves(statistics):
        return statistics
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise ValueError(_too_few(0, at_least))
    zeros = jax.tree.map(_wide_zeros, statistics)
    total, count = update(zeros, first), 1
    kept = _kept_shares(update, total, first)
    for batch in iterator:
        total = jax.tree.map(jnp.add, total, update(zeros, batch))
        count += 1
    if count < at_least:
        raise ValueError(_too_few(count, at_least))

    def mean(old: jax.Array, total: jax.Array, kept: jax.Array) -> jax.Array:
        return (total / ((1 - kept) * count)).astype(old.dtype)

    return jax.tree.map(mean, statistics, total, kept)


def _wide_zeros(statistic: jax.Array) -> jax.Array:
    # In bfloat16 neither a share of 0.99 nor a sum of 50 batches has enough digits.
    return jnp.zeros_like(
        statistic, dtype=jnp.promote_types(statistic.dtype, jnp.float32)
    )


def _too_few(count: int, at_least: int) -> str:
    return (
        f"batches must be at least {max(at_least, 1)}, got {count}; pass more of the "
        "training set, or state with at_least= that fewer will do"
    )


def _kept_shares(
    update: Callable[[Statistics, Any], Statistics], low: Statistics, batch: Any
) -> Statistics:
    """The share of the old statistics that an update keeps, of each array.

    Args:
        update: as of :func:`recomputed_statistics`.
        low: what it makes of zeros and the batch.
        batch: any.
    """

    def probe(low: jax.Array) -> jax.Array:
        # The larger it is, the less of it is lost when the batch's own is added.
        return jnp.full_like(low, _PROBE * jnp.maximum(jnp.max(jnp.abs(low)), 1))

    def share(low: jax.Array, high: jax.Array, probe: jax.Array) -> jax.Array:
        return jnp.median((high - low) / probe)

    probes = jax.tree.map(probe, low)
    shares = jax.tree.map(share, low, update(probes, batch), probes)
    unchanged = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(shares)
        if leaf >= 1
    ]
    if unchanged:
        raise ValueError(
            "update must change all statistics, got the same ones back at "
            f"{', '.join(unchanged)}; run the forward pass through all layers and in "
            "training mode (model.train(), or train=True and mutable=['batch_stats'])"
        )
    return shares


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
    layers. Running statistics are gathered with dropout off, as they are used.

    Args:
        model: a Flax NNX module; it is changed in place for the block.
        optimizer: the `nnx.Optimizer` that trains it, or the state of an Optax
            optimizer initialised with ``nnx.state(model, nnx.Param)``.
        batches: training inputs, from which running statistics are gathered at the
            iterate. They are not read if the model has no `nnx.BatchStat`.
        forward: `forward(model, batch)`, a forward pass. It is compiled once for a
            function, so pass the same one each time rather than a new lambda.
        at_least: the least number of batches.

    Yields:
        The model.

    Raises:
        ValueError: as :func:`recomputed_statistics` and
            :func:`arsg_optax.eval_params`.
    """
    graph, held = nnx.split(model)
    held = jax.tree.map(jnp.copy, held)
    opt_state, trained = optimizer, nnx.Param
    if isinstance(optimizer, nnx.Optimizer):
        opt_state, trained = optimizer.opt_state, optimizer.wrt
    try:
        nnx.update(model, eval_params(opt_state, nnx.state(model, trained)))
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
    model.eval()
    model.set_attributes(use_running_average=False, raise_if_not_found=False)
    graph, statistics, rest = nnx.split(model, nnx.BatchStat, ...)

    def update(statistics: Statistics, batch: Any) -> Statistics:
        return _updated(statistics, batch, rest, graph=graph, forward=forward)

    nnx.update(
        model, recomputed_statistics(update, statistics, batches, at_least=at_least)
    )


# Here and not inside, so that an evaluation each epoch compiles once.
@partial(jax.jit, static_argnames=("graph", "forward"))
def _updated(
    statistics: Statistics,
    batch: Any,
    rest: Any,
    *,
    graph: Any,
    forward: Callable[[Any, Any], Any],
) -> Statistics:
    copy = nnx.merge(graph, statistics, rest, copy=True)
    forward(copy, batch)
    return nnx.state(copy, nnx.BatchStat)


def _restore(model: nnx.Module, before: nnx.Module) -> None:
    """Puts variables and the layers' modes back."""
    nnx.update(model, nnx.state(before))
    for (_, module), (_, old) in zip(
        nnx.iter_modules(model), nnx.iter_modules(before), strict=True
    ):
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
        state: a :class:`TrainState`, or anything with
            `apply_fn`, `params`, `opt_state` and perhaps `batch_stats`.
        batches: training inputs, from which running statistics are gathered at the
            iterate. They are not read if `batch_stats` are absent or empty.
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

    def update(statistics: Statistics, batch: Any) -> Statistics:
        return _updated_linen(
            statistics, batch, params, apply_fn=state.apply_fn, forward=forward
        )

    # Linen hands back plain dictionaries, whatever it was given.
    gathered = recomputed_statistics(
        update, core.unfreeze(statistics), batches, at_least=at_least
    )
    return {"params": params, "batch_stats": gathered}


@partial(jax.jit, static_argnames=("apply_fn", "forward"))
def _updated_linen(
    statistics: Statistics,
    batch: Any,
    params: Any,
    *,
    apply_fn: Callable[..., Any],
    forward: Callable[..., Any] | None,
) -> Statistics:
    variables = {"params": params, "batch_stats": statistics}
    run = forward or partial(apply_fn, train=True)
    return core.unfreeze(run(variables, batch, mutable=["batch_stats"])[1])[
        "batch_stats"
    ]


class TrainState(train_state.TrainState):
    """Flax's `TrainState` with running statistics and the loss for the optimizer.

    Flax's own does not forward extra arguments, so an automatic observation boost
    (`arsgb` without ``boost_at``) would never see the loss. Use::

        state = TrainState.create(
            apply_fn=model.apply, params=variables["params"], tx=arsgb(0.1),
            batch_stats=variables.get("batch_stats"),
        )

        def loss_fn(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            logits, updated = state.apply_fn(
                variables, images, train=True, mutable=["batch_stats"]
            )
            return cross_entropy(logits, labels), updated

        (loss, updated), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        state = state.apply_gradients(
            grads=grads, value=loss, batch_stats=updated["batch_stats"]
        )

    :func:`iterate_variables` evaluates it.

    Attributes:
        batch_stats: running statistics of batch normalization, None without.
    """

    batch_stats: core.FrozenDict[str, Any] | dict[str, Any] | None = struct.field(
        default=None
    )

    def apply_gradients(
        self, *, grads: optax.Updates, value: Any = None, **changes: Any
    ) -> "TrainState":
        """One update.

        Args:
            grads: gradients, a tree as `params`.
            value: the loss they belong to, () float32, or None; optimizers that watch
                it get it as the extra argument `value`.
            **changes: other fields to replace, such as `batch_stats`.
        """
        extra = {} if value is None else {"value": value}
        update = optax.with_extra_args_support(self.tx).update
        updates, opt_state = update(grads, self.opt_state, self.params, **extra)
        params = optax.apply_updates(self.params, updates)
        return self.replace(
            step=self.step + 1, params=params, opt_state=opt_state, **changes
        )
