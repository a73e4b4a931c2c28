"""Candidates for a step size, and the held-out part of a training set that chooses."""

import numpy as np

from arsg_optax.demos.byte_text import ByteSet
from arsg_optax.demos.data import Dataset, hold_out

CANDIDATES = 9
HELD_OUT_FRACTION = 0.2
HELD_OUT_SEED = 0

# Families by how a step scales: `adaptive` moves every parameter by about the step
# size; `long_momentum` too, but its momentum needs a thousand steps to fill;
# `orthogonal` normalises matrices; `momentum_sum` and the others scale the gradient.
_FAMILY_STARTS = {
    "adaptive": 2e-4,
    "long_momentum": 1e-3,
    "orthogonal": 1e-3,
    "momentum_sum": 2e-3,
    "plain": 1e-2,
    "momentum_mean": 5e-2,
}
_FAMILIES = {
    "orsg": "orthogonal",
    "arsgw": "adaptive",
    "arsg": "long_momentum",
    "arsgb": "long_momentum",
    "rsg": "momentum_mean",
    "namsg": "adaptive",
    "swnts": "adaptive",
    "adarem": "plain",
    "adarem_s": "plain",
    "sgd": "momentum_sum",
    "adam": "adaptive",
    "adamw": "adaptive",
    "nadam": "adaptive",
    "amsgrad": "adaptive",
    "ranger": "adaptive",
    "schedule_free_adamw": "adaptive",
    "muon": "orthogonal",
    "inner_muon": "orthogonal",
}


def grid(start: float, count: int) -> list[float]:
    """`count` step sizes 1, 2, 5 times powers of ten, from `start` upwards.

    A negative count goes downwards and leaves `start` out, so that the grid grows at
    either end.
    """
    exponent = int(np.floor(np.log10(start) + 1e-9))
    mantissa = round(start / 10**exponent)
    index = 3 * exponent + (1, 2, 5).index(mantissa)
    indices = range(index, index + count) if count > 0 else range(index + count, index)
    return [float(f"{(1, 2, 5)[i % 3]}e{i // 3}") for i in indices]


def candidates(optimizer: str, like: str | None = None) -> list[float]:
    """The step sizes that a search starts with, of the optimizer or one like it."""
    return grid(_FAMILY_STARTS[_FAMILIES[like or optimizer]], CANDIDATES)


def split(dataset: Dataset | ByteSet) -> Dataset | ByteSet:
    """The search's split of the training set, the held-out part as test set."""
    if isinstance(dataset, ByteSet):
        return dataset.hold_out(HELD_OUT_FRACTION)
    return hold_out(dataset, HELD_OUT_FRACTION, HELD_OUT_SEED)
