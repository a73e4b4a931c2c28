"""Crossings that no paper has: remote observation with other ideas' links.

Each is a call or two that anyone can write; beside them stand their parents.
The network's hidden matrices feed layer normalizations, so that they may live on a
sphere, and every optimizer gets the same search for its step size.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import optax
import optax.contrib

import arsg_optax
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.models import NormalizedMLP
from arsg_optax.demos.tasks import TASKS, Settings, Task
from arsg_optax.demos.tasks.kinds import first_images
from arsg_optax.demos.training.optimizers import HELD, ITERATE, OPTIMIZERS, Optimizer


def hidden_matrices(params: optax.Params) -> Any:
    """Mask of what is followed by layer normalization in :class:`NormalizedMLP`.

    :func:`arsg_optax.tuning.scale_invariant_leaves` finds the same.
    """

    def is_hidden(path: tuple[Any, ...], _: Any) -> bool:
        return jax.tree_util.keystr(path).startswith("['hidden']")

    return jax.tree_util.tree_map_with_path(is_hidden, params)


def arsg_with_resilience(
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """ARSG whose steps grow where gradient and momentum agree."""
    links = arsg_optax.scale_by_nonincreasing_rms(), arsg_optax.scale_by_resilience()
    return arsg_optax.remote_chain(*links, learning_rate=learning_rate)


def rsg_with_resilience(
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """RSG likewise, without a preconditioner."""
    link = arsg_optax.scale_by_resilience()
    return arsg_optax.remote_chain(link, learning_rate=learning_rate)


def arsg_on_sphere(
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """ARSG with the hidden matrices on spheres."""
    direction = arsg_optax.arsg(learning_rate)
    sphere = arsg_optax.constrain_to_sphere(mask=hidden_matrices)
    return optax.chain(direction, sphere)


def adarem_s(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """AdaRem-S, the paper's own."""
    return arsg_optax.adarem_s(learning_rate, sphere_mask=hidden_matrices)


def remote_muon(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Muon, its gradients taken as far ahead as RSG's at b1 = 0.95 and 0.1."""
    return arsg_optax.observe_remotely(optax.contrib.muon(learning_rate), 1.9)


def remote_schedule_free(
    learning_rate: jax.typing.ArrayLike,
) -> optax.GradientTransformation:
    """Schedule-free AdamW, its gradients taken one update ahead."""
    inner = optax.contrib.schedule_free_adamw(learning_rate)
    return arsg_optax.observe_remotely(inner, 1.0)


# Name -> the optimizer in whose range of step sizes the search starts.
LIKE: Mapping[str, str] = {
    "arsg with resilience": "arsg",
    "rsg with resilience": "rsg",
    "arsg on the sphere": "arsg",
    "adarem_s": "adarem",
    "remote muon": "muon",
    "remote schedule-free": "schedule_free_adamw",
}
_MAKERS = (
    arsg_with_resilience,
    rsg_with_resilience,
    arsg_on_sphere,
    adarem_s,
    remote_muon,
    remote_schedule_free,
)
_PARENTS = ("arsg", "rsg", "adarem", "muon", "schedule_free_adamw", "adamw")
CROSSINGS: Mapping[str, Optimizer] = {
    **{name: OPTIMIZERS[name] for name in _PARENTS},
    **{
        name: Optimizer(name, make, HELD if name == "adarem_s" else ITERATE)
        for name, make in zip(LIKE, _MAKERS, strict=True)
    },
}


MNIST_IMAGES = 10_000


def first_mnist_images(data_dir: Path | None) -> Dataset:
    """The first 10,000 training images of MNIST, and its whole test set."""
    return first_images(TASKS["mnist-logreg"].load(data_dir), MNIST_IMAGES)


def _task(name: str, parent: str, image_shape: tuple[int, int], **changes: Any) -> Task:
    return replace(
        TASKS[parent],
        name=name,
        summary="MLP with layer normalization",
        make_model=partial(NormalizedMLP, image_shape),
        presets={"fast": {name: Settings(0.0) for name in CROSSINGS}},
        searched=tuple(CROSSINGS),
        **changes,
    )


CROSSING_TASKS: Mapping[str, Task] = {
    "digits": _task("digits", "digits-mlp", (8, 8)),
    "mnist": _task(
        "mnist",
        "mnist-logreg",
        (28, 28),
        load=first_mnist_images,
        batch_size=64,
        epochs=5,
    ),
}
