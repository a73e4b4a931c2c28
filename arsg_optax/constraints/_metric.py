"""The metric of a projection: what the optimizer inside multiplied the gradient by."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from arsg_optax._precision import product
from arsg_optax._states import Found, by_path, divides, find_states, outermost
from arsg_optax._trees import leaf_dtype
from arsg_optax.transforms.combining import DeclareElementwiseState
from arsg_optax.transforms.resilience import ScaleByResilienceState, resilience_factors

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


def check_known(state: optax.OptState, params: optax.Params) -> None:
    """Refuses an optimizer that may divide the gradient by what its fresh state hides.

    It does if a state keeps arrays of its own (scalars for parameters that are scalars)
    and is neither one of this package nor a momentum or an average of Optax.
    """
    found, names = _states(state, params), by_path(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        around = [f for f in found if path[: len(f.path)] == f.path]
        if not around:
            continue
        owner, kind = around[-1], type(around[-1].state)
        known = divides(owner.state) or isinstance(owner.state, _NO_METRIC)
        if known or kind.__module__.startswith("arsg_optax."):
            continue
        if any(isinstance(each.state, DeclareElementwiseState) for each in around):
            continue
        name = jax.tree_util.keystr(path[len(owner.path) + 1 :])
        array = jnp.ndim(leaf) > 0 or name in names
        if array and jnp.issubdtype(leaf_dtype(leaf), jnp.floating):
            raise ValueError(
                "inner must be an optimizer whose metric is known, got one with "
                f"{kind.__name__} at '{jax.tree_util.keystr(owner.path)}',"
                " which keeps arrays and has no method denominator(); use a "
                "preconditioner of arsg_optax, or say metric='euclidean'."
            )


def _states(state: optax.OptState, params: optax.Params) -> list[Found]:
    """The states inside, without what parameters and their moments consist of."""
    modules = {type(each.state) for each in find_states(params)}
    return [each for each in find_states(state) if type(each.state) not in modules]


def preconditioner_multipliers(
    state: optax.OptState, params: optax.Params = ()
) -> dict[str, jax.Array]:
    """One over all denominators in a state, by path; leaves left out have none.

    Modules among the parameters may have methods of any name.
    """
    products: dict[str, jax.Array] = {}
    for each in outermost(_states(state, params)):
        if divides(each.state):
            divisors = each.state.denominator()
            _multiply(products, jax.tree.map(lambda divisor: 1 / divisor, divisors))
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
                lambda path, _: _at(gradients, jax.tree_util.keystr(path)), new.state.mu
            )
            _multiply(products, resilience_factors(old.state, new.state, seen))
    return products


def _multiply(products: dict[str, jax.Array], factors: optax.Updates) -> None:
    """Multiplies products by the leaves of a tree at their paths."""
    for path, factor in by_path(factors).items():
        known = path in products
        products[path] = product(products[path], factor) if known else factor


def _at(gradients: dict[str, jax.Array], path: str) -> jax.Array:
    if path not in gradients:
        raise ValueError(
            "inner must keep its statistics in the parameters' tree structure, got "
            f"them for '{path}'; put wrappers that change it, such as optax.flatten, "
            "around project."
        )
    return gradients[path]
