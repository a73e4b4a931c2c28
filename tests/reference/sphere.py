"""AdaRem-S (AdaRem's Algorithm 2) with the sphere learning rate of section 3.4.1."""

import numpy as np


def adarem_s(
    gradient,
    theta,
    spheres,
    alpha,
    beta,
    resilience,
    eps,
    steps,
    decay=0.0,
    radius=None,
    arrays=None,
):
    """Yields theta-hat_{t+1} and the norm ratios after the step, one a sphere.

    `spheres` holds one index array for each sphere; coordinates in none of them are
    ordinary. max|m| is over the whole vector, or over each of the index arrays
    `arrays`. The gradient is always taken at theta-hat, the first one too.
    """
    arrays = [np.arange(theta.size)] if arrays is None else arrays
    # theta-hat_0 = R theta_0 / |theta_0|, and rho_0 = |theta_0| / R.
    radii = [np.linalg.norm(theta[s]) if radius is None else radius for s in spheres]
    ratios = [np.linalg.norm(theta[s]) / r for s, r in zip(spheres, radii, strict=True)]
    theta_hat = theta.copy()
    for s, r in zip(spheres, radii, strict=True):
        theta_hat[s] = theta[s] / np.linalg.norm(theta[s]) * r
    m = np.zeros_like(theta)  # m_0 = 0
    for t in range(steps):
        g = gradient(t, theta_hat)
        # The equivalent learning rate on the sphere: alpha / rho^2.
        eta_hat = np.full_like(theta, alpha(t))
        for s, rho in zip(spheres, ratios, strict=True):
            eta_hat[s] = alpha(t) / rho**2
        m_max = np.empty_like(theta)
        for a in arrays:
            m_max[a] = np.max(np.abs(m[a]))
        eta = (1 + resilience(t) * g * m / (np.abs(g) * m_max + eps)) * eta_hat
        theta = theta_hat - eta * g - alpha(t) * decay * theta_hat
        m = beta(t) * m + (1 - beta(t)) * g
        theta_hat = theta.copy()
        for i, (s, r) in enumerate(zip(spheres, radii, strict=True)):
            norm = np.linalg.norm(theta[s])
            theta_hat[s] = theta[s] / norm * r
            ratios[i] = ratios[i] * norm / r
        yield theta_hat.copy(), list(ratios)


def sgd(gradient, theta, alpha, steps, decay=0.0):
    """Unconstrained, with decoupled decay: what the sphere learning rate imitates."""
    for t in range(steps):
        theta = theta - alpha(t) * gradient(t, theta) - alpha(t) * decay * theta
        yield theta


def constrained(step, theta, spheres, steps, radius=None):
    """Any step (t, theta) -> u, and then back onto the spheres; yields theta."""
    radii = [np.linalg.norm(theta[s]) if radius is None else radius for s in spheres]
    for t in range(steps):
        theta = theta + step(t, theta)
        for s, r in zip(spheres, radii, strict=True):
            theta[s] = theta[s] / np.linalg.norm(theta[s]) * r
        yield theta.copy()
