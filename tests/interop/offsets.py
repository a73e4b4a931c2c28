"""The iterate minus the held parameters, in NumPy float64, for rows of the table."""

from collections.abc import Callable

import numpy as np

from tests.reference.boost import fastest

# Takes the gradients of one leaf that an optimizer got, and its learning rate; returns
# the iterate minus the parameters.
Offset = Callable[[list[np.ndarray], float], np.ndarray]
# Takes the number of updates and the second moment after them.
Divisor = Callable[[int, np.ndarray], np.ndarray]


def remote(
    b1: float,
    observation: float,
    b2: float = 0.0,
    eps: float | None = None,
    clip: float = np.inf,
) -> Offset:
    """eta alpha m / sqrt(v̂) in float64; without an eps nothing is divided."""

    def offset(gradients, learning_rate):
        m, v, largest = 0.0, 0.0, 1.0 if eps is None else eps
        for gradient in gradients:
            g = np.clip(np.asarray(gradient, np.float64), -clip, clip)
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g**2
            largest = largest if eps is None else np.maximum(largest, v)
        distance = observation * b1 / (1 - b1)
        return distance * learning_rate * m / np.sqrt(largest)

    return offset


def remote_over(b1: float, observation: float, b2: float, divisor: Divisor) -> Offset:
    """eta alpha m / divisor(t, v) in float64."""

    def offset(gradients, learning_rate):
        m, v = 0.0, 0.0
        for gradient in gradients:
            g = np.asarray(gradient, np.float64)
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g**2
        distance = observation * b1 / (1 - b1)
        return distance * learning_rate * m / divisor(len(gradients), v)

    return offset


def adam(b2: float, eps: float) -> Divisor:
    return lambda t, v: np.sqrt(v / (1 - b2**t)) + eps


def rectified(b2: float, eps: float, threshold: float) -> Divisor:
    def divisor(t, v):
        longest = 2 / (1 - b2) - 1
        rho = longest - 2 * t * b2**t / (1 - b2**t)
        if rho < threshold:
            return np.ones_like(v)
        seen, all_seen = ((x - 4) * (x - 2) / x for x in (rho, longest))
        return adam(b2, eps)(t, v) / np.sqrt(seen / all_seen)

    return divisor


def softplus(sharpness: float) -> Divisor:
    return lambda t, v: np.logaddexp(0, sharpness * np.sqrt(v)) / sharpness


def held(gradients: list[np.ndarray], learning_rate: float) -> np.ndarray:
    """No observation point: the iterate is what the loop holds."""
    del learning_rate
    return np.zeros_like(gradients[0])


def rescaled_matrix(point: np.ndarray, held: np.ndarray) -> np.ndarray:
    """A matrix with the norm that is held; other arrays as they are."""
    if point.ndim < 2:
        return point
    return point * (np.linalg.norm(held) / np.linalg.norm(point))


def boosted(
    b1: float, observation: float, b2: float, eps: float, boost_at: int
) -> Offset:
    """`remote` before and after the boost."""
    before = remote(b1, observation, b2, eps)
    after = remote(b1, 2 * observation, b2, eps)
    ratio = fastest(b1, 2 * observation) / fastest(b1, observation)

    def offset(gradients, learning_rate):
        if len(gradients) <= boost_at:
            return before(gradients, learning_rate)
        return after(gradients, ratio * learning_rate)

    return offset


def beside_matrices(offset: Offset) -> Offset:
    """An offset of all but matrices, whose direction has none in the concise form."""

    def chosen(gradients, learning_rate):
        if np.ndim(gradients[0]) == 2:
            return held(gradients, learning_rate)
        return offset(gradients, learning_rate)

    return chosen


def averaged(b1: float, observation: float) -> Offset:
    """Of SGD averaged remotely: observation (x - z)."""

    def offset(gradients, learning_rate):
        x = z = np.zeros(np.shape(gradients[0]))
        for gradient in gradients:
            z = z - learning_rate * np.asarray(gradient, np.float64)
            x = b1 * x + (1 - b1) * z
        return observation * (x - z)

    return offset
