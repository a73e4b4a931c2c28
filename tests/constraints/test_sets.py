"""Nearest points of sets: against bisection, and what must hold for every point."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arsg_optax import Box, HalfSpace, L2Ball
from arsg_optax.constraints.sets import nearest
from tests.reference import projection

# What is left of the excess is as small as x, and x is computed in two loops.
pytestmark = pytest.mark.usefixtures("optimized")

SIZE = 5
KINDS = ["box", "ball", "half-space"]
DTYPES: list[Any] = [jnp.float16, jnp.bfloat16, jnp.float32]
FIND = jax.jit(nearest)


def _split(flat, dtype=jnp.float32):
    """The leaves of a tree: a vector and a scalar."""
    flat = np.asarray(flat, dtype)  # Compiles nothing, as slices in JAX would.
    return [flat[:-1], np.asarray(flat[-1])]


def _join(leaves):
    return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in leaves])


def _make(kind, vector, number):
    """A set over the two leaves from a vector and a number, at least 0."""
    if kind == "box":
        lower = np.minimum(vector, number)
        return Box(_split(lower), jnp.float32(number))
    if kind == "ball":
        return L2Ball(jnp.float32(number), _split(vector))
    return HalfSpace(_split(vector), jnp.float32(number))


def _excess(onto, x):
    """How far x is outside, the unit of rounding and that of the smallest numbers."""
    if isinstance(onto, Box):
        outside = np.maximum(_join(onto.lower) - x, x - np.float64(onto.upper))
        return max(np.max(outside), 0.0), 0.0, 0.0
    if isinstance(onto, L2Ball):
        c, radius = _join(onto.center), np.float64(onto.radius)
        return np.linalg.norm(x - c) - radius, radius + np.linalg.norm(c), SIZE**0.5
    a, b = _join(onto.normal), np.float64(onto.offset)
    terms = np.sum(np.abs(a * x)) + np.abs(b)
    return np.sum(a * x) - b, terms, np.sum(np.abs(a))


def _rounding(dtype):
    """The relative and the absolute tolerance that `nearest` states."""
    relative = 2 * float(jnp.finfo(dtype).eps) + 8 * float(jnp.finfo(jnp.float32).eps)
    return relative, 2.0**-24 if dtype == jnp.float16 else 0.0


def _vectors(largest):
    element = st.floats(-largest, largest, width=16, allow_subnormal=False)
    return st.lists(element, min_size=SIZE, max_size=SIZE).map(np.array)


_RATIOS = st.lists(
    st.sampled_from([0.0, 1e-8, 1e-4, 0.01, 0.3, 1.0, 7.0, 1e6]),
    min_size=SIZE,
    max_size=SIZE,
).map(np.array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@given(
    y=_vectors(100), vector=_vectors(10), s=_RATIOS, number=st.floats(0, 20, width=16)
)
@example(  # Ends among the subnormal numbers of float16.
    y=np.array([0.0, 0, 2, 0, 0]),
    vector=np.array([0.0, 0, 3, 0, 1]),
    s=np.array([0.0, 0, 0.01, 0, 1e-8]),
    number=0.0,
)
@settings(max_examples=100)
def test_feasible_idempotent_and_exact_inside(kind, dtype, y, vector, s, number):
    if kind == "half-space" and not np.any(vector):
        vector = vector + 1
    onto, points = _make(kind, vector, number), _split(y, dtype)
    once = FIND(onto, points, _split(s))
    excess, unit, count = _excess(onto, _join(once))
    relative, smallest = _rounding(dtype)
    if kind == "box" and _next_box_is_empty(onto, dtype):
        return
    assert excess <= (relative * unit + smallest * count) * (1 + 1e-6)
    for leaf, point in zip(once, points, strict=True):
        assert leaf.dtype == point.dtype
    for leaf, again in zip(once, FIND(onto, once, _split(s)), strict=True):
        np.testing.assert_array_equal(leaf, again)
    if _excess(onto, _join(points))[0] <= 0:
        np.testing.assert_array_equal(_join(once), _join(points))


def _next_box_is_empty(box, dtype):
    """Whether some element has no number of a dtype between its bounds."""
    lower, upper = _join(box.lower), np.float64(box.upper)
    near = np.asarray(jnp.asarray(lower, dtype), np.float64)
    above = jnp.nextafter(jnp.asarray(lower, dtype), jnp.asarray(jnp.inf, dtype))
    first = np.where(near >= lower, near, np.asarray(above, np.float64))
    return np.any(first > upper)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**31), spread=st.floats(0, 4))
@settings(max_examples=60)
def test_no_other_point_of_the_set_is_nearer(kind, seed, spread):
    rng = np.random.default_rng(seed)
    onto = _make(kind, rng.normal(size=SIZE), np.abs(rng.normal()))
    y, s = 3 * rng.normal(size=SIZE), 10 ** rng.uniform(-spread, 0, size=SIZE)
    x = _join(FIND(onto, _split(y), _split(s)))
    y, w = _join(_split(y)), 1 / _join(_split(s))
    distance = np.sum(w * (x - y) ** 2)
    for scale in (1e-3, 0.1, 3.0):
        for start in (x, np.zeros(SIZE)):
            other = start + scale * rng.normal(size=SIZE)
            # Of float32, so feasible up to the rounding that x may have used as well.
            z = _join(FIND(onto, _split(other), [None, None]))
            rounding = 1e-5 * np.sum(w * np.abs(z - y) * (np.abs(z) + 1))
            assert np.sum(w * (z - y) ** 2) >= distance - rounding


RATIOS = [1e-4, 0.5, 0.9, 0.999]


def _conditioned(seed, decades, size):
    """A point and multipliers that spread over some decades; both hold float32."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=size) * 10 ** rng.uniform(-2, 2)
    s = 10 ** rng.uniform(-decades, 0, size=size)
    return np.float64(np.float32(y)), np.float64(np.float32(s)), rng


@pytest.mark.parametrize("decades", [0, 4, 8, 16])
def test_ball_of_any_conditioning(decades):
    for seed, size in ((0, 1), (1, 2), (2, 7), (4, 300)):
        y, s, _ = _conditioned(seed, decades, size)
        for ratio in RATIOS:
            radius = np.float64(np.float32(ratio * np.linalg.norm(y)))
            onto = L2Ball(jnp.float32(radius))
            got = FIND(onto, [jnp.float32(y)], [jnp.float32(s)])[0]
            expected = projection.in_ball(y, 1 / s, radius)
            assert np.max(np.abs(got - expected)) < 2e-5 * radius
            assert abs(np.linalg.norm(np.float64(got)) / radius - 1) < 2e-6


@pytest.mark.parametrize("decades", [0, 4, 8, 16])
def test_sets_follow_bisection_in_float64(x64, decades):
    for seed, size in ((0, 1), (2, 7), (3, 300)):
        y, s, rng = _conditioned(seed, decades, size)
        center, normal = rng.normal(size=(2, size))
        for ratio in RATIOS:
            radius = ratio * np.linalg.norm(y - center)
            onto = L2Ball(jnp.asarray(radius), [jnp.asarray(center)])
            got = FIND(onto, [jnp.asarray(y)], [jnp.asarray(s)])[0]
            expected = projection.in_ball(y, 1 / s, radius, center)
            assert np.max(np.abs(got - expected)) < 1e-13 * np.max(np.abs(y - center))
        for offset in (-3.0, 0.0, np.sum(normal * y) - 1.0):
            half = HalfSpace([jnp.asarray(normal)], jnp.asarray(offset))
            got = FIND(half, [jnp.asarray(y)], [jnp.asarray(s)])[0]
            expected = projection.in_half_space(y, 1 / s, normal, offset)
            change = np.max(np.abs(expected - y)) + np.max(np.abs(y))
            assert np.max(np.abs(got - expected)) < 1e-12 * change


def test_newton_needs_few_steps(monkeypatch):
    """Measured: at most 14 over sixteen decades; the cap is never what ends it."""
    monkeypatch.setattr("arsg_optax.constraints._nearest._NEWTON_STEPS", 16)
    capped = jax.jit(lambda *arguments: nearest(*arguments))  # Traced anew.
    for seed in range(20):
        y, s, _ = _conditioned(seed, 16, 300)
        radius = np.float32(np.linalg.norm(y) / 2)
        x = _join(capped(L2Ball(radius), [np.float32(y)], [np.float32(s)]))
        expected = projection.in_ball(y, 1 / s, np.float64(radius))
        assert np.max(np.abs(x - expected)) < 2e-5 * radius


def test_frozen_elements_stay_bit_for_bit():
    y, s = _split([3.1, -2.2, 0.7, 0.3, 5.3]), _split([1.0, 0.0, 0.5, 1e-3, 0.0])
    ball = FIND(L2Ball(jnp.float32(6.0), _split([0.1, 0.2, 0, 0, 0])), y, s)
    half = FIND(HalfSpace(_split([1.0, 1, 1, 1, 1]), jnp.float32(1.0)), y, s)
    for x in (ball, half):
        assert x[1] == y[1]
        assert x[0][1] == y[0][1]
        assert np.all(x[0][jnp.array([0, 2, 3])] != y[0][jnp.array([0, 2, 3])])


def test_where_frozen_elements_alone_are_outside():
    """The others go to the center first, and only then the frozen ones move."""
    y, s = _split([3.0, 0.0, 4.0, 1.0, -2.0]), _split([0.0, 0.0, 0.0, 1.0, 0.5])
    x = _join(FIND(L2Ball(jnp.float32(2.5)), y, s))
    np.testing.assert_allclose(x, [1.5, 0, 2, 0, 0], rtol=1e-6, atol=1e-25)
    half = HalfSpace(_split([3.0, 0, 4, 0, 0]), jnp.float32(0.0))
    x = _join(FIND(half, y, s))
    np.testing.assert_allclose(x, [0, 0, 0, 1, -2], atol=1e-6)


@pytest.mark.parametrize("kind", ["ball", "half-space"])
@pytest.mark.parametrize("ratio", [0.0, 1e-30, 1e30, jnp.inf])
def test_equal_multipliers_are_the_euclidean_norm(kind, ratio):
    onto, y = _make(kind, np.arange(1.0, 6.0), 2.0), _split([9.0, -3, 8, 1, 2])
    expected = FIND(onto, y, [None, None])
    got = FIND(onto, y, _split([ratio] * SIZE))
    np.testing.assert_allclose(_join(got), _join(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_squares_neither_overflow_nor_vanish(scale):
    y = np.array([3.0, -1.0, 2.0, 0.5, 4.0])
    s = _split([1.0, 0.5, 0.25, 1.0, 0.1])
    ball = L2Ball(jnp.float32(2.0)), L2Ball(jnp.float32(2 * scale))
    a = _split([1.0, 2, -1, 1, 3])
    half = HalfSpace(a, jnp.float32(1.0)), HalfSpace(a, jnp.float32(scale))
    for plain, scaled in (ball, half):
        expected = scale * _join(FIND(plain, _split(y), s))
        got = _join(FIND(scaled, _split(scale * y), s))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * scale)


def test_degenerate_sets_and_points():
    y, c = _split([1.0, 2, 3, 4, 5]), _split([0.5, 0, 0, 1, 1])
    for s in (_split([1.0, 0.5, 1e-8, 0, 1]), [None, None]):
        point = FIND(L2Ball(jnp.float32(0.0), c), y, s)
        np.testing.assert_array_equal(_join(point), _join(c))
        same = FIND(L2Ball(jnp.float32(0.0), c), c, s)
        np.testing.assert_array_equal(_join(same), _join(c))
    assert nearest(L2Ball(jnp.float32(1.0)), [], []) == []
    empty = FIND(L2Ball(jnp.float32(1.0)), [jnp.zeros((0, 3))], [None])
    assert empty[0].shape == (0, 3)
    broken = FIND(L2Ball(jnp.float32(1.0)), _split([jnp.nan, 9, 9, 9, 9]), [None, None])
    assert jnp.isnan(broken[0][0])


def test_members_of_a_batch_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    y, s = jnp.float32(5 * rng.normal(size=(6, 9))), 10 ** rng.uniform(-6, 0, (6, 9))
    radii = jnp.float32([0.0, 0.1, 1.0, 5.0, 10.0, 100.0])
    s = jnp.float32(s)

    def one(radius, y, s):
        return nearest(L2Ball(radius), [y], [s])[0]

    got = jax.jit(jax.vmap(one))(radii, y, s)
    for index in range(6):
        expected = jax.jit(one)(radii[index], y[index], s[index])
        np.testing.assert_allclose(got[index], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_bounds_are_rounded_inward(dtype):
    """0.1 and 0.3 lie between two numbers of 16 bits."""
    box = Box(jnp.float32(0.1), jnp.float32(0.3))
    low, high = (
        float(x) for x in FIND(box, [jnp.array([-1.0, 1.0], dtype)], [None])[0]
    )
    assert 0.1 <= low < 0.1 * (1 + 2**-7)
    assert 0.3 * (1 - 2**-7) < high <= 0.3
    # Nothing lies between: the next number below.
    point = FIND(Box(jnp.float32(0.1), jnp.float32(0.1)), [jnp.ones(1, dtype)], [None])
    assert 0.1 * (1 - 2**-7) < float(point[0][0]) < 0.1


def test_bounds_of_float64_on_float32(x64):
    box = Box(jnp.asarray(0.1), jnp.asarray(0.3))
    points = [jnp.array([-1.0, 1.0], jnp.float32)]
    low, high = np.float64(FIND(box, points, [None])[0])
    assert low >= 0.1
    assert high <= 0.3


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_million_elements(dtype):
    """Sums of many terms in float32 stay within the stated tolerance."""
    rng = np.random.default_rng(0)
    y, a = (jnp.asarray(rng.normal(size=1_000_000), dtype) for _ in range(2))
    s = jnp.float32(10 ** rng.uniform(-4, 0, size=y.shape))
    for onto in (L2Ball(jnp.float32(30.0)), HalfSpace([a], jnp.float32(-1e5))):
        once = FIND(onto, [y], [s])
        x = np.asarray(once[0], np.float64)
        if isinstance(onto, L2Ball):
            excess, unit = np.linalg.norm(x) - 30, 30
        else:
            terms = np.asarray(a, np.float64) * x
            excess, unit = np.sum(terms) + 1e5, np.sum(np.abs(terms)) + 1e5
        assert excess <= _rounding(dtype)[0] * unit
        np.testing.assert_array_equal(FIND(onto, once, [s])[0], once[0])
