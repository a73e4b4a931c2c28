"""One element that is NaN or infinite: what it costs, and how a guard keeps it out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from scripts.attack.lab import Lab, Random, require, same
from tests.interop.row import Row
from tests.interop.table import TABLE

_STEPS = 24
_SHAPES = {"w": (4, 3), "b": (3,)}
_SIZE = 15


def trial(lab: Lab, random: Random) -> str:
    """Spoils an element of one step's gradients, or of several steps in a row."""
    row = TABLE[random.integers(len(TABLE))]
    training = lab.once(row.name, lambda folder: make_training(row))
    bad = np.zeros(_STEPS, np.bool_)
    first, length = random.integers(1, _STEPS - 4), random.integers(1, 4)
    bad[first : first + length] = True
    element = int(random.integers(_SIZE))
    value = float(random.choice([np.nan, np.inf, -np.inf]))
    key = jax.random.key(int(random.integers(2**31)))
    spoiled = training(key, bad, element, value, False)
    left_out = training(key, bad, element, value, True)
    what = f"{row.name}: {value} in element {element}, {length} steps from {first} on,"
    require(
        same(spoiled["guarded"], left_out["guarded"]), f"{what} passes apply_if_finite"
    )
    finite = jax.tree.map(
        lambda leaf: bool(jnp.isfinite(leaf).all()), spoiled["guarded"]
    )
    require(all(jax.tree.leaves(finite)), f"{what} is kept by apply_if_finite")
    lost = sum(int((~jnp.isfinite(leaf)).sum()) for leaf in spoiled["alone"].values())
    name = f"{row.name}, {'NaN' if np.isnan(value) else 'inf'}"
    seen = lab.once(f"lost by {name}", lambda folder: set[int]())
    seen.add(lost)
    lab.facts[name] = f"{min(seen)} to {max(seen)} of {_SIZE} parameters without it"
    return row.name


def make_training(row: Row, guard: bool = True) -> Callable[..., dict[str, Any]]:
    """Compiled: steps with and without a guard, spoiled, or left out by hand.

    Args:
        row: the optimizer.
        guard: whether there is one, as there is but in the test of this attack.
    """
    alone = row.make()
    guarded = optax.apply_if_finite(alone, 5) if guard else alone

    def steps(key: Any, bad: Any, element: Any, value: Any, by_hand: Any) -> Any:
        def step(carry: Any, given: Any) -> tuple[Any, None]:
            key, spoil = given
            new = {}
            for name, optimizer in (("guarded", guarded), ("alone", alone)):
                params, state = carry[name]
                gradients = _gradients(key, params, spoil & ~by_hand, element, value)
                extra = row.extra_args(jnp.float32(1.0))
                updates, state = optimizer.update(gradients, state, params, **extra)
                new[name] = optax.apply_updates(params, updates), state
            # A step that is left out changes nothing but the guard's own counts.
            old, now = (_unguarded(held["guarded"]) for held in (carry, new))
            kept = jax.tree.map(lambda a, b: jnp.where(spoil & by_hand, a, b), old, now)
            new["guarded"] = _guarded(kept, new["guarded"][1])
            return new, None

        params = {name: jnp.ones(shape) for name, shape in _SHAPES.items()}
        carry = {
            "guarded": (params, guarded.init(params)),
            "alone": (params, alone.init(params)),
        }
        keys = jax.random.split(key, _STEPS)
        last, _ = jax.lax.scan(step, carry, (keys, bad))
        return {"guarded": _unguarded(last["guarded"]), "alone": last["alone"][0]}

    return jax.jit(steps)


def _unguarded(pair: Any) -> Any:
    """Parameters and the optimizer's own state."""
    params, state = pair
    guard = isinstance(state, optax.ApplyIfFiniteState)
    return params, state.inner_state if guard else state


def _guarded(pair: Any, state: Any) -> Any:
    """The same in the state of a guard, if there is one."""
    if isinstance(state, optax.ApplyIfFiniteState):
        return pair[0], state._replace(inner_state=pair[1])
    return pair


def _gradients(key: Any, params: Any, spoil: Any, element: Any, value: Any) -> Any:
    noise = optax.tree.random_like(key, params, jax.random.normal)
    gradients = jax.tree.map(lambda p, n: 0.5 * p + 0.1 * n, params, noise)
    flat, restore = ravel_pytree(gradients)
    return restore(jnp.where(spoil, flat.at[element].set(value), flat))
