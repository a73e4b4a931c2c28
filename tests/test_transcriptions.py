"""Every optimizer follows the literal transcription of its paper, step by step."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.generalized import adam_arsg, rectified_arsg, softplus_arsg
from tests.problems import Hyper, Problem, constant, deviation, problem, run
from tests.reference import adarem, arsg, boost, generalized, rsg, switch

STEPS = 200
# Whether arguments are schedules, and a seed, shapes and a level of noise.
PROBLEMS = {
    "scalars": (False, 0, "vector", 0.1),
    "scalars-noiseless": (False, 2, "tree", 0.0),
    "schedules": (True, 1, "tree", 1.0),
}


class Case(NamedTuple):
    """An optimizer and the transcription that it must follow."""

    optimizer: Callable[..., optax.GradientTransformation]
    reference: Callable[..., Iterator[Any]]
    # Arguments indexed by t: name here, name there, value, a schedule of it.
    indexed: tuple[tuple[str, str, float, Callable[[Any], Any]], ...]
    # Arguments that are not: name here, name there, value.
    fixed: tuple[tuple[str, str, float], ...] = ()


def _ramp(start, end):
    def schedule(count):
        # An int32 divided is float32 even under x64.
        t = jnp.asarray(count, jax.dtypes.canonicalize_dtype(float))
        return start + (end - start) * jnp.minimum(t / 100, 1.0)

    return schedule


_RATE = ("learning_rate", "alpha", 0.1, _ramp(0.02, 0.2))
_OBSERVED = (
    _RATE,
    ("b1", "beta", 0.99, _ramp(0.9, 0.99)),
    ("observation", "mu", 0.1, _ramp(0.3, 0.05)),
)
_ADAPTIVE = (
    ("learning_rate", "alpha", 0.02, _ramp(0.002, 0.03)),
    ("b1", "beta1", 0.99, _ramp(0.9, 0.99)),
)
_MOMENTS = (("b2", "beta2", 0.99), ("eps", "eps", 1e-8))
_DECAY = ("weight_decay", "decay", 0.01)

CASES = {
    "rsg": Case(arsg_optax.rsg, rsg.concise, _OBSERVED),
    "rsg-decay": Case(arsg_optax.rsg, rsg.concise, _OBSERVED, (_DECAY,)),
    "arsg": Case(
        arsg_optax.arsg,
        arsg.arsg,
        (*_ADAPTIVE, ("observation", "mu", 0.1, _ramp(0.3, 0.05))),
        _MOMENTS,
    ),
    "arsg-fine-decay": Case(
        arsg_optax.arsg,
        arsg.arsg,
        (*_ADAPTIVE, ("observation", "mu", 0.1, _ramp(0.3, 0.05))),
        (("b2", "beta2", 0.999), ("eps", "eps", 1e-3), _DECAY),
    ),
    "arsg-adam": Case(
        adam_arsg,
        generalized.adam,
        (*_ADAPTIVE, ("observation", "mu", 0.1, _ramp(0.3, 0.05))),
        _MOMENTS,
    ),
    "arsg-rectified": Case(
        rectified_arsg,
        generalized.rectified,
        (*_ADAPTIVE, ("observation", "mu", 0.1, _ramp(0.3, 0.05))),
        (("b2", "beta2", 0.99), ("threshold", "threshold", 5.0)),
    ),
    "arsg-softplus": Case(
        softplus_arsg,
        generalized.softplus,
        (*_ADAPTIVE, ("observation", "mu", 0.1, _ramp(0.3, 0.05))),
        (("b2", "beta2", 0.99), ("sharpness", "sharpness", 50.0)),
    ),
    "namsg": Case(
        arsg_optax.namsg,
        arsg.namsg,
        (
            ("learning_rate", "alpha", 0.02, _ramp(0.002, 0.03)),
            ("b1", "beta1", 0.9, _ramp(0.85, 0.95)),
            ("distance", "eta", 0.9, _ramp(0.9, 3.0)),
        ),
        _MOMENTS,
    ),
    "arsgb": Case(
        arsg_optax.arsgb,
        boost.arsgb,
        (*_ADAPTIVE, ("observation", "mu", 0.05, _ramp(0.2, 0.05))),
        (*_MOMENTS, ("boost_at", "boost_at", 120)),
    ),
    "swnts": Case(
        arsg_optax.swnts,
        switch.swnts,
        (
            ("learning_rate", "alpha", 0.02, _ramp(0.002, 0.03)),
            ("b1", "beta1", 0.9, _ramp(0.85, 0.95)),
            ("distance", "eta", 0.9, _ramp(0.9, 3.0)),
        ),
        (*_MOMENTS, ("switch_at", "switch_at", 90)),
    ),
    "adarem": Case(
        arsg_optax.adarem,
        adarem.adarem,
        (
            _RATE,
            ("b1", "beta", 0.9, _ramp(0.5, 0.95)),
            ("resilience", "resilience", 0.999, _ramp(1.0, 0.2)),
        ),
        (("eps", "eps", 1e-30),),
    ),
    "adarem-1e-8": Case(
        arsg_optax.adarem,
        adarem.adarem,
        (
            _RATE,
            ("b1", "beta", 0.9, _ramp(0.5, 0.95)),
            ("resilience", "resilience", 0.999, _ramp(1.0, 0.2)),
        ),
        (("eps", "eps", 1e-8),),
    ),
    "adarem-decay": Case(
        arsg_optax.adarem,
        adarem.adarem,
        (
            _RATE,
            ("b1", "beta", 0.9, _ramp(0.5, 0.95)),
            ("resilience", "resilience", 0.5, _ramp(1.0, 0.2)),
        ),
        (("eps", "eps", 1e-3), _DECAY),
    ),
}


def follow(case: Case, task: Problem, scheduled: bool, dtype: Any):
    """Paths of the package and of the transcription."""
    ours: dict[str, Any] = {name: value for name, _, value in case.fixed}
    theirs: dict[str, Any] = {name: value for _, name, value in case.fixed}
    for name, paper_name, value, schedule in case.indexed:
        ours[name] = schedule if scheduled else value
        theirs[paper_name] = _exactly(schedule, dtype) if scheduled else constant(value)
    got = [params for params, _, _ in run(case.optimizer(**ours), task, dtype)]
    steps = case.reference(task.gradient, task.start, steps=STEPS, **theirs)
    return got, [params for params, *_ in steps]


def _exactly(schedule: Callable[[Any], Any], dtype: Any) -> Hyper:
    """What the package sees: a float32 schedule rounds its value to float32."""
    counts = jnp.arange(STEPS + 1, dtype=jnp.int32)
    values = np.asarray(schedule(counts), dtype)
    return lambda t: float(values[t])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("scheduled", "seed", "shapes", "noise"), PROBLEMS.values(), ids=PROBLEMS
)
def test_float64_to_rounding(name, scheduled, seed, shapes, noise, x64):
    task = problem(seed, shapes, noise, STEPS)
    got, expected = follow(CASES[name], task, scheduled, jnp.float64)
    assert deviation(got, expected, task.start) < 1e-12


@pytest.mark.parametrize("scheduled", [False, True], ids=["scalars", "schedules"])
@pytest.mark.parametrize("name", CASES)
def test_float32_to_rounding(name, scheduled):
    task = problem(1, "tree", 1.0, STEPS)
    got, expected = follow(CASES[name], task, scheduled, jnp.float32)
    assert deviation(got, expected, task.start) < 1e-5


@pytest.mark.parametrize("b1", [0.9, 0.999])
def test_debiased_momentum(b1, x64):
    task = problem(3, "tree", 0.1, STEPS)
    optimizer = arsg_optax.rsg(0.05, b1, 0.1, debias=True)
    got = [params for params, _, _ in run(optimizer, task, jnp.float64)]
    steps = rsg.debiased(task.gradient, task.start, 0.05, b1, 0.1, STEPS)
    assert deviation(got, [y for y, _ in steps], task.start) < 1e-12


def test_adarem_by_leaf_takes_each_maximum_alone(x64):
    whole = problem(4, "tree", 0.1, STEPS)
    optimizer = arsg_optax.adarem(0.1, scope="leaf")
    got = [params for params, _, _ in run(optimizer, whole, jnp.float64)]
    position = 0
    for shape in whole.shapes.values():
        own = slice(position, position + int(np.prod(shape)))
        position = own.stop
        leaf = whole._replace(
            start=whole.start[own],
            target=whole.target[own],
            curvature=whole.curvature[own],
            noise=whole.noise[:, own],
        )
        steps = adarem.adarem(
            leaf.gradient,
            leaf.start,
            constant(0.1),
            constant(0.9),
            constant(0.999),
            1e-30,
            STEPS,
        )
        expected = [theta for theta, _ in steps]
        assert deviation([g[own] for g in got], expected, leaf.start) < 1e-12
