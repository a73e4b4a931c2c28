"""What searches take, checked before anything is compiled."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._hyperparameters import default_float
from arsg_optax._trees import check_real
from arsg_optax._validation import check, check_number
from arsg_optax.tuning._batches import make_batches
from arsg_optax.tuning._engine import Run
from arsg_optax.tuning._losses import real_scalar
from arsg_optax.tuning._plans import ENGINES
from arsg_optax.tuning._training import Hyperparameters, Training


def check_engine(engine: Any, memory_limit: Any, mesh: Any) -> None:
    """Raises ValueError if the way of running is unknown or contradicts the mesh."""
    if engine not in ENGINES:
        raise ValueError(
            f"engine must be one of {', '.join(ENGINES)}, got {engine!r}; auto chooses."
        )
    if mesh is not None and engine not in ("auto", "vmapped"):
        raise ValueError(
            f"engine must be auto or vmapped on a mesh, got {engine!r}; leave out mesh."
        )
    if memory_limit is not None:
        check_number(
            "memory_limit", memory_limit, 1, "[)", math.inf, "it counts bytes."
        )


def make_run(
    make_optimizer: Callable[[Hyperparameters], optax.GradientTransformation],
    loss_fn: Callable[..., Any],
    params: Any,
    batches: Any,
    *,
    steps: int,
    aux: Any,
    seeds: int,
    gradient_point: Callable[[Any], Any],
) -> Run:
    """What is trained, made from a user's arguments.

    Raises:
      ValueError: if a number is no positive whole one, if parameters are not floating
        point, if the loss is not a real scalar or the next model state is not like the
        one before, or if batches have no common leading axis.
    """
    check("steps", steps)
    check("seeds", seeds)
    steps, seeds = int(steps), int(seeds)
    source = make_batches(batches)
    starts = [params(seed) if _makes(params) else params for seed in range(seeds)]
    check_real("params", starts[0])
    training = Training(make_optimizer, _loss(loss_fn, aux is not None), gradient_point)
    seed, index = jnp.uint32(0), jnp.int32(0)
    batch = jax.eval_shape(source.at, source.arrays, seed, index)
    point = jax.eval_shape(gradient_point, starts[0])
    _check_aux(aux, jax.eval_shape(training.loss, point, aux, batch)[1])
    stacked = starts[0]
    if seeds > 1:
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    stacked, aux = jax.tree.map(jnp.asarray, (stacked, aux))
    return Run(training, source, stacked, aux, seeds, steps)


def _loss(loss_fn: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    def loss(params: Any, aux: Any, batch: Any) -> tuple[jax.Array, Any]:
        if not has_aux:
            value = loss_fn(params, batch)
            return real_scalar(value), aux
        found = loss_fn(params, aux, batch)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ValueError(
                "loss_fn must return (loss, next aux) where aux is given, got "
                f"{type(found).__name__}; leave out aux if the model has no state."
            )
        return real_scalar(found[0], "return (mean loss, next aux)."), found[1]

    return loss


def _makes(params: Any) -> bool:
    """Whether it is a function of a seed, and no model that can be called itself."""
    leaves = jax.tree.leaves(params)
    return callable(params) and not any(hasattr(leaf, "dtype") for leaf in leaves)


def _check_aux(aux: Any, after: Any) -> None:
    if aux is None:
        return
    remedy = "return the next aux as it came."
    before, behind = jax.tree.structure(aux), jax.tree.structure(after)
    if before != behind:
        raise ValueError(
            f"aux must keep its structure, {before}, got {behind} after a step; "
            + remedy
        )
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(aux), jax.tree.leaves(after), strict=True
    )
    for (path, leaf), later in pairs:
        was, now = (
            (jnp.shape(each), jnp.result_type(each).name) for each in (leaf, later)
        )
        if was != now:
            raise ValueError(
                f"aux must keep shape and dtype, {was}, got {now} after a step at "
                f"'{jax.tree_util.keystr(path)}'; {remedy}"
            )


def hypers_of(values: Mapping[str, Any]) -> Hyperparameters:
    """[candidates] by name, in the default float dtype.

    Raises:
      ValueError: if a value is too large or too small for it.
    """
    dtype = default_float()
    tiny, huge = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).max)
    found = {}
    for name, each in values.items():
        for value in np.abs(np.asarray(each, np.float64)):
            if value > huge or 0 < value < tiny:
                raise ValueError(
                    f"{name} must be within {jnp.dtype(dtype).name}, {tiny:.3g} to "
                    f"{huge:.3g}, got {value:.3g}; leave it out."
                )
        found[name] = np.asarray(each, dtype)
    return found
