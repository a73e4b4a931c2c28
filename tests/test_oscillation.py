"""Path per displacement: the paper's index, and a link that changes nothing."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import arsg_optax
from arsg_optax import TrackOscillationState, track_oscillation
from tests.interop.steps import (
    assert_close,
    assert_identical,
    gradients,
    signature,
    tree,
)
from tests.problems import problem, run
from tests.reference.oscillation import oscillation

STEPS = 200
BOUND = 2.0**23
WINDOWS = pytest.mark.parametrize("window", [None, 7, 1])


@functools.cache
def _scan(window):
    tracker = track_oscillation(window=window)

    def step(state, update):
        return tracker.update(update, state)[1], None

    return jax.jit(lambda u: jax.lax.scan(step, tracker.init(u[0]), u)[0])


def _feed(updates, window=None) -> Any:
    """The state after a sequence of updates of one vector, compiled."""
    return _scan(window)(jnp.asarray(updates))


@WINDOWS
@pytest.mark.parametrize(
    ("make", "seed", "shapes", "noise"),
    [(arsg_optax.arsg, 0, "vector", 0.1), (arsg_optax.adarem, 1, "tree", 1.0)],
)
def test_follows_the_transcription(make, seed, shapes, noise, window, x64):
    task = problem(seed, shapes, noise, STEPS)
    optimizer = optax.chain(make(0.1), track_oscillation(window=window))
    positions, states = [task.start], []
    for params, _, state in run(optimizer, task, jnp.float64):
        positions.append(params)
        states.append(state[1])
    expected = oscillation(np.stack(positions), window)
    measure = jax.jit(lambda s: (s.oscillation(), s.oscillation_by_parameter()))
    longest = np.sum(np.abs(np.diff(positions, axis=0)), axis=0)
    for state, (path, displacement, q, mean) in zip(states, expected, strict=True):
        # Differences of rounded positions against the updates: both to 1e-12.
        assert np.all(np.abs(task.flat(state.path) - path) < 1e-12 * longest)
        got = np.abs(task.flat(state.displacement))
        assert np.all(np.abs(got - displacement) < 1e-12 * longest)
        overall, by_parameter = measure(state)
        inverse = 1 / task.flat(by_parameter)
        np.testing.assert_allclose(inverse, 1 / q, rtol=0, atol=1e-12)
        np.testing.assert_allclose(overall, mean, rtol=1e-12 * np.max(q))


@WINDOWS
def test_q_is_that_of_the_transcription_where_positions_are_exact(window, x64):
    updates = np.random.default_rng(0).integers(-8, 9, size=(STEPS, 30)) / 16
    updates[:, 0], updates[1::2, 1], updates[::2, 1] = 0, 0.5, -0.5
    positions = np.cumsum(np.r_[np.zeros((1, 30)), updates], axis=0)
    steps = list(oscillation(positions, window))
    for count in (1, 2, 7, 8, 100, STEPS):
        _, _, q, mean = steps[count - 1]
        state = _feed(updates[:count], window)
        got = state.oscillation_by_parameter()
        np.testing.assert_allclose(got, q, rtol=1e-12)
        np.testing.assert_allclose(state.oscillation(), mean, rtol=1e-12)


def test_float32_follows_float64():
    rng = np.random.default_rng(0)
    updates = rng.normal(size=(STEPS, 50)) + 0.5
    *_, (_, _, _, mean) = oscillation(
        np.cumsum(np.r_[np.zeros((1, 50)), updates], axis=0)
    )
    assert_close(_feed(updates.astype(np.float32)).oscillation(), mean, 1e-5)


def test_by_leaf_and_overall():
    tracker = track_oscillation()
    params = {"a": [jnp.zeros(2)], "b": jnp.zeros(()), "still": jnp.zeros(3)}
    state = tracker.init(params)
    for sign in (1.0, 1.0, -1.0):
        moved = {"a": [jnp.array([1.0, sign])], "b": jnp.float32(2.0)}
        _, state = tracker.update({**moved, "still": jnp.zeros(3)}, state)
    # q is 1 and 3 in a, 1 in b.
    by_leaf = state.oscillation_by_leaf()
    assert by_leaf == {"a/0": 2.0, "b": 1.0, "still": 0.0}
    np.testing.assert_allclose(state.oscillation(), 5 / 3, rtol=1e-6)
    assert signature(by_leaf) == signature(state.oscillation()) * 3
    jitted = jax.jit(TrackOscillationState.oscillation_by_leaf)(state)
    assert_identical(jitted, by_leaf)
    bare = track_oscillation()
    _, single = bare.update(jnp.ones(2), bare.init(jnp.zeros(2)))
    assert single.oscillation_by_leaf() == {"": 1.0}


@WINDOWS
def test_returns_the_very_same_objects(window):
    tracker, updates = track_oscillation(window=window), gradients(1)[0]
    assert isinstance(tracker, optax.GradientTransformationExtraArgs)
    out, _ = tracker.update(updates, tracker.init(tree(0)), tree(0), nobody_knows=1)
    assert out is updates
    assert all(a is b for a, b in zip(out.values(), updates.values(), strict=True))


def test_a_window_restarts_with_the_update_after_it():
    updates = np.arange(1, 9, dtype=np.float32)[:, None] * np.array([1, -1], np.float32)
    for steps, count, first in [(3, 3, 0), (4, 1, 3), (6, 3, 3), (7, 1, 6)]:
        state = _feed(updates[:steps], window=3)
        assert state.count == count
        assert_identical(state.displacement, jnp.asarray(updates[first:steps].sum(0)))
        assert_identical(state.path, jnp.abs(state.displacement))


def test_a_window_forgets_a_nan():
    updates = np.ones((4, 1), np.float32)
    updates[1] = np.nan
    assert np.isnan(_feed(updates).oscillation())
    assert np.isnan(_feed(updates[:2], window=2).oscillation())
    assert _feed(updates, window=2).oscillation() == 1.0


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_update_is_seen(bad):
    assert np.isnan(_feed(np.array([[1.0], [bad]], np.float32)).oscillation())


def test_nothing_moved_and_coming_back_are_finite():
    still = _feed(np.zeros((3, 4), np.float32))
    assert still.oscillation() == 0
    back = _feed(np.array([[1.0], [-1.0]], np.float32))
    assert back.oscillation() == BOUND
    # The sum of lengths overflows, the displacement does not.
    far = np.array([[3e38], [-3e38], [3e38]], np.float32)
    assert _feed(far).oscillation() == BOUND


def test_the_bound_is_that_of_float32_in_float64_too(x64):
    assert _feed(np.array([[1.0], [-1.0]])).oscillation() == BOUND


_ELEMENT = st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)
_MOVES = st.lists(_ELEMENT, min_size=24, max_size=24).map(
    lambda x: np.array(x, np.float32).reshape(6, 4)
)


@given(updates=_MOVES)
def test_q_is_at_least_one_where_a_parameter_moved(updates):
    state = _feed(updates)
    q = np.asarray(state.oscillation_by_parameter())
    moved = np.any(updates != 0, axis=0)
    assert np.all(q[moved] >= 1)
    assert np.all(q <= BOUND)
    assert np.all(q[~moved] == 0)
    assert 1 <= state.oscillation() <= BOUND or not moved.any()


@given(updates=_MOVES)
def test_a_monotone_path_has_q_of_one(updates):
    for sign in (1, -1):
        state = _feed(sign * np.abs(updates))
        assert state.oscillation() == float(np.any(updates != 0))


_ORDINARY = st.floats(2**-10, 2**10, width=32) | st.floats(
    -(2**10), -(2**-10), width=32
)
_STEPS = st.lists(_ORDINARY, min_size=24, max_size=24).map(
    lambda x: np.array(x, np.float32).reshape(6, 4)
)


@given(updates=_STEPS, exponent=st.integers(-60, 60))
def test_invariant_to_powers_of_two(updates, exponent):
    scaled = np.ldexp(updates, exponent)
    one, other = _feed(updates), _feed(scaled)
    assert_identical(one.oscillation_by_parameter(), other.oscillation_by_parameter())
    assert one.oscillation() == other.oscillation()


@pytest.mark.parametrize("window", [0, -1, 2.0, True, "10", 2**31, jnp.int32(3)])
def test_windows_that_are_none(window):
    with pytest.raises(
        ValueError, match=r"^window must be None or .*, got .*; pass .+\."
    ):
        track_oscillation(window=window)


def test_trees_that_do_not_fit():
    tracker = track_oscillation()
    with pytest.raises(ValueError, match=r"params must be real.*optax\.masked"):
        tracker.init({"a": jnp.ones(2, jnp.int32)})
    state = tracker.init(tree(0))
    with pytest.raises(ValueError, match="updates must have the tree structure"):
        tracker.update({"w": jnp.ones((2, 3))}, state)


def test_sums_of_sixteen_bit_updates_do_not_stall():
    """In bfloat16 a sum of equal updates would stop at 256 of them."""
    state = _feed(np.ones((1000, 1), jnp.bfloat16))
    assert state.displacement[0] == 1000
