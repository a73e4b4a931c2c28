"""Spaces of hyper-parameters: grids, and samples that fill a range evenly."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arsg_optax._validation import is_number


@dataclass(frozen=True)
class Uniform:
    """Numbers between `low` and `high`, all alike."""

    low: float
    high: float

    def at(self, share: np.ndarray) -> np.ndarray:
        """The numbers below which such shares of the range lie."""
        return self.low + (self.high - self.low) * share

    def check(self, name: str) -> None:
        """Raises ValueError unless low < high, both finite."""
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(
                f"{name} must have finite low < high, got {self}; swap the ends."
            )


@dataclass(frozen=True)
class LogUniform:
    """Positive numbers between `low` and `high` whose logarithms are all alike."""

    low: float
    high: float

    def at(self, share: np.ndarray) -> np.ndarray:
        """The numbers below which such shares of the range lie."""
        low, high = math.log(self.low), math.log(self.high)
        return np.exp(low + (high - low) * share)

    def check(self, name: str) -> None:
        """Raises ValueError unless 0 < low < high, both finite."""
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(
                f"{name} must have finite 0 < low < high, got {self}; use Uniform "
                "for a range with 0 in it."
            )


Space = Mapping[str, Sequence[float] | Uniform | LogUniform]


def configurations(space: Space, samples: int, seed: int) -> dict[str, np.ndarray]:
    """The candidates of a space.

    All combinations of the grids; each is repeated `samples` times with other draws
    from the ranges. The draws of all candidates together are a Latin hypercube: each
    range is cut into as many equal parts as there are candidates, and each part is
    drawn from once.

    Args:
      space: by name, a sequence of numbers (a grid) or a range.
      samples: draws from the ranges for each combination.
      seed: seed of the draws.

    Returns:
      float64 [candidates] by name.

    Raises:
      ValueError: if the space is empty, or a value in it is no finite number.
    """
    if not space:
        raise ValueError(
            "space must name hyper-parameters, got none; for example "
            "{'learning_rate': LogUniform(1e-3, 1)}."
        )
    ranges = {k: v for k, v in space.items() if isinstance(v, (Uniform, LogUniform))}
    grids = {k: _grid(k, v) for k, v in space.items() if k not in ranges}
    points = np.array(list(itertools.product(*grids.values())), np.float64)
    points = np.repeat(points, samples if ranges else 1, axis=0)
    found = dict(zip(grids, points.T, strict=True))
    random = np.random.default_rng(seed)
    count = len(points)
    for name, each in ranges.items():
        each.check(f"space[{name!r}]")
        found[name] = each.at(
            (random.permutation(count) + random.random(count)) / count
        )
    return {name: found[name] for name in space}


def _grid(name: str, values: Any) -> list[float]:
    listed = list(values) if isinstance(values, (Sequence, np.ndarray)) else []
    numbers = [v for v in listed if is_number(v) and math.isfinite(v)]
    if not listed or len(numbers) < len(listed) or isinstance(values, str):
        raise ValueError(
            f"space[{name!r}] must be numbers, Uniform or LogUniform, got {values!r}; "
            "fix anything else in make_optimizer, with a search for each choice."
        )
    return [float(value) for value in numbers]
