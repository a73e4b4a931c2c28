"""RSG's linear system from the update itself, by NumPy and exact fractions."""

from fractions import Fraction
from typing import Any

import numpy as np


def step(v, s, tau, b1, mu, error: Any = 0):
    """ARSG eq. 9 with v = α times momentum; works on any number type."""
    gradient = tau * (s + error)
    momentum = b1 * v + (1 - b1) * gradient
    return momentum, s - (1 - mu) * momentum - mu * gradient


def matrix(tau, b1, mu):
    """Columns are the update of unit vectors; shape (..., 2, 2)."""
    tau, b1, mu = np.broadcast_arrays(tau, b1, mu)
    columns = [step(v, s, tau, b1, mu) for v, s in [(1.0, 0.0), (0.0, 1.0)]]
    return np.stack([np.stack(column, axis=-1) for column in columns], axis=-1)


def noise_vector(b1, mu):
    """b of eq. 10: the effect of an error 1 / tau."""
    return np.array(step(0.0, 0.0, 1.0, b1, mu, error=1.0))


def responses(curvature, alpha, beta, mu, eta, exact, steps):
    """Points y and x after each step, from a start of 1 and from an error at each step.

    ARSG eq. 3 or eq. 2, line by line, on the loss curvature y² / 2. Shape of each:
    (steps + 1, runs, curvatures), where run 0 has a start and no error.
    """
    y = np.zeros((steps + 1, len(curvature)))
    y[0] = 1
    x, m = y, np.zeros_like(y)
    points = [(y, x)]
    for t in range(steps):
        error = np.zeros_like(y)
        error[t + 1] = curvature
        g = curvature * y + error
        m = beta(t) * m + (1 - beta(t)) * g
        if exact:
            x = x - alpha(t) * m
            y = x - eta(t) * alpha(t) * m
        else:
            y = y - alpha(t) * ((1 - mu(t)) * m + mu(t) * g)
            x = y + mu(t) * beta(t) / (1 - beta(t)) * alpha(t) * m
        points.append((y, x))
    return (np.stack(each) for each in zip(*points, strict=True))


def radius(tau, b1, mu):
    """Spectral radius by NumPy's general eigenvalue solver."""
    return np.abs(np.linalg.eigvals(matrix(tau, b1, mu))).max(axis=-1)


def worst_radius(lambda_min, lambda_max, rate, b1, mu):
    """The largest spectral radius over the whole range of curvatures."""
    curvatures = np.concatenate(
        [
            np.geomspace(lambda_min, lambda_max, 4001),
            np.linspace(lambda_min, lambda_max, 4001),
        ]
    )
    return radius(rate * curvatures, b1, mu).max()


def exact_variance(tau, b1, mu):
    """tau² S22 with S = A S A' + b b', solved in exact fractions."""
    tau, b1, mu = (Fraction(float(value)) for value in (tau, b1, mu))
    (a, c), (b, d) = step(1, 0, tau, b1, mu), step(0, 1, tau, b1, mu)
    v, s = step(0, 0, Fraction(1), b1, mu, error=1)
    # Unknowns S11, S12, S22.
    system = [
        [1 - a * a, -2 * a * b, -b * b, v * v],
        [-a * c, 1 - a * d - b * c, -b * d, v * s],
        [-c * c, -2 * c * d, 1 - d * d, s * s],
    ]
    for column in range(3):
        pivot = next(row for row in range(column, 3) if system[row][column] != 0)
        system[column], system[pivot] = system[pivot], system[column]
        head = [value / system[column][column] for value in system[column]]
        system[column] = head
        for row in range(3):
            if row != column:
                factor = system[row][column]
                system[row] = [
                    x - factor * y for x, y in zip(system[row], head, strict=True)
                ]
    return float(tau * tau * system[2][3])


def printed_variance(tau, b1, mu):
    """ARSG eq. 15 as printed, with numerical eigenvectors."""
    r, w = np.linalg.eig(matrix(tau, b1, mu).astype(complex))
    c = np.linalg.solve(w, noise_vector(b1, mu).astype(complex))
    total = sum(
        abs(c[i]) ** 2 * abs(w[1, i]) ** 2 / (1 - abs(r[i]) ** 2) for i in range(2)
    )
    cross = c[0].conj() * c[1] * w[1, 0].conj() * w[1, 1] / (1 - r[0].conj() * r[1])
    return (total + 2 * cross.real) * tau**2
