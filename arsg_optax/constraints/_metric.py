"""The metric of a projection: what the optimizer inside multiplied the gradient by."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from arsg_optax._precision import compute_dtype
from arsg_optax._states import Found, by_path, divides, find_states, outermost
from arsg_optax._trees import leaf_dtype
from arsg_optax.transforms.combining import DeclareElementwiseState
from arsg_optax.transforms.resilience import (
    ScaleByResilienceState,
    resilience_factors,
)

# What these keep are sums of what reaches them, in whatever metric that is, or numbers.
_NO_METRIC = (
    optax.ApplyEvery,
    optax.EmaState,
    optax.InjectHyperparamsState,
    optax.InjectStatefulHyperparamsState,
    optax.MultiStepsState,
    optax.TraceState,
    optax.contrib.ScheduleFreeState,
)


class EuclideanMetric(NamedTuple):
    """Stands in a state for ``metric="euclidean"``; it holds no arrays."""


def check_metric(metric: Any) -> None:
    """Raises ValueError unless it is "optimizer" or "euclidean"."""
    if metric not in ("optimizer", "euclidean"):
        raise ValueError(
            f"metric must be 'optimizer' or 'euclidean', got {metric!r}; 'optimizer' "
            "weights each element by what the optimizer divides its gradient by."
        )


def check_known(state: optax.OptState, params: optax.Params) -> None:
    """Refuses an optimizer that may divide the gradient by what its state hides.

    Args:
      state: of the optimizer inside, fresh.
      params: what it was made of.

    Raises:
      ValueError: if a state keeps arrays of its own, and is neither one of this package
        nor a momentum, an average or an accumulator of Optax.
    """
    found = _states(state, params)
    declared = [f for f in found if isinstance(f.state, DeclareElementwiseState)]
    names = by_path(params)
    for each in found:
        own = type(each.state).__module__.startswith("arsg_optax.")
        if own or divides(each.state) or isinstance(each.state, _NO_METRIC):
            continue
        if any(_within(each.path, outer) for outer in declared):
            continue
        if _keeps_arrays(each, found, names):
            raise ValueError(
                "inner must be an optimizer whose metric is known, got one with "
                f"{type(each.state).__name__} at '{jax.tree_util.keystr(each.path)}', "
                "which keeps arrays and has no method denominator(); use a "
                "preconditioner of arsg_optax, or say metric='euclidean'."
            )


def _states(state: optax.OptState, params: optax.Params) -> list[Found]:
    """The states inside, without what parameters and their moments consist of."""
    modules = {type(each.state) for each in find_states(params)}
    return [each for each in find_states(state) if type(each.state) not in modules]


def _within(path: tuple[Any, ...], outer: Found) -> bool:
    return len(path) > len(outer.path) and path[: len(outer.path)] == outer.path


def _keeps_arrays(each: Found, found: list[Found], names: dict[str, Any]) -> bool:
    """Whether a state itself holds arrays, or scalars for parameters that are scalars.

    Args:
      each: the state.
      found: all states, those inside of it included.
      names: the parameters, by path.
    """
    inside = [other for other in found if _within(other.path, each)]
    for path, leaf in jax.tree_util.tree_leaves_with_path(each.state):
        full = (*each.path, *path)
        if any(_within(full, other) for other in inside):
            continue
        array = jnp.ndim(leaf) > 0 or jax.tree_util.keystr(path[1:]) in names
        if array and jnp.issubdtype(leaf_dtype(leaf), jnp.floating):
            return True
    return False


def preconditioner_multipliers(
    state: optax.OptState, params: optax.Params = ()
) -> dict[str, jax.Array]:
    """One over all denominators in a state, by path; leaves left out have none.

    Args:
      state: of the optimizer inside.
      params: its parameters, whose modules may have methods of any name.
    """
    products: dict[str, jax.Array] = {}
    for each in outermost(_states(state, params)):
        if divides(each.state):
            for path, divisor in by_path(each.state.denominator()).items():
                products[path] = _product(products.get(path), 1 / divisor)
    return products


def multipliers(
    before: optax.OptState,
    after: optax.OptState,
    gradient: optax.Updates,
    params: optax.Params,
) -> dict[str, jax.Array]:
    """What the gradient was multiplied by, by path; leaves left out were not."""
    gradients, products = by_path(gradient), preconditioner_multipliers(after, params)
    for path in products:
        _at(gradients, path)
    pairs = outermost(find_states(before)), outermost(find_states(after))
    for old, new in zip(*pairs, strict=True):
        if isinstance(new.state, ScaleByResilienceState):
            seen = jax.tree_util.tree_map_with_path(
                lambda path, _: _at(gradients, jax.tree_util.keystr(path)),
                new.state.mu,
            )
            factors = by_path(resilience_factors(old.state, new.state, seen))
            for path, factor in factors.items():
                products[path] = _product(products.get(path), factor)
    return products


def _product(one: jax.Array | None, other: jax.Array) -> jax.Array:
    if one is None:
        return other
    dtype = compute_dtype(one, other)
    return one.astype(dtype) * other.astype(dtype)


def _at(gradients: dict[str, jax.Array], path: str) -> jax.Array:
    if path not in gradients:
        raise ValueError(
            "inner must keep its statistics in the parameters' tree structure, got "
            f"them for '{path}'; put wrappers that change it, such as optax.flatten, "
            "around project."
        )
    return gradients[path]
