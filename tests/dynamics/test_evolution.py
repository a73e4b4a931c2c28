"""Gain and noise along time, against the update itself, impulse by impulse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import hyperparams
from arsg_optax.dynamics import gain_and_noise, gain_matrix, variance_limit
from tests.dynamics import reference

_CURVATURE = np.array([-0.02, 0.0, 0.01, 0.3, 1.5])
_STEPS = 60
_COUNTS = np.array([0, 1, 2, 7, 30, 59, 60])


def _check(found, held, iterate, rtol=1e-12):
    """The mean is the response to the start; errors are independent."""
    for points, gain, noise in (
        (held, found.gain, found.noise),
        (iterate, found.iterate_gain, found.iterate_noise),
    ):
        points = points[_COUNTS]
        np.testing.assert_allclose(gain, points[:, 0], rtol, rtol)
        variance = np.sum(points[:, 1:] ** 2, axis=1)
        np.testing.assert_allclose(noise, variance, rtol, rtol * variance.max())


def _moving(index, library):
    """The learning rate, b1, observation or distance as a function of time."""

    def value(count):
        t = library.asarray(count, float)
        b1, observation = (t + 1) / (t + 5), 1 / (1 + (t + 2) ** 0.5)
        rate = 0.9 + 0.3 * library.sin(t)
        return (rate, b1, observation, observation * b1 / (1 - b1))[index]

    return value


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("ahead", ["observation", "distance"])
def test_it_is_the_update_with_moving_values(x64, exact, ahead):
    literal = [_moving(index, np) for index in range(4)]
    held, iterate = reference.responses(_CURVATURE, *literal, exact, _STEPS)
    rate, b1, observation, distance = (_moving(index, jnp) for index in range(4))
    ahead = {ahead: observation if ahead == "observation" else distance}
    found = gain_and_noise(_CURVATURE, rate, b1, **ahead, exact=exact, counts=_COUNTS)
    _check(found, held, iterate)


_FAMILY = {
    "schedule-free": hyperparams.from_schedule_free(0.8, 0.9),
    "weighted schedule-free": hyperparams.from_schedule_free(0.8, 0.9, power=2.0),
    "GPA": hyperparams.from_gpa(0.7, 0.9, 0.7),
    "ADana": hyperparams.from_adana(0.2, 8.0, 0.85),
    "heavy ball": hyperparams.from_heavy_ball(0.1, 0.9),
    "log-time": hyperparams.RSGParams(
        0.8, arsg_optax.log_time_momentum(4.0), arsg_optax.falling_observation()
    ),
}


@pytest.mark.parametrize("name", _FAMILY)
def test_it_is_rsg_with_converted_values(x64, name):
    params = _FAMILY[name]
    optimizer = arsg_optax.rsg(**params._asdict())
    errors = np.zeros((_STEPS, _STEPS + 1, len(_CURVATURE)))
    errors[np.arange(_STEPS), np.arange(_STEPS) + 1] = _CURVATURE
    start = jnp.zeros(errors.shape[1:]).at[0].set(1.0)

    def step(carry, error):
        y, state = carry
        updates, state = optimizer.update(_CURVATURE[None] * y + error, state, y)
        y = jnp.asarray(optax.apply_updates(y, updates))
        return (y, state), (y, arsg_optax.eval_params(state, y))

    points = jax.lax.scan(step, (start, optimizer.init(start)), errors)[1]
    held, iterate = (np.concatenate([start[None], each]) for each in points)
    found = gain_and_noise(_CURVATURE, **params._asdict(), counts=_COUNTS)
    _check(found, held, iterate)


def test_constant_values_give_the_power_and_the_limit(x64):
    tau, b1, mu = _CURVATURE[2:], 0.9, np.array([[0.0], [0.1], [0.4]])
    counts = np.array([3, 50, 5000])
    found = gain_and_noise(tau, 1.0, b1, mu, counts=counts)
    assert {part.shape for part in found} == {(3, 3, 3)}
    matrix = np.asarray(gain_matrix(tau, b1, mu))
    for count, gain in zip(counts, found.gain, strict=True):
        power = np.linalg.matrix_power(matrix, count)
        np.testing.assert_allclose(gain, power[..., 1, 1], 1e-10, 1e-12)
    limit = variance_limit(tau, b1, mu)
    np.testing.assert_allclose(found.noise[-1], limit, rtol=1e-10)
    exact = gain_and_noise(tau, 1.0, b1, mu, exact=True, counts=counts)
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one, other, 1e-10, 1e-13)


def test_schedules_may_hold_what_vmap_traces():
    counts, delta = np.arange(20), jnp.array([2.0, 8.0])

    @jax.jit
    def after(delta):
        b1 = arsg_optax.log_time_momentum(delta)
        return gain_and_noise(0.3, 1.0, b1, 0.1, counts=counts)

    columns = jax.vmap(after, out_axes=1)(delta)
    for index, each in enumerate(delta):
        for one, other in zip(columns, after(each), strict=True):
            np.testing.assert_allclose(one[:, index], other, rtol=1e-5)

    def wide(count):
        steps = jnp.asarray(count, float) + 1
        return steps / (steps + delta)

    for one, other in zip(
        columns, gain_and_noise(0.3, 1.0, wide, 0.1, counts=counts), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize(
    "counts", [[], [0.0, 1.0], [-1, 2], [3, 3], [[1, 2]], 5], ids=str
)
def test_counts_must_increase(counts):
    with pytest.raises(ValueError, match="counts must be integers of at least 0 in"):
        gain_and_noise(1.0, 1.0, 0.9, 0.1, counts=counts)


def test_the_start_alone():
    found = gain_and_noise(1.0, 1.0, 0.9, 0.1, counts=[0])
    assert [float(part[0]) for part in found] == [1, 0, 1, 0]


def test_one_of_observation_and_distance():
    for given in ({}, {"observation": 0.1, "distance": 1.0}):
        with pytest.raises(ValueError, match="exactly one of observation and distance"):
            gain_and_noise(1.0, 1.0, 0.9, **given, counts=[1])


def test_single_precision_loses_little(x64):
    curvature, counts = np.geomspace(1e-4, 3.0, 20), np.array([10, 100, 1000])
    params = _FAMILY["log-time"]._asdict()
    for exact in (False, True):
        params["exact"] = exact
        narrow = gain_and_noise(np.float32(curvature), **params, counts=counts)
        wide = gain_and_noise(curvature, **params, counts=counts)
        for one, other in zip(narrow, wide, strict=True):
            assert one.dtype == jnp.float32
            np.testing.assert_allclose(one, other, 1e-3, 1e-5)
