"""Trees of parameters, gradients and updates: checked, and mapped over.

Dtypes, shapes and structures are known while tracing and are always checked.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import optax

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def per_leaf(
    function: Callable[_Arguments, _Result], **options: Any
) -> Callable[_Arguments, _Result]:
    """Makes a function of leaves that is traced and lowered once per shape.

    A tree of a thousand arrays has a dozen shapes. The lowered program calls the
    function once per leaf, which takes as long to lower as about five operations: a
    function of fewer is put in line at once, with `inline=True`. Under
    `jax.disable_jit` a Python number reaches the function as it is, so it casts scalars
    with `jnp.asarray(x, dtype)`.
    """
    return jax.jit(function, **options)


def leaf_dtype(leaf: Any) -> jnp.dtype:
    """The dtype that JAX gives an array, an abstract array or a Python number.

    A float64 array of NumPy's becomes float32, unless `jax_enable_x64` is set.
    """
    return jnp.result_type(leaf)


def varying_axes(leaf: Any) -> frozenset[str]:
    """The axes of a `jax.shard_map` along which a value varies; empty outside one."""
    kind: Any = jax.typeof(leaf)
    if hasattr(kind, "manual_axis_type"):
        return kind.manual_axis_type.varying
    return getattr(kind, "vma", frozenset())  # Its older name.


def check_real(name: str, tree: optax.Params) -> None:
    """Refuses leaves that are not real floating point; the name is for the message."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        dtype = leaf_dtype(leaf)
        if jnp.issubdtype(dtype, jnp.floating):
            continue
        remedy = (
            "optimize real and imaginary part apart with "
            "optax.contrib.split_real_and_imaginary."
            if jnp.issubdtype(dtype, jnp.complexfloating)
            else "leave such leaves out with optax.masked or optax.partition."
        )
        raise ValueError(
            f"{name} must be real floating point, got dtype {dtype} at "
            f"'{jax.tree_util.keystr(path)}'; {remedy}"
        )


def check_updates(name: str, updates: optax.Updates, moment: optax.Updates) -> None:
    """Refuses updates whose structure, shapes or dtypes do not fit a moment's."""
    check_real(name, updates)
    remedy = "call update with gradients of the parameters that init was called with."
    if name == "raw_gradient":
        remedy = (
            "inside chain_on_gradient give masked and partition "
            "mask_compatible_extra_args=True."
        )

    def check_shape(path, expected, update):
        if jnp.shape(update) != jnp.shape(expected):
            raise ValueError(
                f"{name} must have the shape {jnp.shape(expected)} at "
                f"'{jax.tree_util.keystr(path)}', got {jnp.shape(update)}; {remedy}"
            )

    # Compared apart from the map below, whose error would hide the remedy.
    expected, got = jax.tree.structure(moment), jax.tree.structure(updates)
    if expected != got:
        raise ValueError(
            f"{name} must have the tree structure of the optimizer state, {expected}, "
            f"got {got}; {remedy}"
        )
    jax.tree_util.tree_map_with_path(check_shape, moment, updates)


def map_updates(
    function: Callable[[Any, Any], Any], updates: optax.Updates, params: optax.Params
) -> optax.Updates:
    """Maps over updates and parameters; where an update is None it stays None.

    The parameters may hold anything there: Equinox users pass whole models, with
    functions among the leaves.
    """

    def apply(update, param):
        return None if update is None else function(update, param)

    return jax.tree.map(apply, updates, params, is_leaf=lambda leaf: leaf is None)


def chosen_of(choice: Any, tree: Any) -> Any:
    """A tree, or what a callable makes of another.

    A model may be callable and a tree: then it has the type of the other.
    """
    if callable(choice) and type(choice) is not type(tree):
        return choice(tree)
    return choice


def spread(
    name: str,
    choice: Any,
    tree: Any,
    remedy: str,
    is_leaf: Callable[[Any], bool] | None = None,
) -> list[Any]:
    """What a choice says about each leaf of a tree, in the order of the leaves.

    The choice has the tree's structure or a prefix of it; `is_leaf` is of its nodes.

    Raises:
      ValueError: names the argument, both structures and the remedy.
    """
    said: list[Any] = []

    def say(verdict, part):
        said.extend([verdict] * len(jax.tree.leaves(part)))

    try:
        jax.tree.map(say, choice, tree, is_leaf=is_leaf)
    except ValueError as error:
        raise ValueError(
            f"{name} must have the tree structure of the parameters, "
            f"{jax.tree.structure(tree)}, or be a prefix of it, got "
            f"{jax.tree.structure(choice, is_leaf=is_leaf)}; {remedy}"
        ) from error
    return said


def require_params(params: optax.Params | None, where: str) -> optax.Params:
    """The params of an `update`, refused if there are none; `where` needs them."""
    if params is None:
        raise ValueError(
            f"params must be given to update where {where}, got None; call "
            "update(gradients, state, params)."
        )
    return params


def check_params(params: optax.Params, updates: optax.Updates) -> None:
    """Refuses parameters that do not fit the updates, where these are not None."""
    try:
        needed = map_updates(lambda _, param: param, updates, params)
    except ValueError as error:
        raise ValueError(
            "params must have the tree structure of the updates, "
            f"{jax.tree.structure(updates)}, got {jax.tree.structure(params)}; call "
            "update with the parameters that belong to the gradients."
        ) from error
    check_updates("params", needed, updates)
