"""Momentum methods of recent years, as their papers and releases print them.

Each is a generator: it yields the point where it wants a gradient and the point where
the method evaluates, the same point twice where it has no other, and is sent the
gradient. t counts updates from 0. Arguments that may move with time are functions of t.
"""

from collections.abc import Callable, Generator

import numpy as np

Pairs = Generator[tuple[np.ndarray, np.ndarray], np.ndarray, None]
Hyper = Callable[[int], float]


def heavy_ball(theta: np.ndarray, eta: float, momentum: float) -> Pairs:
    """Polyak 1964; its iterate is the point where gradients are taken."""
    buffer = np.zeros_like(theta)
    while True:
        g = yield theta, theta
        buffer = momentum * buffer + g
        theta = theta - eta * buffer


def nesterov(theta: np.ndarray, eta: float, momentum: float) -> Pairs:
    """Sutskever et al. 2013, eq. 3 and 4: gradients ahead of theta."""
    v = np.zeros_like(theta)
    while True:
        g = yield theta + momentum * v, theta
        v = momentum * v - eta * g
        theta = theta + v


def gpa(x: np.ndarray, gamma: Hyper, mu_x: float, mu_y: float) -> Pairs:
    """Defazio et al. 2025, arXiv 2512.17131, around SGD."""
    z, t = x, 0
    while True:
        y = mu_y * x + (1 - mu_y) * z
        g = yield y, x
        z = z - gamma(t) * g
        x = mu_x * x + (1 - mu_x) * z
        t += 1


def schedule_free(
    x: np.ndarray, gamma: Hyper, beta: float, r: float, lr_power: float
) -> Pairs:
    """Defazio et al. 2024, arXiv 2405.15682, SGD, with the release's weights."""
    z, t, weight_sum, lr_max = x, 0, 0.0, 0.0
    while True:
        y = (1 - beta) * z + beta * x
        g = yield y, x
        lr_max = max(lr_max, gamma(t))
        weight = (t + 1) ** r * lr_max**lr_power
        weight_sum += weight
        c = weight / weight_sum
        z = z - gamma(t) * g
        x = (1 - c) * x + c * z
        t += 1


def adam_rms(g: np.ndarray, v: np.ndarray, beta2: float, t: int, eps: float):
    """Kingma & Ba 2015: the second moment and the denominator."""
    v = beta2 * v + (1 - beta2) * g * g
    return v, np.sqrt(v / (1 - beta2 ** (t + 1))) + eps


def simplified_ademamix(
    theta: np.ndarray, eta: Hyper, b1: float, b2: float, alpha: Hyper, eps: float
) -> Pairs:
    """Morwani et al. 2025, arXiv 2502.02431."""
    m = v = np.zeros_like(theta)
    t = 0
    while True:
        g = yield theta, theta
        m = b1 * m + g
        v, denominator = adam_rms(g, v, b2, t, eps)
        theta = theta - eta(t) * (m + alpha(t) * g) / denominator
        t += 1


def ademamix_without_fast(
    theta: np.ndarray, eta: Hyper, b2: float, b3: Hyper, alpha: Hyper, eps: float
) -> Pairs:
    """Pagliardini et al. 2024, arXiv 2409.03137, with beta1 = 0: m1 is g."""
    m2 = v = np.zeros_like(theta)
    t = 0
    while True:
        g = yield theta, theta
        m2 = b3(t) * m2 + (1 - b3(t)) * g
        v, denominator = adam_rms(g, v, b2, t, eps)
        theta = theta - eta(t) * (g + alpha(t) * m2) / denominator
        t += 1


def adana(
    theta: np.ndarray,
    gamma: Hyper,
    peak: float,
    delta: float,
    kappa: float,
    omega: float,
    eps: float,
) -> Pairs:
    """Ferbach et al. 2026, arXiv 2602.05298; steps count from 1 there.

    gamma is the schedule, peak the learning rate that multiplies the step only.
    """
    m = v = np.zeros_like(theta)
    t = 0
    while True:
        g = yield theta, theta
        step = t + 1
        beta = 1 - delta / (delta + step)
        m = beta * m + (1 - beta) * g
        v = beta * v + (1 - beta) * g * g
        alpha = (1 + step) ** (1 - kappa)
        update = peak * (g + alpha * m) / (np.sqrt(v) + eps)
        theta = theta - gamma(t) * (update + omega / step * theta)
        t += 1


def dana(theta: np.ndarray, gamma2: Hyper, gamma3: Hyper, delta: float) -> Pairs:
    """Ferbach et al. 2025, arXiv 2505.16098, with the release's damping."""
    s, t = np.zeros_like(theta), 0
    while True:
        g = yield theta, theta
        s = (1 - 1 / (1 + t / delta)) * s + g
        theta = theta - (gamma2(t) * g + gamma3(t) * s)
        t += 1


def mars_approx(
    theta: np.ndarray, eta: Hyper, beta: float, gamma: float, from_zero: bool = True
) -> Pairs:
    """Yuan et al. 2024, arXiv 2411.10438, Algorithm 2 without clipping and rms.

    from_zero: the release starts from a last gradient of 0; otherwise the first c is g.
    """
    m, last = np.zeros_like(theta), np.zeros_like(theta) if from_zero else None
    t = 0
    while True:
        g = yield theta, theta
        last = g if last is None else last
        c = g + gamma * beta / (1 - beta) * (g - last)
        m, last = beta * m + (1 - beta) * c, g
        theta = theta - eta(t) * m
        t += 1


def lion(theta: np.ndarray, eta: float, beta1: float, beta2: float) -> Pairs:
    """Chen et al. 2023, arXiv 2302.06675, Algorithm 2 without decay."""
    m = np.zeros_like(theta)
    while True:
        g = yield theta, theta
        c = beta1 * m + (1 - beta1) * g
        theta = theta - eta * np.sign(c)
        m = beta2 * m + (1 - beta2) * g


def newton_schulz(matrix: np.ndarray, steps: int = 5) -> np.ndarray:
    """Jordan 2024, the quintic iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def muon(
    theta: np.ndarray, eta: float, momentum: float, shape: tuple[int, int]
) -> Pairs:
    """Jordan 2024, one wide matrix, flat, with Nesterov's momentum."""
    buffer = np.zeros_like(theta)
    while True:
        g = yield theta, theta
        buffer = momentum * buffer + (1 - momentum) * g
        update = (1 - momentum) * g + momentum * buffer
        theta = theta - eta * newton_schulz(update.reshape(shape)).ravel()


def outer_nesterov(
    theta: np.ndarray, inner: float, outer: float, momentum: float
) -> Pairs:
    """DiLoCo (arXiv 2311.08105) and SNOO (2510.15830), one inner step of SGD."""
    buffer = np.zeros_like(theta)
    while True:
        g = yield theta, theta
        fast = theta - inner * g
        s = theta - fast
        buffer = momentum * buffer + s
        theta = theta - outer * (momentum * buffer + s)


def ema_nesterov(theta: np.ndarray, eta: float, beta: float, gamma: float) -> Pairs:
    """Yau et al. 2026, arXiv 2605.25395, around SGD; evaluates at theta."""
    m = np.zeros_like(theta)
    while True:
        y = theta + beta * m
        g = yield y, theta
        new = y - eta * g
        m = gamma * m + (1 - gamma) * (new - theta)
        theta = new


def mass(w: np.ndarray, eta1: float, eta2: float, gamma: float) -> Pairs:
    """Liu & Belkin 2020, arXiv 1810.13395; evaluates at w."""
    u = w
    while True:
        g = yield u, w
        new = u - eta1 * g
        u = (1 + gamma) * new - gamma * w + eta2 * g
        w = new
