"""Online convex problems in a box, played by an optimizer and projected after it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

RADIUS = 1.0  # The box is [-RADIUS, RADIUS]^d.


class Game(NamedTuple):
    """Losses 0.5 sum_i a_i (x_i - c_i)^2 + b_i x_i, round by round.

    `rounds` holds (T, d) arrays "a", "c" and "b"; `against` lets the adversary see the
    parameters before it plays: it multiplies b by their sign.
    """

    rounds: dict[str, jax.Array]
    against: bool = False


class Played(NamedTuple):
    """A game's record, one row a round, in float64."""

    losses: np.ndarray  # (T,)
    gradients: np.ndarray  # (T, d)
    slopes: np.ndarray  # (T, d), the b that the adversary played.
    roots: np.ndarray  # (T, d), √v̂ after the round; ones without a preconditioner.


def play(optimizer: optax.GradientTransformation, game: Game) -> Played:
    """Plays all rounds from the corner of ones, compiled as one scan."""

    def loss(x, a, c, slope):
        return jnp.sum(0.5 * a * jnp.square(x - c) + slope * x)

    def turn(carry, chosen):
        x, state = carry
        slope = chosen["b"]
        if game.against:
            slope = slope * jnp.where(x < 0, -1, 1)
        value, gradient = jax.value_and_grad(loss)(x, chosen["a"], chosen["c"], slope)
        updates, state = optimizer.update(gradient, state, x)
        moved: Any = optax.apply_updates(x, updates)
        x = optax.projections.projection_box(moved, -RADIUS, RADIUS)
        maxima = optax.tree.get_all_with_path(state, "nu_max")
        root = jnp.sqrt(maxima[0][1]) if maxima else jnp.ones_like(x)
        return (x, state), (value, gradient, slope, root)

    @jax.jit
    def run(rounds):
        start = jnp.full_like(rounds["a"][0], RADIUS)
        return jax.lax.scan(turn, (start, optimizer.init(start)), rounds)[1]

    return Played(*(np.asarray(record) for record in run(game.rounds)))


def best_losses(game: Game, played: Played) -> np.ndarray:
    """The best fixed point's summed loss after every round, coordinates apart: (T,).

    In closed form: a sum of parabolas is one, whose minimum in an interval is its
    vertex, clipped, or for a sum of lines the end against the slope.
    """
    a, c = (np.asarray(game.rounds[name]) for name in "ac")
    square = np.cumsum(a, axis=0) / 2
    linear = np.cumsum(played.slopes - a * c, axis=0)
    constant = np.cumsum(a * c**2, axis=0) / 2
    vertex = -linear / np.where(square > 0, 2 * square, 1)
    end = np.where(linear > 0, -RADIUS, RADIUS)
    x = np.where(square > 0, np.clip(vertex, -RADIUS, RADIUS), end)
    return np.sum(square * x**2 + linear * x + constant, axis=1)


def regret(game: Game, played: Played) -> np.ndarray:
    """Regret after every round: (T,)."""
    return np.cumsum(played.losses) - best_losses(game, played)


def best_loss_on_grid(game: Game, played: Played, rounds: int) -> float:
    """`best_losses` at one entry by trying 2001 points a coordinate."""
    a, c = (np.asarray(game.rounds[name])[:rounds] for name in "ac")
    slopes = played.slopes[:rounds]
    points = np.linspace(-RADIUS, RADIUS, 2001)[:, None]
    total = (
        0.5 * np.sum(a, axis=0) * points**2
        - np.sum(a * c, axis=0) * points
        + 0.5 * np.sum(a * c**2, axis=0)
        + np.sum(slopes, axis=0) * points
    )
    return float(np.sum(np.min(total, axis=0)))


def strongly_convex(rounds: int, seed: int = 0, dimension: int = 4) -> Game:
    """Curvatures in [1, 2] with targets in the box: gradients stay below 4."""
    rng = np.random.default_rng(seed)
    shape = (rounds, dimension)
    targets = 0.5 * np.linspace(-1, 1, dimension) + 0.5 * rng.uniform(-1, 1, shape)
    return _game(rng.uniform(1, 2, shape), targets, np.zeros(shape))


def random_lines(rounds: int, seed: int = 0, dimension: int = 4) -> Game:
    """Random slopes with a drift, at most 1."""
    rng = np.random.default_rng(seed)
    shape = (rounds, dimension)
    drift = np.linspace(-0.1, 0.1, dimension)
    return _game(
        np.zeros(shape), np.zeros(shape), 0.9 * rng.uniform(-1, 1, shape) + drift
    )


def adversarial_lines(rounds: int, seed: int = 0, dimension: int = 4) -> Game:
    """Slopes of size 0.5 to 1 that push away from the side the player is on."""
    rng = np.random.default_rng(seed)
    shape = (rounds, dimension)
    game = _game(np.zeros(shape), np.zeros(shape), rng.uniform(0.5, 1, shape))
    return game._replace(against=True)


def convex_parabolas(rounds: int, seed: int = 0, dimension: int = 4) -> Game:
    """Parabolas of curvature 0 to 0.4, half of them flat, and small random slopes."""
    rng = np.random.default_rng(seed)
    shape = (rounds, dimension)
    curvature = rng.uniform(0, 0.4, shape) * rng.integers(0, 2, shape)
    return _game(curvature, rng.uniform(-1, 1, shape), 0.2 * rng.uniform(-1, 1, shape))


def unexplained(feature: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope of a line through values, and the share of their variance it leaves."""
    slope, start = np.polyfit(feature, values, 1)
    rest = np.var(values - slope * feature - start) / np.var(values)
    return float(slope), float(rest)


def second_terms(
    alpha: float, b1: float, decay: float, width: float, steps: int, dimension: int = 4
) -> tuple[float, float]:
    """Of NAMSG's eq. 14 and of eq. 16 as printed, where every gradient is 1."""
    t = np.arange(1, steps + 1)
    eq14 = np.sum((b1 * decay ** (t - 1)) ** 2 * np.sqrt(t)) * dimension / alpha
    eq14 *= width**2 / (2 * (1 - b1**2))
    return float(eq14), b1 * width**2 / (2 * (1 - b1**2) * (1 - decay) ** 2)


CONVEX = [random_lines, adversarial_lines, convex_parabolas]


def _game(a: np.ndarray, c: np.ndarray, b: np.ndarray) -> Game:
    return Game({name: jnp.asarray(x) for name, x in (("a", a), ("c", c), ("b", b))})


def ascending(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer broken on purpose: it steps the wrong way."""
    return optax.chain(optimizer, optax.scale(-1.0))


def assert_below(regret: ArrayLike, bound: ArrayLike) -> None:
    """At every T, and not because the bound is infinite."""
    regret, bound = np.asarray(regret), np.asarray(bound)
    assert np.all(np.isfinite(bound))
    worst = int(np.argmax(regret - bound))
    assert np.all(regret <= bound), (worst + 1, regret[worst], bound[worst])
