"""The arguments of sets: checked, and made into arrays that lie as the parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from arsg_optax._hyperparameters import as_scalar
from arsg_optax._precision import compute_dtype
from arsg_optax._states import by_path
from arsg_optax._validation import concrete, is_number
from arsg_optax.constraints.sets import Box, HalfSpace, L2Ball, ParameterSet

# What stands for None at a leaf of each tree.
_FILLS = {"lower": -np.inf, "upper": np.inf, "center": 0.0, "normal": 0.0}
_SCALARS = ("radius", "offset")


def check_set(onto: Any) -> None:
    """Refuses what is no set, or an empty or undefined one, where it can be read."""
    if not isinstance(onto, (Box, L2Ball, HalfSpace)):
        raise ValueError(
            f"onto must be a Box, an L2Ball or a HalfSpace, got {onto!r}; for example "
            "arsg_optax.Box(lower=0.0, upper=None)."
        )
    for name, field in onto._asdict().items():
        _check_field(name, field)
    if isinstance(onto, Box):
        _check_order(onto)
    if isinstance(onto, HalfSpace):
        values = [concrete(leaf) for leaf in jax.tree.leaves(onto.normal)]
        if all(value is not None and not np.any(value) for value in values):
            raise ValueError(
                f"normal must not be 0, got {onto.normal}; a half-space needs a "
                "direction, its offset says how far it reaches."
            )


def held(onto: ParameterSet, params: optax.Params) -> ParameterSet:
    """A checked set of copies: () arrays for numbers, arrays like params for trees.

    Scalars are in the default float dtype, trees in the parameters' compute dtypes and
    with their shardings. What is masked or None in the parameters has no place in the
    set. In the place of a tree stand the parameters themselves if they have no leaves,
    as Optax's placeholder has none.

    Raises:
      ValueError: if a tree does not fit the parameters.
    """
    return type(onto)(*(_hold(*each, params) for each in onto._asdict().items()))


def refreshed(
    onto: ParameterSet, state: ParameterSet, params: optax.Params
) -> ParameterSet:
    """The set to use at an update.

    Numbers are read anew, as hyper-parameters are. Trees are those of the state, which
    lie as the parameters do and need no constants in a compiled update, unless they are
    traced: injected, or mapped over.
    """

    def choose(name, field, kept):
        traced = any(isinstance(x, Tracer) for x in jax.tree.leaves(field))
        return _hold(name, field, params) if traced or _is_scalar(field) else kept

    return type(onto)(*map(choose, onto._fields, onto, state))


def _is_scalar(field: Any) -> bool:
    return is_number(field) or (hasattr(field, "dtype") and jnp.shape(field) == ())


def _is_gap(node: Any) -> bool:
    return node is None or isinstance(node, optax.MaskedNode)


def _hold(name: str, field: Any, params: optax.Params) -> Any:
    if field is None:
        return None
    if _is_scalar(field):
        return as_scalar(field)
    if not jax.tree.leaves(params):
        return params

    places, structure = jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_gap)
    try:
        values = structure.flatten_up_to(field)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a number or have the tree structure of the params, "
            f"{jax.tree.structure(params)}, got {jax.tree.structure(field)}; give it a "
            "leaf for every parameter, None where there is nothing to set."
        ) from error
    leaves = [
        param if _is_gap(param) else _like(name, path, param, value)
        for (path, param), value in zip(places, values, strict=True)
    ]
    return structure.unflatten(leaves)


def _like(name: str, path: Any, param: Any, value: Any) -> jax.Array:
    """The leaf of a tree as an array of the parameter's shape and sharding."""
    dtype, where = compute_dtype(param), jax.tree_util.keystr(path)
    if value is None:
        return jnp.full_like(param, _FILLS[name], dtype)
    if not (is_number(value) or hasattr(value, "dtype")):
        raise ValueError(
            f"{name} must have one leaf at '{where}', where params have one, got "
            f"{jax.tree.structure(value)}; give it the tree structure of the params."
        )
    shape, target = jnp.shape(value), jnp.shape(param)
    missing = len(target) - len(shape)
    pairs = zip(shape, target[max(missing, 0) :], strict=False)
    if missing < 0 or any(size not in (1, whole) for size, whole in pairs):
        raise ValueError(
            f"{name} must broadcast to the parameter's shape {target} at '{where}', "
            f"got {shape}; give it that shape, or a number."
        )
    array = jnp.asarray(value).astype(dtype)
    # Not full_like, which drops the sharding where the fill is an array.
    return jnp.zeros_like(param, dtype) + array.reshape((1,) * missing + shape)


def _check_field(name: str, field: Any) -> None:
    """Refuses what is of a wrong kind, NaN or, but for a bound, infinite."""
    scalar, bound = name in _SCALARS, name in ("lower", "upper")
    if field is None and (scalar or name == "normal"):
        raise ValueError(f"{name} must be given, got None; pass a float.")
    leaves: dict[str, Any] = {"": field} if scalar else by_path(field)
    for path, leaf in leaves.items():
        if not _is_real(leaf) or (scalar and jnp.shape(leaf) != ()):
            kinds = "a real number" if scalar else "real numbers or arrays"
            raise ValueError(f"{name} must be {kinds}, got {leaf!r}; pass a float.")
        value, at = concrete(leaf), f" at '{path}'" if path else ""
        if value is None:
            continue
        if bound and np.any(np.isnan(value)):
            raise ValueError(
                f"{name} must not be NaN{at}, got {value}; None is no bound."
            )
        least = 0 if name == "radius" else -np.inf
        if not bound and not np.all(np.isfinite(value) & (value >= least)):
            wanted = "finite and at least 0" if name == "radius" else "finite"
            raise ValueError(
                f"{name} must be {wanted}{at}, got {leaf}; without a constraint leave "
                "project out."
            )


def _is_real(leaf: Any) -> bool:
    if is_number(leaf):
        return True
    array = isinstance(leaf, (np.ndarray, jax.Array))  # Not an abstract one.
    kinds = (jnp.floating, jnp.integer)
    return array and any(jnp.issubdtype(leaf.dtype, kind) for kind in kinds)


def _check_order(box: Box) -> None:
    lower, upper = (by_path(bound) for bound in box)
    for path in dict.fromkeys([*lower, *upper]):
        low, high = (bound.get(path, bound.get("")) for bound in (lower, upper))
        read = [None if each is None else concrete(each) for each in (low, high)]
        if any(each is None for each in read) or _ordered(*read):
            continue
        at = f" at '{path}'" if path else ""
        raise ValueError(
            f"lower must be at most upper{at}, got lower {low} and upper {high}; "
            "swap them, or use None where there is no bound."
        )


def _ordered(below: Any, above: Any) -> bool:
    try:
        return bool(np.all(below <= above))
    except ValueError:  # The shapes are compared with the parameters' later.
        return True
