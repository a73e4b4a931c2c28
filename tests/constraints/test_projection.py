"""Projected optimizers follow their papers and keep every set; feasible steps stay."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import arsg_optax
from arsg_optax import Box, HalfSpace, L2Ball, project
from arsg_optax.transforms.resilience import resilience_factors
from tests.problems import constant, deviation, problem, run
from tests.reference import projection

# What is left of the excess is as small as x, and x is computed in two loops.
pytestmark = pytest.mark.usefixtures("optimized")

STEPS, SIZE = 200, 5
DTYPES: list[Any] = [jnp.float16, jnp.bfloat16, jnp.float32]


def _vector(task, seed, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=task.start.size)


def _sets(task):
    """Sets that bind on the way or at the end, here and as the reference's function."""
    vector, tree = _vector(task, 50), lambda flat: task.tree(flat, np.float64)
    low, high = task.target - 0.1 - np.abs(vector), task.target - 0.1
    radius = 0.5 * np.linalg.norm(task.target - vector)
    offset = np.sum(vector * task.target) - 2.0

    def of(function, **arguments):
        return lambda y, w: function(y, w, **arguments)

    return {
        "box": (Box(-0.5, 0.7), of(projection.in_box, lower=-0.5, upper=0.7)),
        "boxes": (
            Box(tree(low), tree(high)),
            of(projection.in_box, lower=low, upper=high),
        ),
        "ball": (L2Ball(1.2), of(projection.in_ball, radius=1.2)),
        "ball around": (
            L2Ball(radius, tree(vector)),
            of(projection.in_ball, radius=radius, center=vector),
        ),
        "half-space": (
            HalfSpace(tree(vector), offset),
            of(projection.in_half_space, normal=vector, offset=offset),
        ),
    }


OPTIMIZERS = {
    "arsg": (
        arsg_optax.arsg,
        projection.arsg,
        {"b1": 0.99, "observation": 0.1, "weight_decay": 0.01},
        {"beta1": constant(0.99), "mu": constant(0.1), "beta2": 0.99, "decay": 0.01},
        0.02,
    ),
    "adarem": (
        arsg_optax.adarem,
        projection.adarem,
        {"b1": 0.9, "resilience": 0.9, "eps": 1e-8, "weight_decay": 0.01},
        {"beta": constant(0.9), "resilience": constant(0.9), "decay": 0.01},
        0.1,
    ),
}


@functools.cache
def _free_path(name, shapes, dtype, noise):
    """Without a set, for all sets that this is compared with."""
    make, _, ours, _, rate = OPTIMIZERS[name]
    task = problem(7, shapes, noise, STEPS)
    return np.array([params for params, _, _ in run(make(rate, **ours), task, dtype)])


def _paths(name, kind, shapes, dtype, noise):
    """Paths of the package and of the transcription."""
    make, reference, ours, theirs, rate = OPTIMIZERS[name]
    task = problem(7, shapes, noise, STEPS)
    onto, nearest = _sets(task)[kind]
    optimizer = project(make(rate, **ours), onto)
    got = [params for params, _, _ in run(optimizer, task, dtype)]
    expected = list(
        reference(
            task.gradient,
            task.start,
            alpha=constant(rate),
            eps=1e-8,
            steps=STEPS,
            nearest=nearest,
            **theirs,
        )
    )
    # The constraint has not been idle.
    free = _free_path(name, shapes, dtype, noise)
    assert np.max(np.abs(free - np.array(expected))) > 1e-2
    return deviation(got, expected, task.start)


KINDS = ["box", "boxes", "ball", "ball around", "half-space"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_follows_the_paper_in_float64(x64, name, kind):
    for shapes, noise in (("vector", 0.3), ("tree", 1.0)):
        assert _paths(name, kind, shapes, jnp.float64, noise) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_follows_the_paper_in_float32(name, kind):
    assert _paths(name, kind, "tree", jnp.float32, 1.0) < 1e-5


CURVATURE = jnp.array([0.1, 1.0, 3.0, 0.5])
TARGET = jnp.array([2.0, -1.0, 0.5, 3.0])
NORMAL = jnp.array([1.0, 1.0, -1.0, 2.0])


def _gradient(x):
    return CURVATURE * (x - TARGET)


def _minimize(optimizer, steps=4000):
    """The last parameters and state."""

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(_gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.zeros(4)
    carry = start, optimizer.init(start)
    return jax.lax.scan(jax.jit(step), carry, length=steps)[0]


@pytest.mark.parametrize(
    "make",
    [lambda rate: arsg_optax.arsg(rate, b1=0.9), arsg_optax.adarem, optax.sgd],
    ids=["arsg", "adarem", "sgd"],
)
@pytest.mark.parametrize("onto", [Box(-0.5, 1.0), L2Ball(1.5), HalfSpace(NORMAL, 1.0)])
def test_finds_the_constrained_minimum(make, onto):
    """By the conditions of Karush, Kuhn and Tucker, with the gradient at the point."""
    rate = optax.exponential_decay(0.1, 1000, 0.1)
    x, state = _minimize(project(make(rate), onto))
    force = -_gradient(x)
    if isinstance(onto, Box):
        residual = x - jnp.clip(x + force, -0.5, 1.0)
        assert jnp.sum((x == -0.5) | (x == 1.0)) == 3
    else:
        normal = x if isinstance(onto, L2Ball) else NORMAL
        multiplier = jnp.sum(force * normal) / jnp.sum(normal**2)
        assert multiplier > 0.1
        residual = force - multiplier * normal
        ball = isinstance(onto, L2Ball)
        excess = jnp.linalg.norm(x) - 1.5 if ball else jnp.sum(NORMAL * x) - 1.0
        assert jnp.abs(excess) < 1e-5
    assert jnp.max(jnp.abs(residual)) < 1e-3
    # The momentum does not vanish there: the iterate is as near as the rate is small.
    point: Any = arsg_optax.eval_params(state, x)
    assert jnp.max(jnp.abs(point - x)) < 1e-4


def _apply(optimizer):
    @jax.jit
    def step(params, updates):
        state = optimizer.init(params)
        steps, _ = optimizer.update(updates, state, params)
        return steps, optax.apply_updates(params, steps)

    return step


def _stepper(make):
    """Compiled: a set's numbers or arrays, parameters, updates -> steps, new ones."""

    @jax.jit
    def step(fields, params, updates):
        return _apply(project(optax.identity(), make(*fields)))(params, updates)

    return step


STEPPERS = {"box": _stepper(Box), "ball": _stepper(L2Ball), "half": _stepper(HalfSpace)}
_FLOAT = st.floats(-(2.0**15), 2.0**15, width=32, allow_subnormal=False)
_SMALL = st.sampled_from([0.0, 0.1, 0.3, -1e-3, 1e-6, -1e-30, 1.0, 1.0000001, 1e4])
_ELEMENTS = st.lists(_FLOAT | _SMALL, min_size=SIZE, max_size=SIZE).map(np.float32)
_FEW = {"max_examples": 150}


def _between(dtype, lower, upper, value):
    """The value clipped to numbers of a dtype between two bounds, in NumPy."""
    low, high = (np.asarray(bound, dtype) for bound in (lower, upper))
    infinity = np.asarray(np.inf, dtype)
    low = np.where(np.float32(low) < lower, np.nextafter(low, infinity), low)
    high = np.where(np.float32(high) > upper, np.nextafter(high, -infinity), high)
    assume(np.all(np.float32(low) <= np.float32(high)))
    return np.minimum(np.maximum(np.asarray(value, dtype), low), high)


@pytest.mark.parametrize("dtype", DTYPES)
@given(one=_ELEMENTS, two=_ELEMENTS, start=_ELEMENTS, updates=_ELEMENTS)
@settings(**_FEW)
def test_a_box_is_met_exactly(dtype, one, two, start, updates):
    lower, upper = np.minimum(one, two), np.maximum(one, two)
    params = _between(dtype, lower, upper, start)
    updates = np.asarray(updates, dtype)
    steps, after = STEPPERS["box"]((lower, upper), params, updates)
    assert after.dtype == steps.dtype == dtype
    # Once compiled together, once as a training loop adds them.
    for x in (after, optax.apply_updates(jnp.asarray(params), steps)):
        assert np.all(np.float32(x) >= lower)
        assert np.all(np.float32(x) <= upper)
    free = np.float32(params + updates)
    inside = (free >= lower) & (free <= upper)
    np.testing.assert_array_equal(np.asarray(steps)[inside], updates[inside])
    # As near as the dtype allows: within the rounding of the step.
    wanted = np.float32(_between(dtype, lower, upper, params + updates))
    unit = float(jnp.finfo(dtype).eps) * np.abs(wanted - np.float32(params))
    assert np.all(np.abs(np.float32(after) - wanted) <= unit + 1e-37)


@pytest.mark.parametrize("dtype", DTYPES)
@given(start=_ELEMENTS, updates=_ELEMENTS, lower=st.floats(-100, 0, width=16))
@settings(**_FEW)
def test_from_outside_a_box_is_met_in_one_step_if_it_is_wide(
    dtype, start, updates, lower
):
    lower = np.full(SIZE, lower, np.float32)
    # Wider than two units in the last place of any step.
    upper = lower + np.float32(2.0**18 * float(jnp.finfo(dtype).eps)) + 1
    params, updates = np.asarray(start, dtype), np.asarray(updates, dtype)
    assume(np.all(np.isfinite(np.float32(params) + np.float32(updates))))
    _, after = STEPPERS["box"]((lower, upper), params, updates)
    assert np.all(np.float32(after) >= lower)
    assert np.all(np.float32(after) <= upper)


_MODERATE = st.lists(
    st.floats(-8, 8, width=16, allow_subnormal=False), min_size=SIZE, max_size=SIZE
).map(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["ball", "half"])
@given(start=_MODERATE, updates=_MODERATE, vector=_MODERATE, number=st.integers(0, 9))
@example(  # Ends among the subnormal numbers of float16.
    start=np.zeros(SIZE, np.float32),
    updates=np.float32([0.25, 0.0703125, 1.0, 3.0, 1.0]),
    vector=np.float32([0.25, 0.0703125, 1.0, 3.0, 1.0]),
    number=0,
)
@settings(**_FEW)
def test_ball_and_half_space_are_met_up_to_rounding(
    kind, dtype, start, updates, vector, number
):
    if kind == "half" and not np.any(vector):
        vector = vector + 1
    number = np.float32(number)
    fields = (number, vector) if kind == "ball" else (vector, number)
    nothing, updates = np.zeros(SIZE, dtype), np.asarray(updates, dtype)
    step = STEPPERS[kind]
    # Three to begin with: what starts far outside is rounded in its own units.
    params = np.asarray(start, dtype)
    for _ in range(3):
        _, params = step(fields, params, nothing)
    steps, after = step(fields, params, updates)
    x = np.float64(after)
    if kind == "ball":
        center = np.float64(vector)
        excess, unit = np.linalg.norm(x - center) - number, np.linalg.norm(center)
        unit += number
    else:
        terms = np.float64(vector) * x
        excess, unit = np.sum(terms) - number, np.sum(np.abs(terms)) + np.abs(number)
        unit += np.sum(np.abs(np.float64(vector) * np.float64(steps)))
    eps = float(jnp.finfo(dtype).eps)
    smallest = 2.0**-24 if dtype == jnp.float16 else 0.0
    count = SIZE**0.5 if kind == "ball" else np.sum(np.abs(vector))
    tolerance = (2 * eps + 8 * 2.0**-23) * unit + smallest * count
    assert excess <= tolerance * (1 + 1e-6)
    free = np.asarray(params) + updates
    if np.array_equal(free, after):
        np.testing.assert_array_equal(steps, updates)
    if kind == "ball":
        again, _ = step(fields, after, nothing)
        np.testing.assert_array_equal(again, nothing)


@pytest.mark.parametrize("scope", ["tree", "leaf"])
def test_resilience_factors_are_those_that_were_applied(scope):
    schedule = optax.linear_schedule(1.0, 0.2, 5)
    link = arsg_optax.scale_by_resilience(0.8, schedule, scope=scope)
    rng = np.random.default_rng(0)
    params = {"b": jnp.zeros(3), "w": jnp.zeros((2, 4))}
    state = link.init(params)
    nothing = resilience_factors(state, state, jax.tree.map(jnp.ones_like, params))
    assert all(jnp.all(leaf == 1) for leaf in jax.tree.leaves(nothing))
    for _ in range(5):
        g = jax.tree.map(lambda p: jnp.float32(rng.normal(size=p.shape)), params)
        updates, after = link.update(g, state)
        factors = resilience_factors(state, after, g)
        for name in params:
            np.testing.assert_allclose(factors[name] * g[name], updates[name], 1e-6)
        state = after


def test_an_overflowed_element_is_frozen_not_nan():
    """Its weight is infinite: the others alone bring the tree back into the set."""
    for onto in (L2Ball(2.0), HalfSpace(jnp.ones(3), 1.0), Box(None, 0.5)):
        optimizer = project(arsg_optax.arsg(0.1), onto)
        params = jnp.array([1.0, 2.0, 0.5])
        spike = jnp.array([1e30, -1.0, -1.0])
        updates, _ = optimizer.update(spike, optimizer.init(params), params)
        after = optax.apply_updates(params, updates)
        assert jnp.all(jnp.isfinite(after))
        assert after[0] == (0.5 if isinstance(onto, Box) else 1.0)
        assert after[1] < 2.0


@pytest.mark.parametrize("make", [arsg_optax.arsg, arsg_optax.adarem, optax.sgd])
def test_a_set_that_never_binds_changes_nothing(make):
    params = {"b": jnp.zeros(3), "w": jnp.ones((2, 4))}
    far = jax.tree.map(lambda p: p + 1, params)
    for onto in (Box(-9.0, 9.0), L2Ball(99.0, far), HalfSpace(far, 99.0)):
        plain, inside = make(0.1), project(make(0.1), onto)
        states, held = [plain.init(params), inside.init(params)], params
        for seed in range(4):
            g = optax.tree.random_like(jax.random.key(seed), params)
            # Not compiled: two programs may round the optimizer itself differently.
            expected, states[0] = plain.update(g, states[0], held)
            got, states[1] = inside.update(g, states[1], held)
            jax.tree.map(np.testing.assert_array_equal, got, expected)
            held = optax.apply_updates(held, got)
