"""The optimizers whose states are kept, with all that decides their numbers.

Every argument is given: a default may change, a kept state goes on as it began.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import arsg_optax

STEPS = 4  # Before a state is saved, and as many after it.

_REMOTE: dict[str, Any] = {"b1": 0.9, "observation": 0.3}
_SECOND: dict[str, Any] = {"b2": 0.99, "eps": 1e-8}
_RESILIENT: dict[str, Any] = {"b1": 0.9, "resilience": 0.99, "eps": 1e-8}
_HALF: dict[str, Any] = {"mu_dtype": jnp.bfloat16, "nu_dtype": jnp.bfloat16}


def _remote(*links: optax.GradientTransformation, **changes: Any):
    return arsg_optax.remote_chain(*links, learning_rate=0.05, **_REMOTE, **changes)


def _is_matrix(params: optax.Params) -> Any:
    return jax.tree.map(lambda param: param.ndim > 1, params)


def _two_point():
    inner = arsg_optax.arsg(0.05, b1=0.9, observation=0.0, **_SECOND)
    return arsg_optax.observe_remotely(inner, 2.0)


def _averaged():
    return arsg_optax.average_remotely(optax.sgd(0.1), 0.9, 0.3)


def _mean_value():
    boosted = arsg_optax.observation_boost(
        _remote(), boost_at=None, max_boosts=1, window=8, threshold=0.1
    )
    return arsg_optax.average_value(boosted)


def _projected():
    return arsg_optax.project(_remote(), arsg_optax.Box(-0.5, 0.5))


def _on_sphere():
    return optax.chain(_remote(), arsg_optax.constrain_to_sphere(scope="leaf"))


def _links():
    return arsg_optax.chain_on_gradient(
        arsg_optax.remote_observation(**_REMOTE),
        arsg_optax.track_oscillation(),
        arsg_optax.scale_by_learning_rate(0.05),
    )


OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "rsg": lambda: arsg_optax.rsg(0.1, **_REMOTE, debias=True),
    "rsg-exact": lambda: arsg_optax.rsg(0.1, **_REMOTE, exact=True),
    "arsg": lambda: arsg_optax.arsg(0.05, **_REMOTE, **_SECOND, weight_decay=0.1),
    "arsg-bfloat16": lambda: arsg_optax.arsg(0.05, **_REMOTE, **_SECOND, **_HALF),
    "arsgb": lambda: arsg_optax.arsgb(0.05, **_REMOTE, **_SECOND, boost_at=6),
    "arsgw": lambda: arsg_optax.arsgw(0.05, **_REMOTE, **_SECOND, weight_decay=0.1),
    "namsg": lambda: arsg_optax.namsg(0.05, 0.9, 0.99, 1e-8, 2.0),
    "swnts": lambda: arsg_optax.swnts(0.05, 0.9, 0.99, 1e-8, 2.0, switch_at=6),
    "orsg": lambda: arsg_optax.orsg(0.02, **_REMOTE, **_SECOND),
    "adarem": lambda: arsg_optax.adarem(0.1, **_RESILIENT, weight_decay=0.1),
    "adarem-leaf": lambda: arsg_optax.adarem(0.1, **_RESILIENT, scope="leaf"),
    "adarem_s": lambda: arsg_optax.adarem_s(0.1, **_RESILIENT, sphere_mask=_is_matrix),
    "adam-rms": lambda: _remote(arsg_optax.scale_by_adam_rms(0.99, 1e-8)),
    "rectified-rms": lambda: _remote(
        arsg_optax.scale_by_rectified_rms(0.99, 1e-8, threshold=4.0)
    ),
    "softplus-rms": lambda: _remote(
        arsg_optax.scale_by_softplus_rms(0.99, 1e-8, sharpness=50.0)
    ),
    "elementwise": lambda: _remote(arsg_optax.declare_elementwise(optax.clip(0.5))),
    "links": _links,
    "two-point": _two_point,
    "averaged": _averaged,
    "mean-value": _mean_value,
    "projected": _projected,
    "on-sphere": _on_sphere,
}


def start(name: str) -> tuple[Any, Any]:
    """Parameters and state before the first step."""
    params = _tree(0)
    return params, OPTIMIZERS[name]().init(params)


def advance(name: str, params: Any, state: Any, first: int) -> tuple[Any, Any]:
    """Parameters and state `STEPS` steps later.

    Args:
        name: of the optimizer.
        params: before.
        state: before.
        first: number of the next step, from 0.
    """
    update = jax.jit(optax.with_extra_args_support(OPTIMIZERS[name]()).update)
    for step in range(first, first + STEPS):
        value = jnp.float32(1 / (1 + step))
        updates, state = update(_tree(1 + step), state, params, value=value)
        params = optax.apply_updates(params, updates)
    return params, state


def _tree(number: int) -> dict[str, jax.Array]:
    """Numbers of both signs, the same with every version of every library."""
    places = {"b": [1, 2, 3], "w": [[4, 5, 6], [7, 8, 9]]}

    def value(place: int) -> float:
        return (place * (7 + 4 * number) % 19 - 9) / 8

    return {
        name: jnp.asarray(jax.tree.map(value, at), jnp.float32)
        for name, at in places.items()
    }
