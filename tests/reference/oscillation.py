"""AdaRem, section 3.2.2: the path length per displacement."""

import numpy as np

FLOAT32_RESOLUTION = 2.0**-23


def oscillation(positions, window=None):
    """Yields l, d, q and Q after each step from positions of shape (steps + 1, n).

    A window starts where the last full one ended. Q is the mean over the parameters
    that moved. Where the paper divides by 0, d is bounded from below.
    """
    start, length = positions[0], np.zeros_like(positions[0])
    for t in range(1, len(positions)):
        if window is not None and t > 1 and (t - 1) % window == 0:
            start, length = positions[t - 1], np.zeros_like(length)
        length = length + np.abs(positions[t] - positions[t - 1])
        d = np.abs(positions[t] - start)
        q = np.zeros_like(length)
        for i in np.flatnonzero(length > 0):
            q[i] = length[i] / max(d[i], FLOAT32_RESOLUTION * length[i])
        n = np.count_nonzero(length > 0)
        yield length, d, q, np.sum(q) / n if n else 0.0
