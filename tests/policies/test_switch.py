"""SWNTS at the switch, and after it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arsg_optax
from tests.problems import constant, problem, run
from tests.reference.switch import swnts

STEPS, SWITCH = 40, 25


def _link(switch_at=1, preconditioner=None):
    inner = preconditioner or arsg_optax.scale_by_nonincreasing_rms()
    return arsg_optax.switch_to_sgd(inner, switch_at=switch_at)


def test_the_projection_of_the_new_step_onto_the_old_one_is_the_old_one(x64):
    task = problem(0, "tree", 0.3, STEPS)
    steps = swnts(
        task.gradient,
        task.start,
        constant(0.02),
        constant(0.9),
        0.99,
        constant(0.9),
        1e-8,
        STEPS,
        SWITCH,
    )
    old, new = [(u, step) for _, u, step in steps][SWITCH]
    held = [task.start, *(y for y, *_ in run_swnts(task))]
    taken = held[SWITCH] - held[SWITCH + 1]
    np.testing.assert_allclose(taken, new, rtol=1e-10)
    onto_old = old * np.dot(taken, old) / np.dot(old, old)
    np.testing.assert_allclose(onto_old, old, rtol=1e-10)


def run_swnts(task, rate=0.02):
    optimizer = arsg_optax.swnts(rate, switch_at=SWITCH)
    return list(run(optimizer, task, jnp.float64))


@given(
    directions=st.lists(
        st.floats(-4, 4, width=32, allow_subnormal=False), min_size=5, max_size=5
    ),
    divisors=st.lists(st.floats(0.125, 8, width=32), min_size=5, max_size=5),
)
@settings(max_examples=60)
def test_the_projection_identity_for_any_direction(directions, divisors):
    direction, divisor = np.array(directions), np.array(divisors)
    if np.sum(direction**2) < 1e-3:
        return
    scaled = optax.GradientTransformation(
        lambda params: optax.EmptyState(),
        lambda u, state, params=None: (u / jnp.asarray(divisor, jnp.float32), state),
    )
    link = _link(0, scaled)
    given_ = jnp.asarray(direction, jnp.float32)
    got, state = link.update(given_, link.init(given_))
    old = direction / divisor
    np.testing.assert_allclose(np.dot(got, old) / np.dot(old, old), 1.0, rtol=1e-5)
    assert bool(state.switched)


def test_before_the_switch_it_is_the_preconditioner():
    task = problem(1, "tree", 0.3, SWITCH)
    plain = run(arsg_optax.namsg(0.02), task, jnp.float32)
    optimizer = arsg_optax.swnts(0.02, switch_at=SWITCH)
    for (a, x, _), (b, y, _) in zip(
        run(optimizer, task, jnp.float32), plain, strict=True
    ):
        # Compiled apart, their products and sums round apart.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_after_the_switch_it_is_rsg_at_the_measured_rate(x64):
    task = problem(2, "tree", 0.3, STEPS)
    (y, _, state), *rest = run_swnts(task)[SWITCH:]
    (switch,) = state.links
    rate = 0.02 * float(switch.scale)
    mu = arsg_optax.hyperparams.observation_from_distance(0.9, 0.9)
    m, shapes = task.flat(state.mu), task
    for t, (got, iterate, after) in enumerate(rest, SWITCH + 1):
        g = shapes.gradient(t, y)
        m = 0.9 * m + 0.1 * g
        y = y - rate * ((1 - mu) * m + mu * g)
        np.testing.assert_allclose(got, y, rtol=1e-10)
        np.testing.assert_allclose(iterate, y + 0.9 * rate * m, rtol=1e-10)
        # The preconditioner's state rests.
        for a, b in zip(
            jax.tree.leaves(after.links[0].preconditioner_state),
            jax.tree.leaves(switch.preconditioner_state),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_a_schedule_goes_on_after_the_switch(x64):
    task = problem(3, "tree", 0.3, STEPS)
    schedule = optax.exponential_decay(0.02, 10, 0.5)
    held = [task.start, *(y for y, *_ in run_swnts(task, schedule))]
    steps = swnts(
        task.gradient,
        task.start,
        lambda t: 0.02 * 0.5 ** (t / 10),
        constant(0.9),
        0.99,
        constant(0.9),
        1e-8,
        STEPS,
        SWITCH,
    )
    for got, (expected, *_) in zip(held[1:], steps, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)  # float32 schedule


def test_the_switch_waits_for_a_positive_product():
    against = optax.GradientTransformation(
        lambda params: optax.EmptyState(),
        lambda u, state, params=None: (jax.tree.map(lambda x: x - 1.0, u), state),
    )
    link, state = _link(0, against), None
    switched = []
    for size in (0.5, 0.0, 0.9, 2.0, 0.5):
        u = jnp.full(2, size)
        state = link.init(u) if state is None else state
        out, state = link.update(u, state)
        switched.append(bool(state.switched))
        expected = u * state.scale if switched[-1] else u - 1.0
        np.testing.assert_allclose(out, expected)
    assert switched == [False, False, False, True, True]
    np.testing.assert_allclose(state.scale, 0.5)


def test_metrics_and_a_rejected_gradient():
    optimizer = optax.apply_if_finite(arsg_optax.swnts(0.1, switch_at=1), 5)
    params = jnp.ones(3)
    update, state = jax.jit(optimizer.update), optimizer.init(params)
    _, state = update(params, state, params)
    before = state.inner_state
    updates, state = update(params * jnp.nan, state, params)
    np.testing.assert_array_equal(updates, 0 * params)
    for a, b in zip(*map(jax.tree.leaves, (before, state.inner_state)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not arsg_optax.metrics(state)["switched"]
    _, state = update(params, state, params)
    assert arsg_optax.metrics(state)["switched"]


def test_another_preconditioner_can_be_switched_off():
    optimizer = arsg_optax.swnts(
        0.1, switch_at=1, preconditioner=arsg_optax.scale_by_adam_rms()
    )
    params = jnp.array([1.0, 2.0])
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update(params, state, params)
        params = optax.apply_updates(params, updates)
        point = arsg_optax.eval_params(state, params)
        assert jnp.all(jnp.isfinite(point)) and jnp.any(point != params)


def test_an_unknown_preconditioner_is_refused_by_eval_params(relaxed_promotion):
    optimizer = arsg_optax.swnts(0.1, switch_at=1, preconditioner=optax.scale_by_rms())
    params = jnp.ones(2)
    _, state = optimizer.update(params, optimizer.init(params), params)
    with pytest.raises(ValueError, match="got ScaleByRmsState"):
        arsg_optax.eval_params(state, params)


@pytest.mark.parametrize(
    "around",
    [
        lambda link: optax.masked(
            link, {"a": True, "b": False}, mask_compatible_extra_args=True
        ),
        lambda link: optax.partition(
            {"one": link, "two": optax.identity()},
            {"a": "one", "b": "two"},
            mask_compatible_extra_args=True,
        ),
    ],
    ids=["masked", "partition"],
)
def test_a_masked_preconditioner_is_refused(around):
    link = around(arsg_optax.scale_by_nonincreasing_rms())
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    with pytest.raises(ValueError, match="preconditioner must divide every leaf"):
        _link(1, link).init(params)
    whole = optax.masked(arsg_optax.swnts(0.1, switch_at=1), {"a": True, "b": False})
    whole.init(params)


@pytest.mark.parametrize("switch_at", [-1, 0.5, 2**31, "later", None])
def test_switch_at_is_a_whole_number(switch_at):
    with pytest.raises(ValueError, match="switch_at must be a"):
        _link(switch_at)
