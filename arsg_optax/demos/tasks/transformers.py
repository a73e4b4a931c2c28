"""What people train today: transformers on bytes, a vision transformer on CIFAR-10.

The protocol is the usual one: warm-up, cosine to zero, clipping by global norm, and
decoupled decay of matrices.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from arsg_optax.demos.augmentation import augment_padded
from arsg_optax.demos.byte_text import (
    VOCABULARY,
    load_python_bytes,
    load_wikitext2_bytes,
)
from arsg_optax.demos.data import load_cifar10
from arsg_optax.demos.models import Transformer, ViT
from arsg_optax.demos.tasks.kinds import Bytes, Images
from arsg_optax.demos.tasks.settings import Cosine, Settings, WarmUp
from arsg_optax.demos.tasks.task import Task
from arsg_optax.demos.training.optimizers import hidden_matrices
from arsg_optax.transforms.orthogonalization import is_axes

_DECAY = 0.1


def matrices(params: Any) -> Any:
    """The mask of the decay: what `orsg` orthogonalizes, no embedding and no head."""
    return jax.tree.map(
        lambda axes: axes is not None, hidden_matrices(params), is_leaf=is_axes
    )


def usual_settings(adaptive: float, muon: float) -> Mapping[str, Settings]:
    """Step sizes that are usual for the size of a network; searched for one alone."""
    decayed = {"weight_decay": _DECAY}
    return {
        "orsg": Settings(muon, decayed),
        "arsgw": Settings(adaptive, decayed),
        "arsg": Settings(adaptive, {"b1": 0.9, **decayed}),
        "adamw": Settings(adaptive, {"b2": 0.99, **decayed}),
        "muon": Settings(muon, {"adam_b2": 0.99, **decayed}),
        "inner_muon": Settings(muon, decayed),
        "schedule_free_adamw": Settings(
            2 * adaptive, {"b2": 0.99, **decayed}, "constant"
        ),
    }


def _language(
    width: int, depth: int, heads: int, *, batch_size: int, epochs: int, **kind: int
) -> Mapping[str, Any]:
    return {
        "make_model": partial(Transformer, VOCABULARY, width, depth, heads),
        "kind": Bytes(**kind),
        "batch_size": batch_size,
        "epochs": epochs,
    }


# 0.12, 0.9, 26 and 85 million parameters; with GPT-2's vocabulary of words the last has
# its 124. The first takes 600 steps, which are about ten seconds on two cores.
_LANGUAGE: Mapping[str, Mapping[str, Any]] = {
    "tiny": _language(
        *(64, 2, 4), batch_size=8, epochs=8, length=64, steps=75, evaluated=2**14
    ),
    "small": _language(
        *(128, 4, 4), batch_size=32, epochs=10, length=128, steps=300, evaluated=2**18
    ),
    "medium": _language(
        *(512, 8, 8), batch_size=64, epochs=12, length=256, steps=305, evaluated=2**19
    ),
    "gpt2-small": _language(
        *(768, 12, 12),
        batch_size=64,
        epochs=10,
        length=1024,
        steps=100,
        evaluated=2**19,
    ),
}
# What is trained without a preset, as the records in results/ are: 1,500 steps of twice
# as many bytes.
_LONGER = _language(
    *(64, 2, 4), batch_size=16, epochs=5, length=64, steps=300, evaluated=2**16
)
_VISION: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"make_model": partial(ViT, 32, 8, 64, 2, 4), "epochs": 10},
    "small": {"make_model": partial(ViT, 32, 4, 192, 6, 3), "epochs": 100},
}

# What else a preset of this protocol changes, in this and other tasks.
PROTOCOL: Mapping[str, Any] = {
    "schedule": WarmUp(0.05, Cosine()),
    "clip": 1.0,
    "decayed": matrices,
}

_COMPARED = "orsg", "arsgw", "adamw", "inner_muon", "schedule_free_adamw"

PYTHON_TRANSFORMER = Task(
    "python-transformer",
    "the source of Python's standard library as bytes, decoder-only transformer",
    load_python_bytes,
    **_LONGER,
    presets={
        "tiny": usual_settings(5e-3, 2e-2),
        "small": usual_settings(2e-3, 2e-2),
        "medium": usual_settings(1e-3, 2e-2),
        "gpt2-small": usual_settings(6e-4, 2e-2),
    },
    variants=_LANGUAGE,
    **PROTOCOL,
    bits=True,
    searched=_COMPARED,
    compared=_COMPARED,
)
WIKITEXT2_TRANSFORMER = replace(
    PYTHON_TRANSFORMER,
    name="wikitext2-transformer",
    summary="WikiText-2 as bytes, decoder-only transformer",
    load=load_wikitext2_bytes,
    searched=(),
)
CIFAR10_VIT = Task(
    "cifar10-vit",
    "CIFAR-10, vision transformer, random crops of padded images and flips",
    load_cifar10,
    kind=Images(augment_padded, evaluated=10_000),
    batch_size=256,
    **_VISION["tiny"],
    presets={"tiny": usual_settings(2e-3, 2e-2), "small": usual_settings(1e-3, 2e-2)},
    variants=_VISION,
    **PROTOCOL,
)
