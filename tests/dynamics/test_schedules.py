"""Schedules: the papers' values at t = count + 1, their conditions, their use."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.dynamics import schedules

COUNTS = np.arange(50)
T = COUNTS + 1.0


def _values(schedule):
    values = jax.jit(jax.vmap(schedule))(jnp.asarray(COUNTS))
    return np.broadcast_to(np.asarray(values), COUNTS.shape)


def _assert_values(schedule, expected):
    np.testing.assert_allclose(_values(schedule), expected * np.ones(50), rtol=1e-5)


def test_arsg_theorem2():
    found = schedules.arsg_theorem2_schedules(3.0, 400)
    _assert_values(found.learning_rate, 0.15)
    _assert_values(found.b1, 0.999)
    _assert_values(found.observation, 0.1)
    assert found.b2 == 0.99


def test_arsg_theorem3():
    found = schedules.arsg_theorem3_schedules(3.0, b1=0.8, b2=0.9, observation=0.25)
    _assert_values(found.learning_rate, 3 / T)
    _assert_values(found.b1, 0.8 / T**2)
    _assert_values(found.observation, 0.25)
    assert found.b2 == 0.9


def test_namsg_corollary1_and_its_remark():
    found = schedules.namsg_corollary1_schedules(3.0, b1=0.8, decay=0.9)
    _assert_values(found.learning_rate, 3 / np.sqrt(T))
    _assert_values(found.b1, 0.8 * 0.9 ** (T - 1))
    _assert_values(found.distance, 0.8 * 0.9 ** (T - 1))
    found = schedules.namsg_harmonic_schedules(3.0, b1=0.8)
    _assert_values(found.b1, 0.8 / T)
    _assert_values(found.distance, 0.8 / T)


def test_adarem_theorem1():
    found = schedules.adarem_theorem1_schedules(3.0, b1=0.8, resilience=0.5)
    _assert_values(found.learning_rate, 3 / np.sqrt(T))
    _assert_values(found.b1, 0.8)
    _assert_values(found.resilience, 0.5**T)


@pytest.mark.usefixtures("x64")
def test_schedules_are_of_double_precision_under_x64():
    found = schedules.adarem_theorem1_schedules(3.0)
    assert jnp.asarray(found.resilience(jnp.asarray(0))).dtype == jnp.float64
    np.testing.assert_allclose(_values(found.learning_rate), 3 / np.sqrt(T), rtol=1e-15)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: arsg_optax.arsg(**schedules.arsg_theorem2_schedules(1.0, 9)._asdict()),
        lambda: arsg_optax.arsg(**schedules.arsg_theorem3_schedules(1.0)._asdict()),
        # β₁ₜ is below the smallest float32 from t = 127 on.
        lambda: arsg_optax.namsg(
            **schedules.namsg_corollary1_schedules(1.0, decay=0.5)._asdict()
        ),
        lambda: arsg_optax.namsg(**schedules.namsg_harmonic_schedules(1.0)._asdict()),
        lambda: arsg_optax.adarem(**schedules.adarem_theorem1_schedules(1.0)._asdict()),
    ],
)
def test_optimizers_take_schedules_as_they_are_and_stay_finite(optimizer):
    solver = optimizer()

    def step(carry, _):
        x, state = carry
        updates, state = solver.update(x, state, x)
        return (optax.apply_updates(x, updates), state), None

    @jax.jit
    def run(start):
        return jax.lax.scan(step, (start, solver.init(start)), length=300)[0]

    x, state = run(jnp.array([1.0, -2.0]))
    leaves = [x, *jax.tree.leaves(state)]
    assert all(np.all(np.isfinite(np.asarray(leaf, np.float64))) for leaf in leaves)
    assert jnp.sum(jnp.square(x)) < 5


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_corollary_schedules_meet_theorem1(decay):
    corollary = schedules.namsg_corollary1_schedules(1.0, decay=decay)
    harmonic = schedules.namsg_harmonic_schedules(1.0)
    for found in (corollary, harmonic):
        general = schedules.namsg_theorem1_schedules(1.0, found.b1, horizon=2000)
        assert general.distance is general.b1
        np.testing.assert_array_equal(_values(general.b1), _values(found.b1))


def test_theorem1_takes_constants():
    found = schedules.namsg_theorem1_schedules(1.0, 0.9, horizon=10, distance=3.0)
    _assert_values(found.b1, 0.9)
    _assert_values(found.distance, 3.0)


def _falling(count):
    return 0.9 / (jnp.asarray(count, float) + 1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: schedules.arsg_theorem2_schedules(0.0, 9), "step_size must be in (0"),
        (lambda: schedules.arsg_theorem2_schedules(1.0, 0), "horizon must be in [1"),
        (lambda: schedules.arsg_theorem2_schedules(1.0, 9, b1=1.0), "b1 must be in"),
        (lambda: schedules.arsg_theorem2_schedules(1.0, 9, b2=1.0), "b2 must be in"),
        (
            lambda: schedules.arsg_theorem2_schedules(1.0, 9, observation=1.0),
            "observation must be in",
        ),
        # ARSG's own defaults: γ = 0.999 / sqrt(0.99) > 1.
        (
            lambda: schedules.arsg_theorem3_schedules(1.0, b1=0.999),
            "b1 must be in [0, 0.99498744), got 0.999; the theorem needs b1 < sqrt(b2)",
        ),
        (
            lambda: schedules.arsg_theorem3_schedules(1.0, observation=0.05),
            "observation must be in [0.1, 1), got 0.05; Theorem 3 needs",
        ),
        (
            lambda: schedules.namsg_corollary1_schedules(1.0, decay=1.0),
            "decay must be in (0, 1), got 1.0",
        ),
        (
            lambda: schedules.namsg_harmonic_schedules(1.0, b1=0.0),
            "b1 must be in (0, 1), got 0.0",
        ),
        (
            lambda: schedules.namsg_theorem1_schedules(
                1.0, _falling, horizon=99, distance=0.9
            ),
            "distance must be at most b1 / (1 - b1), got 0.9 at step 2",
        ),
        (
            lambda: schedules.namsg_theorem1_schedules(
                1.0, 0.9, horizon=9, distance=0.8
            ),
            "distance must be at least b1, got 0.8 at step 1",
        ),
        (
            lambda: schedules.namsg_theorem1_schedules(
                1.0, optax.linear_schedule(0.5, 0.9, 9), horizon=9
            ),
            "b1 must be nonincreasing, got 0.544444 at step 2",
        ),
        (
            lambda: schedules.namsg_theorem1_schedules(
                1.0, 0.9, horizon=9, distance=optax.linear_schedule(3.0, 0.9, 9)
            ),
            "(1 - b1) (1 + distance) must be nondecreasing, got",
        ),
        (
            lambda: schedules.adarem_theorem1_schedules(1.0, resilience=1.0),
            "resilience must be in [0, 1), got 1.0",
        ),
    ],
)
def test_violated_conditions_are_named(build, message):
    with pytest.raises(ValueError) as raised:
        build()
    assert message in str(raised.value)
