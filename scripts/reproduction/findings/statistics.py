"""Means, paired differences with intervals, and epochs to reach a loss."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from arsg_optax.demos.report.summary import first_crossing


class Estimate(NamedTuple):
    """A mean of several seeds.

    Attributes:
        mean: of the values.
        deviation: their standard deviation, NaN for one value.
        low: lower end of the 95 % interval of the mean (Student's t), NaN for one
            value or an infinite mean.
        high: its upper end.
        count: how many values.
    """

    mean: float
    deviation: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if self.count < 2:
            return f"{self.mean:.4g}"
        return f"{self.mean:.4g} ± {self.deviation:.2g}"

    def with_interval(self, digits: int) -> str:
        """The mean with its interval, if it has one, to digits behind the point."""
        mean, low, high = (f"{x:.{digits}f}" for x in (self.mean, self.low, self.high))
        return mean if math.isnan(self.low) else f"{mean} ({low} to {high})"

    def told(self) -> str:
        """A difference with its interval, if it has one."""
        if math.isnan(self.low):
            return f"{self.mean:+.2g}"
        return f"{self.mean:+.2g} ({self.low:+.2g} to {self.high:+.2g})"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, deviation and interval.

    Raises:
        ValueError: if there is no value.
    """
    if not values:
        raise ValueError("values must hold at least one number, got none")
    array = np.asarray(values, np.float64)
    mean, count = float(array.mean()), len(array)
    if count < 2 or not math.isfinite(mean):
        return Estimate(mean, math.nan, math.nan, math.nan, count)
    deviation = float(array.std(ddof=1))
    half = float(stats.t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return Estimate(mean, deviation, mean - half, mean + half, count)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """The difference, seed by seed.

    Raises:
        ValueError: if the numbers of seeds differ.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"pairs need equal counts, got {len(ours)} and {len(theirs)}")
    return estimate([a - b for a, b in zip(ours, theirs, strict=True)])


def epochs_to(losses: Sequence[float], target: float) -> float | None:
    """Epochs until a loss is reached, linearly between the ends of epochs.

    Args:
        losses: after each epoch, from the first on.
        target: to be reached.

    Returns:
        1.0 if the first epoch does, within which nothing is known; None if none does.
    """
    epochs = [float(epoch) for epoch in range(1, len(losses) + 1)]
    return first_crossing(epochs, losses, target)
