"""The second moments of Adam, RAdam and SAdam under generalized ARSG."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.signal import lfilter

import arsg_optax
from tests.interop import offsets
from tests.problems import deviation, problem, run

STEPS = 200


class Kind(NamedTuple):
    make: Callable[..., optax.GradientTransformationExtraArgs]
    # Updates so far and second moment -> divisor, for default arguments.
    divisor: Callable[[int, np.ndarray], np.ndarray]


KINDS = {
    "adam": Kind(arsg_optax.scale_by_adam_rms, offsets.adam(0.999, 1e-8)),
    "rectified": Kind(
        arsg_optax.scale_by_rectified_rms, offsets.rectified(0.999, 1e-8, 5.0)
    ),
    "softplus": Kind(arsg_optax.scale_by_softplus_rms, offsets.softplus(50.0)),
}
EACH = pytest.mark.parametrize("name", KINDS)


def _path(optimizer, task):
    return [params for params, _, _ in run(optimizer, task, jnp.float64)]


def _normal(steps, size, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, size)).astype(np.float32)


def _scan(link, gradients, params=None):
    """Updates and states of successive gradients, stacked."""

    def step(state, gradient):
        update, state = link.update(gradient, state, params)
        return state, (update, state)

    gradients = jnp.asarray(gradients)
    start = link.init(gradients[0] if params is None else params)
    # As an argument: the compiler computes with constants itself, by other rounding.
    return jax.jit(lambda values: jax.lax.scan(step, start, values)[1])(gradients)


def _assert_same_path(one, other, noise):
    task = problem(0, "tree", noise, STEPS)
    assert deviation(_path(one, task), _path(other, task), task.start) < 1e-12


# Optax's Adam and RAdam raise a float to an integer power.
@pytest.mark.parametrize(
    ("b1", "b2", "eps", "noise"),
    [(0.9, 0.999, 1e-8, 0.3), (0.0, 0.9, 1e-3, 0.3), (0.99, 0.9, 1e-8, 0.0)],
)
def test_observation_zero_with_debias_is_adam(
    b1, b2, eps, noise, x64, relaxed_promotion
):
    preconditioner = arsg_optax.scale_by_adam_rms(b2, eps)
    ours = arsg_optax.arsg(
        0.01, b1, observation=0.0, preconditioner=preconditioner, debias=True
    )
    _assert_same_path(ours, optax.adam(0.01, b1, b2, eps), noise)


# The farther b2 is from 1, the fewer digits Optax's form of rho_t loses.
@pytest.mark.parametrize(
    ("b2", "threshold", "noise"),
    [
        (0.999, 5.0, 0.3),
        (0.99, 6.5, 0.3),
        (0.9, 5.0, 0.0),
        (0.8, 4.0, 0.3),
        (0.5, 5.0, 0.3),
    ],
)
def test_observation_zero_with_debias_is_radam(
    b2, threshold, noise, x64, relaxed_promotion
):
    preconditioner = arsg_optax.scale_by_rectified_rms(b2, threshold=threshold)
    ours = arsg_optax.arsg(
        0.01, 0.9, observation=0.0, preconditioner=preconditioner, debias=True
    )
    _assert_same_path(ours, optax.radam(0.01, 0.9, b2, threshold=threshold), noise)


def test_a_large_sharpness_is_a_bare_root(x64):
    """SAdam has no twin in Optax; RMSProp is its limit."""
    sharp = arsg_optax.scale_by_softplus_rms(0.9, sharpness=1e30)
    task = problem(2, "tree", 0.3, STEPS)
    ours = arsg_optax.arsg(0.01, 0.0, observation=0.0, preconditioner=sharp)
    theirs = optax.rmsprop(0.01, 0.9, eps=1e-30)
    assert deviation(_path(ours, task), _path(theirs, task), task.start) < 1e-12


@EACH
def test_a_fresh_denominator_is_finite_and_positive(name):
    for params in (jnp.zeros(3), jnp.zeros((), jnp.bfloat16)):
        (divisor,) = jax.tree.leaves(KINDS[name].make().init(params).denominator())
        assert divisor.shape == params.shape
        assert np.all(np.isfinite(divisor)) and np.all(np.asarray(divisor) > 0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@EACH
def test_the_denominator_is_what_was_divided_by(name, dtype):
    gradients = _normal(20, 50)
    updates, states = _scan(KINDS[name].make(nu_dtype=dtype), gradients)
    divisors = jax.vmap(lambda state: state.denominator())(states)
    np.testing.assert_allclose(updates * divisors, gradients, rtol=1e-6)


@EACH
def test_the_denominator_and_the_iterate_against_numpy(name, x64):
    """Over the fifth update, where the rectified kind begins to divide."""
    kind, gradients = KINDS[name], _normal(30, 4).astype(np.float64)
    optimizer = arsg_optax.arsg(
        0.1, 0.9, observation=0.3, preconditioner=kind.make(), debias=True
    )
    offset = offsets.remote_over(0.9, 0.3, 0.999, kind.divisor)
    params = jnp.asarray(gradients[0])
    state = optimizer.init(params)
    for t, gradient in enumerate(gradients):
        _, state = optimizer.update(jnp.asarray(gradient), state, params)
        got: Any = arsg_optax.eval_params(state, params)
        expected = offset(list(gradients[: t + 1]), 0.1)
        np.testing.assert_allclose(got - params, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("b2", "late"), [(0.99, 5e-6), (0.999, 5e-5), (0.9999, 5e-4)])
def test_the_corrected_root_in_float32(b2, late):
    """To rounding in the beginning; later as v itself, by about 6e-8/(1-b2)."""
    gradients = _normal(30_000, 8)
    _, states = _scan(arsg_optax.scale_by_adam_rms(b2), gradients)
    got = np.asarray(jax.vmap(lambda state: state.denominator())(states), np.float64)
    v = lfilter([1 - b2], [1, -b2], gradients.astype(np.float64) ** 2, axis=0)
    kept = -np.expm1(np.arange(1, len(v) + 1) * math.log(b2))
    error = np.abs(got / (np.sqrt(v / kept[:, None]) + 1e-8) - 1)
    assert np.max(error[:10]) < 5e-7
    assert np.max(error) < late


def test_the_weight_stays_right_when_b2_changes():
    optimizer = optax.inject_hyperparams(arsg_optax.scale_by_adam_rms)(0.9, 0.1)
    gradients, decays = _normal(12, 5), [0.9, 0.5, 0.99] * 4
    state: Any = optimizer.init(jnp.zeros(5))
    v, kept = np.zeros(5), 1.0
    for gradient, b2 in zip(gradients, decays, strict=True):
        state.hyperparams["b2"] = jnp.float32(b2)
        update, state = optimizer.update(jnp.asarray(gradient), state)
        v, kept = b2 * v + (1 - b2) * gradient.astype(np.float64) ** 2, b2 * kept
        expected = gradient / (np.sqrt(v / (1 - kept)) + 0.1)
        np.testing.assert_allclose(update, expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("adam", {"b2": 0.5, "eps": 0.3}),
        ("rectified", {"b2": 0.9, "eps": 0.3, "threshold": 6.5}),
        ("softplus", {"b2": 0.9, "eps": 0.9, "sharpness": 2.0}),
    ],
)
def test_traced_arguments_are_the_numbers(name, changed):
    make, gradients = KINDS[name].make, jnp.asarray(_normal(12, 6))
    defaults, _ = _scan(make(), gradients)
    for key, value in changed.items():
        one, _ = _scan(make(**{key: value}), gradients)
        assert not np.allclose(one, defaults, rtol=1e-4), key
    expected, _ = _scan(make(**changed), gradients)
    traced = jax.jit(lambda arguments: _scan(make(**arguments), gradients)[0])(
        {key: jnp.float32(value) for key, value in changed.items()}
    )
    np.testing.assert_allclose(traced, expected, rtol=1e-5)


def test_eps_is_the_smallest_divisor_of_the_softplus():
    link = arsg_optax.scale_by_softplus_rms(0.0, 1e-3, sharpness=1e30)
    gradient = jnp.array([0.0, 1e-5, 1e-3, 2.0, 1e15])
    update, state = link.update(gradient, link.init(gradient))
    np.testing.assert_allclose(state.denominator(), [1e-3, 1e-3, 1e-3, 2, 1e15])
    np.testing.assert_allclose(update, [0, 1e-2, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("sharpness", [50.0, 1e-30, 3e38, 2e-38])
def test_any_sharpness_is_finite(sharpness):
    link = arsg_optax.scale_by_softplus_rms(sharpness=sharpness)
    gradient = jnp.array([0.0, 1e-30, 1.0, 1e18])
    update, state = link.update(gradient, link.init(gradient))
    for found in (update, state.denominator()):
        assert np.all(np.isfinite(found))
    assert np.all(np.asarray(state.denominator()) > 0)


@pytest.mark.parametrize("nu_dtype", [None, "bfloat16"])
@EACH
def test_an_overflowed_element_stops_and_the_others_go_on(name, nu_dtype):
    optimizer = arsg_optax.arsg(0.1, preconditioner=KINDS[name].make(nu_dtype=nu_dtype))
    gradients = np.ones((300, 2), np.float32)
    calm, _ = _scan(optimizer, gradients, jnp.ones(2))
    gradients[2, 0] = 1e30
    updates, states = _scan(optimizer, gradients, jnp.ones(2))
    assert np.all(np.isfinite(updates))
    np.testing.assert_array_equal(updates[:, 1], calm[:, 1])
    assert np.all(calm != 0) and updates[-1, 0] == 0
    last = jax.tree.map(lambda leaf: leaf[-1], states)
    assert all(np.all(np.isfinite(np.float32(x))) for x in jax.tree.leaves(last))
    point: Any = arsg_optax.eval_params(last, jnp.ones(2))
    assert point[0] == 1


@EACH
def test_squares_beyond_the_storage_saturate_there(name, x64):
    gradients = np.tile([1e25, 1.0], (10, 1))
    updates, states = _scan(KINDS[name].make(nu_dtype="float32"), gradients)
    assert states.nu.dtype == jnp.float32
    assert np.all(np.isfinite(states.nu))
    assert updates[-1, 0] == 0 and updates[-1, 1] != 0


@EACH
def test_a_nan_is_not_hidden(name):
    gradients = np.ones((10, 2), np.float32)
    gradients[0, 0] = np.nan
    updates, states = _scan(KINDS[name].make(), gradients)
    assert np.all(np.isnan(states.nu[:, 0]))
    assert np.isnan(updates[-1, 0]) and np.all(np.isfinite(updates[:, 1]))


@EACH
def test_second_moments_in_bfloat16_are_unbiased(name):
    size = 2048
    keys = jax.random.split(jax.random.key(0), 2000)

    def nu_after(dtype):
        link = KINDS[name].make(b2=0.99, nu_dtype=dtype)

        def step(state, key):
            return link.update(jax.random.normal(key, (size,)), state)[1], None

        state, _ = jax.lax.scan(step, link.init(jnp.zeros(size)), keys)
        assert state.nu.dtype == dtype
        return np.asarray(state.nu, np.float64)

    wide = nu_after(jnp.float32)
    difference = (nu_after(jnp.bfloat16) - wide) / np.mean(wide)
    error = np.std(difference) / np.sqrt(size)
    assert abs(np.mean(difference)) < 4.5 * error
    assert error < 1e-3


@EACH
def test_what_is_refused(name):
    make = KINDS[name].make
    with pytest.raises(ValueError, match=r"nu_dtype must be .*bfloat16"):
        make(nu_dtype=jnp.float16)
    extra = {"adam": "eps_root", "rectified": "threshold", "softplus": "sharpness"}
    arguments = ["b2", "eps", *([extra[name]] if name in extra else [])]
    for argument in arguments:
        with pytest.raises(ValueError, match=r"hyperparam_dtype=jnp\.float32"):
            make(**{argument: jnp.bfloat16(0.5)})
        if (name, argument) != ("adam", "b2"):
            with pytest.raises(ValueError, match=rf"{argument} must be .*no schedule"):
                make(**{argument: lambda count: 0.5})
        with pytest.raises(ValueError, match=f"{argument} must be a number"):
            make(**{argument: None})


def test_adam_rms_with_a_root_constant_a_schedule_and_without_correction(x64):
    """Line by line in NumPy: b2 moves, eps_root stands inside the root."""
    gradients = np.random.default_rng(0).normal(size=(30, 4))
    decays = jnp.asarray(np.linspace(0.5, 0.99, 30))
    for debias in (True, False):
        link = arsg_optax.scale_by_adam_rms(
            lambda count: decays[count], 1e-3, eps_root=1e-2, debias=debias
        )
        state = link.init(jnp.zeros(4))
        v, weight = np.zeros(4), 0.0
        for g, b2 in zip(gradients, np.asarray(decays), strict=True):
            update, state = link.update(jnp.asarray(g), state)
            v, weight = b2 * v + (1 - b2) * g**2, b2 * weight + 1 - b2
            scale = np.sqrt(v / (weight if debias else 1.0) + 1e-2) + 1e-3
            np.testing.assert_allclose(update, g / scale, rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_updates_can_be_differentiated_where_a_gradient_is_zero(name):
    def moved(gradient):
        link = KINDS[name].make()
        state = link.init(gradient)
        for _ in range(2):
            update, state = link.update(gradient, state)
        return jnp.sum(update)

    slopes = jax.grad(moved)(jnp.array([1.0, 0.0, -1e-3]))
    assert jnp.all(jnp.isfinite(slopes))
