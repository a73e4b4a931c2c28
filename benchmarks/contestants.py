"""The optimizers that are measured: all of ours, and Optax's."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

import arsg_optax

_NARROW = {"mu_dtype": jnp.bfloat16, "nu_dtype": jnp.bfloat16}


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _two_axes(params: Any) -> Any:
    """What Optax's Muon orthogonalizes."""
    return jax.tree.map(lambda leaf: leaf.ndim == 2, params)


def _arsg_over(make: Callable[..., Any]) -> Callable[[], Any]:
    return lambda: arsg_optax.arsg(1e-3, preconditioner=make())


CONTESTANTS: Mapping[str, Callable[[], optax.GradientTransformation]] = {
    "rsg": lambda: arsg_optax.rsg(1e-3),
    "arsg": lambda: arsg_optax.arsg(1e-3),
    "arsg, bfloat16 state": lambda: arsg_optax.arsg(1e-3, **_NARROW),
    "arsg, Adam's rms": _arsg_over(arsg_optax.scale_by_adam_rms),
    "arsg, RAdam's rms": _arsg_over(arsg_optax.scale_by_rectified_rms),
    "arsg, SAdam's rms": _arsg_over(arsg_optax.scale_by_softplus_rms),
    "arsgb": lambda: arsg_optax.arsgb(1e-3, boost_at=1000),
    "namsg": lambda: arsg_optax.namsg(1e-3),
    "swnts": lambda: arsg_optax.swnts(1e-3, switch_at=1000),
    "adarem": lambda: arsg_optax.adarem(1e-3),
    "adarem_s": lambda: arsg_optax.adarem_s(1e-3, sphere_mask=_matrices),
    "arsgw": lambda: arsg_optax.arsgw(1e-3),
    "orsg": lambda: arsg_optax.orsg(1e-3, matrices=_two_axes),
    "optax.sgd": lambda: optax.sgd(1e-3, momentum=0.9),
    "optax.adam": lambda: optax.adam(1e-3),
    "optax.adamw": lambda: optax.adamw(1e-3),
    "optax.nadam": lambda: optax.nadam(1e-3),
    "optax.amsgrad": lambda: optax.amsgrad(1e-3),
    "schedule_free_adamw": lambda: optax.contrib.schedule_free_adamw(1e-3),
    "muon": lambda: optax.contrib.muon(1e-3),
}
