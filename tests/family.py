"""Conversions of `hyperparams` beside their sources, with moving values."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import arsg_optax
from arsg_optax import hyperparams as hp
from arsg_optax import log_time_momentum, remote_chain, rsg, scale_by_adam_rms
from tests.problems import Problem, constant, deviation, problem, run
from tests.reference import family as source

STEPS = 200
MATRIX = {"w": (4, 6)}


class Case(NamedTuple):
    make: Callable[[], optax.GradientTransformation]
    source: Callable[..., Any]  # A generator of tests.reference.family.
    arguments: tuple[Any, ...]
    iterates: bool = False  # Whether the source evaluates at RSG's iterate.
    theirs: Callable[[], optax.GradientTransformation] | None = None  # Optax's.


def _rsg(params: hp.RSGParams) -> optax.GradientTransformation:
    return rsg(**params._asdict())


def _of(convert: Callable[..., hp.RSGParams], *arguments: Any) -> Callable[[], Any]:
    return lambda: _rsg(convert(*arguments))


def _linear(start: float, end: float) -> Callable[[Any], Any]:
    """Linear in the count, for schedules and for transcriptions."""
    return lambda t: start + (end - start) * t / STEPS


def float_schedule(schedule: Callable[[Any], Any]) -> optax.Schedule:
    """The same of an int32 count, which divided would be float32 even under x64."""
    return lambda count: schedule(jnp.asarray(count, jnp.zeros([]).dtype))


def _adam_rms(params: hp.RSGParams, b2: float) -> optax.GradientTransformation:
    return arsg_optax.arsg(
        **params._asdict(), preconditioner=scale_by_adam_rms(b2, 1e-3)
    )


WARM_UP = 0.3 * np.minimum(np.arange(1.0, STEPS + 1) / 100, 1.0)


def _averaged_warm_up(r: float) -> optax.GradientTransformation:
    weights = np.arange(1.0, STEPS + 1) ** r * WARM_UP**2
    shares = weights / np.cumsum(weights)
    return _rsg(hp.from_primal_averaging(WARM_UP, shares, 0.9))


def _schedule_free(rates: np.ndarray) -> optax.GradientTransformation:
    # Optax counts from 0 in the inner optimizer and from 1 in the weights.
    inner = optax.sgd(lambda count: jnp.asarray(rates)[count])
    return optax.contrib.schedule_free(
        inner, lambda count: jnp.asarray(rates)[count - 1], b1=0.9
    )


def _gpa_of_a_schedule() -> optax.GradientTransformation:
    return _rsg(hp.from_primal_averaging(WARM_UP, np.full(STEPS, 0.05), 0.7))


def _decaying(t: Any) -> Any:
    """gamma3 of DANA-decaying."""
    return 0.1 * (1 + t) ** -0.8


def _adana() -> optax.GradientTransformation:
    gamma = float_schedule(_linear(0.03, 0.0))
    params = hp.from_adana(gamma, delta=8.0, kappa=0.85)
    rms = scale_by_adam_rms(log_time_momentum(8.0), 1e-3, debias=False)

    def decay(count):
        # omega / t, of a peak learning rate of 0.03, without the factor 1 + alpha.
        return 4.0 / 0.03 * params.observation(count) / (count + 1)

    return remote_chain(rms, **params._asdict(), weight_decay=decay)


def _lion() -> optax.GradientTransformation:
    params = hp.from_lion(0.9, 0.99)
    return optax.chain(
        arsg_optax.remote_observation(params.b1, params.observation),
        optax.scale_by_sign(),
        optax.scale_by_learning_rate(0.01),
    )


def _orthogonalized(matrix: jax.Array) -> jax.Array:
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (jnp.linalg.norm(matrix) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _muon() -> optax.GradientTransformation:
    params = hp.from_muon_momentum(0.95)
    return optax.chain(
        arsg_optax.remote_observation(params.b1, params.observation),
        optax.stateless(lambda tree, _: jax.tree.map(_orthogonalized, tree)),
        optax.scale_by_learning_rate(0.02),
    )


_FALLING = _linear(0.01, 0.0)
_RISING = _linear(0.5, 8.0)
_SLOWER = _linear(0.9, 0.999)
_RATE, _ALPHA, _B3 = map(float_schedule, (_FALLING, _RISING, _SLOWER))
_OPTAX = tuple(map(int, optax.__version__.split(".")[:3]))


def _scheduled_simplified_ademamix() -> optax.GradientTransformation:
    return optax.contrib.simplified_ademamix(_RATE, 0.99, 0.95, _ALPHA, eps=1e-3)


CASES = {
    "heavy ball": Case(
        _of(hp.from_heavy_ball, 0.05, 0.9),
        source.heavy_ball,
        (0.05, 0.9),
        True,
        lambda: optax.sgd(0.05, 0.9),
    ),
    "nesterov": Case(
        _of(hp.from_nesterov, 0.05, 0.9), source.nesterov, (0.05, 0.9), True
    ),
    "gpa": Case(
        _of(hp.from_gpa, 0.3, 0.95, 0.7), source.gpa, (constant(0.3), 0.95, 0.7), True
    ),
    "gpa, as published": Case(
        _of(hp.from_gpa, 0.3), source.gpa, (constant(0.3), 0.9967, 0.7), True
    ),
    "gpa, mu_x = 0": Case(
        _of(hp.from_gpa, 0.3, 0.0, 0.7), source.gpa, (constant(0.3), 0.0, 0.7), True
    ),
    "gpa, warm-up": Case(
        _gpa_of_a_schedule, source.gpa, (WARM_UP.__getitem__, 0.95, 0.7), True
    ),
    "schedule-free": Case(
        _of(hp.from_schedule_free, 0.3),
        source.schedule_free,
        (constant(0.3), 0.9, 0.0, 2.0),
        True,
        lambda: _schedule_free(np.full(STEPS, 0.3)),
    ),
    "schedule-free, power 1": Case(
        _of(hp.from_schedule_free, 0.3, 0.8, 1.0),
        source.schedule_free,
        (constant(0.3), 0.8, 1.0, 2.0),
        True,
    ),
    "schedule-free, power 2.5": Case(
        _of(hp.from_schedule_free, 0.3, 0.95, 2.5),
        source.schedule_free,
        (constant(0.3), 0.95, 2.5, 0.0),
        True,
    ),
    "schedule-free, warm-up": Case(
        lambda: _averaged_warm_up(0.0),
        source.schedule_free,
        (WARM_UP.__getitem__, 0.9, 0.0, 2.0),
        True,
        lambda: _schedule_free(WARM_UP),
    ),
    "schedule-free, warm-up, power 2": Case(
        lambda: _averaged_warm_up(2.0),
        source.schedule_free,
        (WARM_UP.__getitem__, 0.9, 2.0, 2.0),
        True,
    ),
    "simplified ademamix": Case(
        lambda: _adam_rms(hp.from_simplified_ademamix(1e-3, 0.99, 20.0), 0.95),
        source.simplified_ademamix,
        (constant(1e-3), 0.99, 0.95, constant(20.0), 1e-3),
        theirs=lambda: optax.contrib.simplified_ademamix(
            1e-3, 0.99, 0.95, 20.0, eps=1e-3
        ),
    ),
    "simplified ademamix, schedules": Case(
        lambda: _adam_rms(hp.from_simplified_ademamix(_RATE, 0.99, _ALPHA), 0.95),
        source.simplified_ademamix,
        (_FALLING, 0.99, 0.95, _RISING, 1e-3),
        # Before, Optax took numbers only for alpha.
        theirs=_scheduled_simplified_ademamix if _OPTAX >= (0, 2, 8) else None,
    ),
    "ademamix without fast": Case(
        lambda: _adam_rms(hp.from_ademamix_without_fast(0.01, 0.99, 8.0), 0.999),
        source.ademamix_without_fast,
        (constant(0.01), 0.999, constant(0.99), constant(8.0), 1e-3),
        theirs=lambda: optax.contrib.ademamix(
            0.01, b1=0.0, b3=0.99, alpha=8.0, eps=1e-3
        ),
    ),
    "ademamix without fast, schedules": Case(
        lambda: _adam_rms(hp.from_ademamix_without_fast(_RATE, _B3, _ALPHA), 0.999),
        source.ademamix_without_fast,
        (_FALLING, 0.999, _SLOWER, _RISING, 1e-3),
        theirs=lambda: optax.contrib.ademamix(_RATE, 0.0, 0.999, _B3, _ALPHA, eps=1e-3),
    ),
    "adana": Case(
        _adana,
        source.adana,
        (_linear(1.0, 0.0), 0.03, 8.0, 0.85, 4.0, 1e-3),
    ),
    "dana": Case(
        _of(hp.from_dana, 0.1, 0.01, 6.0),
        source.dana,
        (constant(0.1), constant(0.01), 6.0),
    ),
    "dana, decaying": Case(
        lambda: _rsg(
            hp.from_dana(0.1, float_schedule(lambda t: 0.1 * (1 + t) ** -0.8), 6.0)
        ),
        source.dana,
        (constant(0.1), lambda t: 0.1 * (1 + t) ** -0.8, 6.0),
    ),
    "mars-approx": Case(
        _of(hp.from_mars_approx, 0.3, 0.95, 0.025),
        source.mars_approx,
        (constant(0.3), 0.95, 0.025),
    ),
    "mars-approx, falling rate": Case(
        _of(hp.from_mars_approx, _RATE, 0.95, 0.025),
        source.mars_approx,
        (_FALLING, 0.95, 0.025),
    ),
    "lion": Case(
        _lion,
        source.lion,
        (0.01, 0.9, 0.99),
        theirs=lambda: optax.lion(0.01, 0.9, 0.99, weight_decay=0.0),
    ),
    "muon": Case(_muon, source.muon, (0.02, 0.95, MATRIX["w"])),
    "outer nesterov": Case(
        _of(hp.from_outer_nesterov, 0.1, 0.7, 0.9),
        source.outer_nesterov,
        (0.1, 0.7, 0.9),
        theirs=lambda: optax.sgd(0.07, 0.9, nesterov=True),
    ),
    "ema-nesterov": Case(
        _of(hp.from_ema_nesterov, 0.3, 0.6, 0.95), source.ema_nesterov, (0.3, 0.6, 0.95)
    ),
    "mass": Case(_of(hp.from_mass, 0.3, 0.05, 0.9), source.mass, (0.3, 0.05, 0.9)),
    "mass, no compensation": Case(
        _of(hp.from_mass, 0.3, 0.0, 0.9), source.mass, (0.3, 0.0, 0.9), True
    ),
}


def task_of(name: str, seed: int = 0) -> Problem:
    """A noisy quadratic on several arrays; one matrix for Muon."""
    task = problem(seed, "tree", 0.3, STEPS)
    return task._replace(shapes=MATRIX) if name == "muon" else task


def transcribed(
    task: Problem, method: Callable[..., Any], *arguments: Any
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where the source takes gradients and evaluates, after each update."""
    generator = method(task.start, *arguments)
    observed, _ = next(generator)
    for t in range(len(task.noise)):
        pair = generator.send(task.gradient(t, observed))
        observed = pair[0]
        yield pair


def deviations(name: str, seed: int = 0) -> dict[str, float]:
    """Of the observed point, of the iterate, and of Optax's optimizer, in float64."""
    case, task = CASES[name], task_of(name, seed)
    expected = list(transcribed(task, case.source, *case.arguments))
    ours = _paths(case.make(), task, case.iterates)
    # Without an iterate the source's second point is another one.
    compared = ("observed", "iterate") if case.iterates else ("observed",)
    named: dict[str, float] = {
        point: deviation(ours[k], [pair[k] for pair in expected], task.start)
        for k, point in enumerate(compared)
    }
    if case.theirs is not None:
        theirs = _paths(case.theirs(), task, case.iterates)
        named["optax"] = max(
            deviation(theirs[k], ours[k], task.start) for k in range(len(compared))
        )
    return named


def _paths(
    optimizer: optax.GradientTransformation, task: Problem, iterates: bool
) -> list[list[np.ndarray]]:
    evaluate = arsg_optax.eval_params if iterates else lambda state, params: params
    path = run(optimizer, task, jnp.float64, evaluate)
    held, evaluated, _ = zip(*path, strict=True)
    return [list(held), list(evaluated)]
