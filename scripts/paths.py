"""Paths of momentum methods on three functions of two variables, for `draw_paths`.

Step sizes follow from curvature, by one rule for all functions. The largest curvature
is that of the function within the picture where it is at most as high as at the start,
the smallest that at the minimum. Every method could bear twice the largest curvature:

- heavy ball and Nesterov have the learning rate and momentum that are fastest from the
  smallest curvature to twice the largest, `dynamics.optimal_hyperparams` with an
  observation of 0 and of 1 - b1;
- RSG has the paper's b1 = 0.999 and observation 0.1, and the learning rate whose
  convergence bound, `dynamics.convergence_bound`, is twice the largest curvature;
- ARSG has the paper's values, and the learning rate of RSG times the root mean square
  of the gradient at the start, which is what its denominator starts from, times
  sqrt(1 - b2): its first step is about as long as RSG's;
- AdaRem's steps are up to twice those of gradient descent, so its learning rate is half
  of the latter's limit of 2 over twice the largest curvature.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import arsg_optax
from arsg_optax import dynamics

Loss = Callable[[jax.Array], jax.Array]

B1, B2, OBSERVATION = 0.999, 0.99, 0.1
SAFETY = 2.0


class Problem(NamedTuple):
    """A function of two variables, and how it is shown.

    Attributes:
        title: its name.
        loss: of a point of shape (2,), 0 at the minimum.
        start: where all paths begin.
        minimum: where they should end.
        window: left, right, bottom and top of the picture.
        steps: of every method.
        noise: standard deviation of the error in each coordinate of the gradient.
    """

    title: str
    loss: Loss
    start: tuple[float, float]
    minimum: tuple[float, float]
    window: tuple[float, float, float, float]
    steps: int
    noise: float = 0.0


def _ravine(point: jax.Array) -> jax.Array:
    x, y = point
    return (0.05 * x**2 + y**2) / 2


def _rosenbrock(point: jax.Array) -> jax.Array:
    x, y = point
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _beale(point: jax.Array) -> jax.Array:
    x, y = point
    errors = (1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3)
    return sum((error**2 for error in errors), jnp.zeros_like(x))


RAVINE = Problem(
    "Ravine, noisy gradients",
    _ravine,
    (-4.0, 1.0),
    (0.0, 0.0),
    (-4.4, 1.4, -0.9, 1.2),
    steps=400,
    noise=0.06,
)
PROBLEMS = (
    RAVINE,
    Problem(
        "Rosenbrock", _rosenbrock, (-1.2, 1.0), (1, 1), (-1.6, 1.7, -0.4, 2.4), 6_000
    ),
    Problem("Beale", _beale, (1.0, 1.2), (3.0, 0.5), (0.3, 4.6, -1.7, 1.5), 3_000),
)


class Path(NamedTuple):
    """A method's points, the start first: shape (steps + 1, 2), and losses there."""

    points: np.ndarray
    losses: np.ndarray


def curvatures(problem: Problem) -> tuple[float, float]:
    """The smallest at the minimum, and the largest below the start in the picture."""
    left, right, bottom, top = problem.window
    across, up = jnp.linspace(left, right, 81), jnp.linspace(bottom, top, 81)
    points = jnp.stack(jnp.meshgrid(across, up), axis=-1).reshape(-1, 2)
    eigenvalues = jax.vmap(lambda p: jnp.linalg.eigvalsh(jax.hessian(problem.loss)(p)))
    low = jax.vmap(problem.loss)(points) <= problem.loss(jnp.array(problem.start))
    largest = jnp.max(jnp.where(low, eigenvalues(points)[:, 1], 0))
    smallest = eigenvalues(jnp.array([problem.minimum], jnp.float32))[0, 0]
    return float(smallest), float(largest)


def methods(problem: Problem) -> dict[str, optax.GradientTransformation]:
    """The optimizers by name, with this module's rule for their values."""
    smallest, largest = curvatures(problem)
    highest = SAFETY * largest
    ball = dynamics.optimal_hyperparams(smallest, highest, observation=0.0)
    nesterov = _optimal_nesterov(smallest, highest)
    rate = float(dynamics.convergence_bound(B1, OBSERVATION)) / highest
    gradient = jax.grad(problem.loss)(jnp.array(problem.start))
    scale = float(jnp.sqrt((1 - B2) * jnp.mean(gradient**2)))
    return {
        "heavy ball": arsg_optax.rsg(float(ball.learning_rate), float(ball.b1), 0.0),
        "Nesterov": arsg_optax.rsg(*nesterov),
        "RSG": arsg_optax.rsg(rate, B1, OBSERVATION),
        "ARSG": arsg_optax.arsg(rate * scale, B1, B2, observation=OBSERVATION),
        "AdaRem": arsg_optax.adarem(1 / highest),
    }


def _optimal_nesterov(smallest: float, largest: float) -> tuple[float, float, float]:
    """The fastest RSG whose observation factor is 1 - b1."""

    def improve(_, observation):
        found = dynamics.optimal_hyperparams(smallest, largest, observation=observation)
        return 1 - found.b1

    observation = jax.lax.fori_loop(0, 100, improve, jnp.array(0.0))
    found = dynamics.optimal_hyperparams(smallest, largest, observation=observation)
    return float(found.learning_rate), float(found.b1), float(found.observation)


def run(
    problem: Problem, optimizer: optax.GradientTransformation, seed: int = 0
) -> tuple[Path, Path]:
    """The paths of the held parameters and of the iterate."""
    gradient = jax.grad(problem.loss)

    def step(carry, key):
        held, state = carry
        error = problem.noise * jax.random.normal(key, held.shape)
        updates, state = optimizer.update(gradient(held) + error, state, held)
        held = optax.apply_updates(held, updates)
        return (held, state), (held, arsg_optax.eval_params(state, held))

    @jax.jit
    def whole(start, keys):
        _, points = jax.lax.scan(step, (start, optimizer.init(start)), keys)
        points = [jnp.concatenate([start[None], later]) for later in points]
        return [(p, jax.vmap(problem.loss)(p)) for p in points]

    start = jnp.array(problem.start)
    keys = jax.random.split(jax.random.key(seed), problem.steps)
    held, iterate = (Path(*map(np.asarray, p)) for p in whole(start, keys))
    return held, iterate


def run_all(problem: Problem) -> dict[str, Path]:
    """All paths by name; RSG's at both of its points, ARSG's at its iterate."""
    paths = {}
    for name, optimizer in methods(problem).items():
        held, iterate = run(problem, optimizer)
        if name == "RSG":
            paths["RSG, held y"], paths["RSG, iterate x"] = held, iterate
        elif name == "ARSG":
            paths["ARSG, iterate x"] = iterate
        else:
            paths[name] = held
    return paths
