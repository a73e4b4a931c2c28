"""Random arguments and trees for every public optimizer and transform."""

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import arsg_optax
from arsg_optax._validation import RANGES, concrete
from scripts.attack.lab import Failed, Lab, Random, require

# Numbers between these, and zero, must give finite steps.
_SMALL, _LARGE = 1e-8, 1e4
_NUMBERS = (-1.0, -0.1, 0.0, 1e-38, 1e-3, 0.5, 0.999, 1.0, 1.5, 8.0, 1e39, -1e39)
_NUMBERS += (math.nan, math.inf, -math.inf, 10**400, 2**31, 2**31 - 1, 7)
_WRONG = (None, True, "0.5", b"1", [0.5], {}, 1j, np.ones(2), np.float16(0.5), object())
_DTYPES = (None, "bfloat16", jnp.float32, "float16", "int8", "no dtype", 3)
_SHAPES = ((), (1,), (3,), (0,), (4, 3), (2, 3, 2))
# What a message may name beside the arguments of the call.
_ALSO = ("params", "updates", "matrix_axes", "observation", "distance", "links")


def _mask(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, tree)


_SGD, _CLIP, _RSG = optax.sgd(0.1), optax.clip(1.0), arsg_optax.rsg(0.1)
_LINKS = (arsg_optax.scale_by_adam_rms(), arsg_optax.scale_by_resilience())
_LINKS += (arsg_optax.scale_by_nonincreasing_rms(), arsg_optax.orthogonalize())
_OTHERS: dict[str, tuple[Any, ...]] = {
    "inner": (_RSG, _SGD, arsg_optax.arsg(0.1), arsg_optax.adarem(0.1), None, 3),
    "link": (_CLIP, *_LINKS, None),
    "links": ((), *((link,) for link in _LINKS), _LINKS[:2], (optax.adam(0.1),), (3,)),
    "transforms": ((), (_LINKS[0],), (_CLIP, _LINKS[2]), (None,)),
    "preconditioner": (*_LINKS, None, _SGD, "adam"),
    "onto": (arsg_optax.Box(-2.0, 2.0), arsg_optax.L2Ball(3.0), None, 1.0),
    "metric": ("optimizer", "euclidean", "other", None),
    "scope": ("tree", "leaf", "other", None, 1),
    "sphere_scope": ("tree", "leaf", "other", None),
    "scale": ("width", "other", None, 1.0),
    "mask": (None, True, False, _mask, {"a": True}, "mask"),
    "sphere_mask": (True, False, _mask, None, 3),
    "matrices": (None, arsg_optax.hidden_matrices, 3),
    "matrix_axes": (None, arsg_optax.MatrixAxes((0,), 1), (0, 1), "ab"),
    "coefficients": ((3.4445, -4.775, 2.0315), (2.0, -1.5, 0.5), (1.0,), None, "abc"),
    "learning_rate_rest": (None, 0.1, -1.0, lambda count: 0.01, "0.1"),
    "axis_name": (None,),
    "dtype": _DTYPES,
    "mu_dtype": _DTYPES,
    "nu_dtype": _DTYPES,
}
_REQUIRED = {"learning_rate": 0.1, "sphere_mask": True, "mask": True, "switch_at": 1}
_REQUIRED |= {"inner": _RSG, "link": _LINKS[0], "onto": _OTHERS["onto"][0]}
_REQUIRED |= {
    "preconditioner": _LINKS[0],
    "distance": 0.5,
    "links": (),
    "transforms": (),
}


class Call(NamedTuple):
    """A public function with arguments, and a tree to update."""

    name: str
    make: Callable[..., optax.GradientTransformation]
    arguments: dict[str, Any]
    params: Any
    gradients: Any

    def made(self) -> optax.GradientTransformation:
        """The optimizer or transform."""
        kinds = inspect.signature(self.make).parameters
        named = {
            k: v
            for k, v in self.arguments.items()
            if kinds[k].kind is not kinds[k].VAR_POSITIONAL
        }
        listed = [v for k, v in self.arguments.items() if k not in named]
        return self.make(*(each for values in listed for each in values), **named)

    def makes_floats(self) -> bool:
        """Whether Optax's own part of it makes float32 steps of whole numbers."""
        held = [v for v in self.arguments.values() if isinstance(v, tuple)]
        parts = [
            *self.arguments.values(),
            *(each for values in held for each in values),
        ]
        return any(part is _SGD or part is _CLIP for part in parts)

    def is_moderate(self) -> bool:
        """Whether all its numbers are such that float32 must hold the step."""
        if any(leaf.dtype == jnp.float16 for leaf in jax.tree.leaves(self.params)):
            return False
        numbers = [_magnitude(value) for value in self.arguments.values()]
        return all(n == 0 or _SMALL <= n <= _LARGE for n in numbers)


def _magnitude(value: Any) -> float:
    """Of a number or of what a schedule gives; 1 of what is none."""
    value = (
        value(0)
        if inspect.isfunction(value) and value.__name__ == "number_at"
        else value
    )
    if isinstance(value, int | float | np.number | jax.Array) and np.ndim(value) == 0:
        number = concrete(value)
        return math.inf if number is None else abs(float(number))
    return 1.0


@functools.cache
def makers() -> dict[str, Callable[..., Any]]:
    """Every public function that returns a gradient transformation."""
    found = {name: getattr(arsg_optax, name) for name in arsg_optax.__all__}
    return {
        name: make
        for name, make in found.items()
        if inspect.isfunction(make)
        and "GradientTransformation" in str(inspect.signature(make).return_annotation)
    }


def trial(lab: Lab, random: Random) -> str:
    """A ValueError that names the argument, or two finite steps."""
    del lab
    name = list(makers())[random.integers(len(makers()))]
    call = draw(name, makers()[name], random)
    try:
        refused = attempt(call)
    except Failed as error:
        raise Failed(f"{name}({call.arguments}) on {call.params}: {error}") from error
    return f"{name}, {'refused' if refused else 'two steps'}"


def draw(name: str, make: Callable[..., Any], random: Random) -> Call:
    """A call with some arguments changed, a third of them to what is no good."""
    arguments = {}
    for each in inspect.signature(make).parameters.values():
        if random.random() < 0.25:
            arguments[each.name] = _value(each.name, random)
        elif each.default is each.empty:
            arguments[each.name] = _REQUIRED[each.name]
    tree = _tree(random, depth=2)
    scale = float(random.choice([1.0, 1.0, 0.0, 1e-20, 1e6]))
    gradients = jax.tree.map(
        lambda leaf: (
            scale * jnp.asarray(random.normal(size=leaf.shape).astype(np.float32))
        ).astype(leaf.dtype),
        tree,
    )
    return Call(name, make, arguments, tree, gradients)


def _value(name: str, random: Random) -> Any:
    if name in _OTHERS:
        return _OTHERS[name][random.integers(len(_OTHERS[name]))]
    if name not in RANGES or name == "steps":  # A flag, or a plain number of steps.
        return (True, False, 5, *_WRONG)[random.integers(3 + len(_WRONG))]
    if random.random() < 0.15:
        return _WRONG[random.integers(len(_WRONG))]
    number: Any = _NUMBERS[random.integers(len(_NUMBERS))]
    if random.random() < 0.5:
        number = float(random.uniform(0, 1))
    kind = random.integers(4)
    if kind == 1 and abs(number) < 1e30:
        return jnp.float32(number)
    if kind != 2:
        return number

    def number_at(count: Any) -> Any:
        return number

    return number_at


def _tree(random: Random, depth: int) -> Any:
    """Arrays of few shapes, so that little is compiled, in nested containers."""
    kind = random.integers(6) if depth else 0
    if kind <= 1:
        dtype = random.choice(
            ["float32", "bfloat16", "float16", "int32"], p=[0.75, 0.2, 0.03, 0.02]
        )
        values = random.normal(size=_SHAPES[random.integers(len(_SHAPES))])
        return jnp.asarray(values, jnp.float32).astype(str(dtype))
    inside = [_tree(random, depth - 1) for _ in range(random.integers(1, 4))]
    if kind == 2:
        return tuple(inside) + (None,)
    if kind == 3:
        return [*inside, {}]
    return {name: each for name, each in zip("abc", inside, strict=False)}


def attempt(call: Call) -> bool:
    """Whether the call is refused; two steps of it otherwise."""
    params, extra = call.params, {"value": jnp.float32(1.0)}
    try:
        optimizer = optax.with_extra_args_support(call.made())
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(call.gradients, state, params, **extra)
            _check(updates, call)
            params = optax.apply_updates(params, updates)
    except ValueError as error:
        names = (*inspect.signature(call.make).parameters, *_ALSO)
        found = re.findall(r"\w+", str(error))
        named = any(name in found for name in names)
        require(named, f"a ValueError that names no argument: {error}")
        return True
    except Failed:
        raise
    except Exception as error:
        raise Failed(
            f"{type(error).__name__} instead of a ValueError: {error}"
        ) from error
    return False


def _check(updates: Any, call: Call) -> None:
    same = jax.tree.structure(updates) == jax.tree.structure(call.params)
    require(same, f"another tree: {jax.tree.structure(updates)}")
    pairs = zip(jax.tree.leaves(updates), jax.tree.leaves(call.params), strict=True)
    for update, param in pairs:
        kept = update.shape == param.shape and (
            update.dtype == param.dtype
            or (param.dtype == jnp.int32 and call.makes_floats())
        )
        require(kept, f"{update.dtype}{update.shape} for {param.dtype}{param.shape}")
        finite = not call.is_moderate() or bool(jnp.isfinite(update).all())
        require(finite, f"updates that are not finite: {update}")
