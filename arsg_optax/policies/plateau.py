"""When has a noisy loss flattened? Two adjacent windows and the noise between them.

A minibatch loss may scatter by a hundred times what it falls in one step, so single
values say nothing. The mean of a window of w values scatters by sd / sqrt(w) only,
while a loss that falls by delta a step falls by w delta from one window to the next: at
sd = 100 delta and w = 320 that is 40 standard errors. The noise is measured from
differences of successive values, in which a trend cancels.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

# Bins in a window: the windows slide by an eighth of their length.
BINS = 8
# In standard deviations of a step from one value to the next.
_OUTLIER = 8
# Its square is finite.
_HUGE = 1e18


class LossWindows(NamedTuple):
    """The last two windows of a loss, in bins. Scalars and vectors of float32."""

    last: jax.Array  # () the newest value.
    values: jax.Array  # () int32, values in the bin that is being filled.
    bin_mean: jax.Array  # () their mean.
    bin_variance: jax.Array  # () mean of half their squared successive differences.
    bins: jax.Array  # () int32, bins completed since the start or the last restart.
    means: jax.Array  # (2 BINS,) of the last bins, the newest last.
    variances: jax.Array  # (2 BINS,) likewise.


def empty_windows() -> LossWindows:
    """Windows that have seen nothing."""
    last, mean, variance = (jnp.zeros([], jnp.float32) for _ in range(3))
    values, bins = (jnp.zeros([], jnp.int32) for _ in range(2))
    means, variances = (jnp.zeros([2 * BINS], jnp.float32) for _ in range(2))
    return LossWindows(last, values, mean, variance, bins, means, variances)


def push(windows: LossWindows, value: jax.Array, window: chex.Numeric) -> LossWindows:
    """Adds one () value; one that is not finite is ignored, an outlier cut off.

    A window holds `window` values, rounded down to a multiple of 8, but 8 at least.
    """
    value = value.astype(jnp.float32)
    finite = jnp.isfinite(value)
    value = _without_outliers(windows, value)
    first = (windows.values == 0) & (windows.bins == 0)
    step = jnp.clip(jnp.where(first, 0, value - windows.last), -_HUGE, _HUGE)
    count = windows.values + 1
    share = 1 / count.astype(jnp.float32)
    mean = windows.bin_mean + share * (value - windows.bin_mean)
    variance = windows.bin_variance + share * (step**2 / 2 - windows.bin_variance)
    full = count >= bin_length(window)
    grown = LossWindows(
        last=value,
        values=jnp.where(full, 0, count),
        bin_mean=jnp.where(full, 0, mean),
        bin_variance=jnp.where(full, 0, variance),
        bins=windows.bins + full.astype(jnp.int32),
        means=jnp.where(full, _shifted(windows.means, mean), windows.means),
        variances=jnp.where(
            full, _shifted(windows.variances, variance), windows.variances
        ),
    )
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), grown, windows)


def is_flat(
    windows: LossWindows,
    window: chex.Numeric,
    threshold: chex.Numeric,
    confidence: chex.Numeric,
    refractory: chex.Numeric,
) -> jax.Array:
    """Whether the loss has flattened, a () bool; only true when a bin was just filled.

    With the means a, b of the older and the newer window of w values and the variance
    s² of a value, flat means a - b < threshold |a| + confidence sqrt(2 s² / w).
    The `refractory` is how many windows are left out at the start and after a restart.
    """
    length = (BINS * bin_length(window)).astype(jnp.float32)
    older, newer = jnp.mean(windows.means[:BINS]), jnp.mean(windows.means[BINS:])
    error = jnp.sqrt(2 * jnp.mean(windows.variances) / length)
    threshold = jnp.asarray(threshold, jnp.float32)
    limit = threshold * jnp.abs(older) + jnp.asarray(confidence, jnp.float32) * error
    needed = BINS * (2 + jnp.asarray(refractory).astype(jnp.int32))
    seen = (windows.values == 0) & (windows.bins >= needed)
    return seen & (older - newer < limit)


def bin_length(window: chex.Numeric) -> jax.Array:
    """Values in one bin: () int32, at least 1."""
    return jnp.maximum(jnp.asarray(window).astype(jnp.int32) // BINS, 1)


def _without_outliers(windows: LossWindows, value: jax.Array) -> jax.Array:
    """Cuts off what is far from the value before, in units of the noise of late.

    One outlier would raise the standard error more than the mean, and so pass for a
    loss whose fall is lost in noise. One percent of the loss is always let through, or
    a loss without noise could not change.
    """
    filled = jnp.clip(windows.bins, 1, 2 * BINS).astype(jnp.float32)
    noise = jnp.sqrt(2 * jnp.sum(windows.variances) / filled)
    reach = _OUTLIER * noise + 0.01 * jnp.abs(windows.last)
    near = jnp.clip(value, windows.last - reach, windows.last + reach)
    return jnp.where(windows.bins >= BINS, near, value)


def _shifted(bins: jax.Array, newest: jax.Array) -> jax.Array:
    return jnp.concatenate([bins[1:], newest[None]])
