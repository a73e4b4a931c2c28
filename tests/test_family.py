"""Conversions of recent methods: each beside its source, limits, arguments."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import hyperparams as hp
from tests.family import CASES, STEPS, deviations, float_schedule, transcribed
from tests.problems import constant, deviation, problem, run
from tests.reference import family as source


@pytest.mark.parametrize("name", CASES)
def test_follows_its_source_and_optax(name, x64, relaxed_promotion):
    found = deviations(name)
    assert all(each < 1e-12 for each in found.values()), found


def _directions(optimizer, gradients):
    def step(state, gradient):
        direction, state = optimizer.update(gradient, state)
        return state, direction

    return jax.lax.scan(step, optimizer.init(gradients[0]), gradients)[1]


def test_mars_with_the_first_gradient_in_place_of_zero_differs_by_a_transient(x64):
    # The same gradients everywhere, so that the momenta can be compared.
    gradients = np.random.default_rng(0).normal(size=(200, 5))
    b1, gamma = 0.9, 0.025
    paths = [
        source.mars_approx(np.zeros(5), constant(1.0), b1, gamma, from_zero)
        for from_zero in (True, False)
    ]
    zero, first = ([next(path)[0]] for path in paths)
    for g in gradients:
        zero.append(paths[0].send(g)[0])
        first.append(paths[1].send(g)[0])
    apart = np.diff(np.array(first) - np.array(zero), axis=0)
    steps = np.arange(1, 201)[:, None]
    expected = gamma * b1**steps * gradients[0]
    np.testing.assert_allclose(apart, expected, rtol=0, atol=1e-12)
    params = hp.from_mars_approx(1.0, b1, gamma)
    ours = _directions(arsg_optax.rsg(**params._asdict()), jnp.asarray(gradients))
    np.testing.assert_allclose(ours, np.diff(zero, axis=0), rtol=0, atol=1e-12)


def test_muon_in_optax_tends_to_ours_as_momentum_to_the_power_of_t(
    x64, relaxed_promotion
):
    momentum = 0.95
    gradients = jax.random.normal(jax.random.key(0), (400, 4, 6))
    params = hp.from_muon_momentum(momentum)
    ours = _directions(
        arsg_optax.remote_observation(params.b1, params.observation), gradients
    )
    # Coefficients with which Newton and Schulz change nothing: normalized directions,
    # before Optax 0.2.7 times a factor of the shape.
    identity = optax.contrib.scale_by_muon((1.0, 0.0, 0.0), beta=momentum)
    theirs = _directions(identity, gradients)
    ours, theirs = (
        each / jnp.linalg.norm(each, axis=(1, 2), keepdims=True)
        for each in (ours, theirs)
    )
    apart = jnp.linalg.norm(ours - theirs, axis=(1, 2))
    steps = np.arange(1, 401)
    # What the docstring says of the weight of g: its excess falls like momentum^t.
    excess = (1 - momentum ** (steps + 1)) / (1 - momentum**steps) - 1
    assert excess[0] == pytest.approx(0.95) and excess[19] == pytest.approx(0.03, 0.1)
    # In the first update both are along g; much later Optax's eps of 1e-8 shows.
    ratio = apart[1:250] / excess[1:250]
    assert apart[0] < 1e-8 and ratio.min() > 0.05 and ratio.max() < 0.8


def test_ema_nesterov_evaluates_between_y_and_the_iterate(x64):
    rate, beta, gamma = 0.3, 0.6, 0.95
    task = problem(0, "tree", 0.3, STEPS)
    expected = list(transcribed(task, source.ema_nesterov, rate, beta, gamma))
    params = hp.from_ema_nesterov(rate, beta, gamma)
    theta, iterates = [], []
    for y, x, state in run(arsg_optax.rsg(**params._asdict()), task, jnp.float64):
        momentum = task.flat(optax.tree.get(state, "mu"))
        theta.append(y + beta * rate / (1 - beta) * momentum)
        iterates.append(
            x - y - params.b1 / (1 - gamma) * params.learning_rate * momentum
        )
    assert deviation(theta, [pair[1] for pair in expected], task.start) < 1e-12
    assert np.abs(iterates).max() < 1e-12


def _gpa_around_adam(theta, rate, mu_x, mu_y):
    """GPA with Adam's step in the place of a gradient step."""
    x = z = theta
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    while True:
        g = yield mu_y * x + (1 - mu_y) * z, x
        m = 0.9 * m + 0.1 * g
        v, denominator = source.adam_rms(g, v, 0.999, t, 1e-8)
        z = z - rate(t) * m / (1 - 0.9 ** (t + 1)) / denominator
        x = mu_x * x + (1 - mu_x) * z
        t += 1


def test_gpa_around_adam_is_remote_observation_of_its_average(x64, relaxed_promotion):
    mu_x, mu_y = 0.95, 0.7
    task = problem(0, "tree", 0.3, STEPS)

    def falling(t):
        return 0.01 * (1 - t / STEPS)

    expected = transcribed(task, _gpa_around_adam, falling, mu_x, mu_y)
    adam = optax.adam(float_schedule(falling))
    averaged = optax.chain(adam, optax.ema(mu_x, debias=False))
    distance = (1 - mu_y) * mu_x / (1 - mu_x)
    optimizer = arsg_optax.observe_remotely(averaged, distance)
    got = list(run(optimizer, task, jnp.float64))
    for k, points in enumerate(zip(*expected, strict=True)):
        assert deviation([each[k] for each in got], points, task.start) < 1e-12


SCHEDULED = {
    "schedule-free": lambda rate: hp.from_schedule_free(rate, 0.9, 1.5),
    "primal averaging": lambda rate: hp.from_primal_averaging(
        np.linspace(0.1, 0.3, 40), np.linspace(1.0, 0.1, 40), rate
    ),
    "adana": lambda rate: hp.from_adana(rate),
    "dana": lambda rate: hp.from_dana(rate, 0.01, 6.0),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_moving_values_in_float32_traced_and_injected(name):
    gradients = jax.random.normal(jax.random.key(0), (50, 3))

    def updates(rate, wrap=lambda make: make):
        params = SCHEDULED[name](rate)
        optimizer = wrap(arsg_optax.rsg)(**params._asdict())

        def step(carry, gradient):
            state, y = carry
            moved, state = optimizer.update(gradient + 0.1 * y, state, y)
            return (state, y + moved), moved

        start = jnp.zeros(3)
        return jax.lax.scan(step, (optimizer.init(start), start), gradients)[1]

    rates = jnp.array([0.1, 0.3])
    expected = np.stack([updates(float(rate)) for rate in rates])
    assert expected.dtype == np.float32 and np.isfinite(expected).all()
    found = jax.jit(jax.vmap(updates))(rates)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    injected = updates(0.3, optax.inject_hyperparams)
    np.testing.assert_allclose(injected, expected[1], 1e-4, 1e-6)


def test_primal_averaging_stays_at_its_last_values():
    params = hp.from_primal_averaging([0.3, 0.1, 0.2], [1.0, 0.5, 0.3], 0.9)
    for value in (params.learning_rate, params.b1, params.distance):
        assert value(5) == value(2) != value(1)


def test_schedule_free_far_from_the_start():
    """Where sums of powers would overflow float32, the values are those of a limit."""
    params = hp.from_schedule_free(0.3, 0.9, power=2.0)
    # W = t / 4, c = 3 / t.
    assert float(params.learning_rate(10**8)) == pytest.approx(0.3 * 3 / 4, rel=1e-5)
    assert float(params.distance(10**8)) == pytest.approx(0.1 * 1e8 / 3, rel=1e-5)
    assert float(params.b1(10**4)) == pytest.approx(1 - 4e-4, abs=1e-6)


# Two points in the domain of each conversion to constants.
DOMAIN = [
    (hp.from_gpa, (0.1, 0.9, 0.7), (0.2, 0.0, 1.0)),
    (hp.from_simplified_ademamix, (0.1, 0.9, 20.0), (0.2, 0.0, 0.0)),
    (hp.from_ademamix_without_fast, (0.1, 0.9, 8.0), (0.2, 0.99, 0.5)),
    (hp.from_mars_approx, (0.1, 0.9, 0.025), (0.2, 0.99, 0.0)),
    (hp.from_lion, (0.9, 0.99), (0.95, 0.98)),
    (hp.from_muon_momentum, (0.95,), (0.9,)),
    (hp.from_outer_nesterov, (0.1, 0.7, 0.9), (0.2, 0.5, 0.8)),
    (hp.from_ema_nesterov, (0.1, 0.5, 0.99), (0.2, 0.9, 0.0)),
    (hp.from_mass, (0.1, 0.05, 0.9), (0.2, 0.0, 0.5)),
]


@pytest.mark.parametrize(("convert", "first", "second"), DOMAIN)
def test_arrays_and_tracers_give_what_numbers_give(convert, first, second, x64):
    expected = np.stack([convert(*each)[:3] for each in (first, second)], axis=-1)
    columns = jnp.stack([jnp.array(first), jnp.array(second)], axis=-1)
    for evaluate in (convert, jax.jit(convert), jax.vmap(convert)):
        result = np.stack(evaluate(*columns)[:3])
        np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-15)


INF = float("inf")
ERRORS = [
    (hp.from_gpa, (0.1, 1.0, 0.7), "mu_x", 1.0),
    (hp.from_gpa, (0.1, 0.9, 0.0), "mu_y", 0.0),
    (hp.from_gpa, (-0.1, 0.9, 0.7), "learning_rate", -0.1),
    (hp.from_schedule_free, (-0.1,), "learning_rate", -0.1),
    (hp.from_schedule_free, (0.1, 1.1), "b1", 1.1),
    (hp.from_schedule_free, (0.1, 0.9, -1.0), "power", -1.0),
    (hp.from_primal_averaging, ([0.1], [1.0], 1.1), "b1", 1.1),
    (hp.from_primal_averaging, ([0.1, 0.0], [1.0, 0.5]), "learning_rates", 0.0),
    (hp.from_primal_averaging, ([0.1, INF], [1.0, 0.5]), "learning_rates", INF),
    (hp.from_primal_averaging, ([0.1, 0.1], [1.0, 0.0]), "shares", 0.0),
    (hp.from_primal_averaging, ([0.1, 0.1], [1.0, 1.5]), "shares", 1.5),
    (hp.from_simplified_ademamix, (0.1, 1.0, 1.0), "b1", 1.0),
    (hp.from_simplified_ademamix, (0.1, 0.9, -1.0), "alpha", -1.0),
    (hp.from_ademamix_without_fast, (0.1, 0.9, 0.0), "alpha", 0.0),
    (hp.from_ademamix_without_fast, (0.1, 1.0, 8.0), "b3", 1.0),
    (hp.from_adana, (-0.1,), "learning_rate", -0.1),
    (hp.from_adana, (0.1, 0.0), "delta", 0.0),
    (hp.from_adana, (0.1, 8.0, 0.0), "kappa", 0.0),
    (hp.from_dana, (-0.1, 0.1, 8.0), "gamma2", -0.1),
    (hp.from_dana, (0.1, 0.0, 8.0), "gamma3", 0.0),
    (hp.from_dana, (0.1, 0.1, 0.0), "delta", 0.0),
    (hp.from_mars_approx, (0.1, 0.9, 1.0), "gamma", 1.0),
    (hp.from_mars_approx, (0.1, 1.0, 0.1), "b1", 1.0),
    (hp.from_lion, (0.99, 0.9), "b1", 0.99),
    (hp.from_lion, (0.0, 0.9), "b1", 0.0),
    (hp.from_lion, (0.5, 1.0), "b2", 1.0),
    (hp.from_muon_momentum, (0.0,), "momentum", 0.0),
    (hp.from_outer_nesterov, (0.1, -0.7, 0.9), "outer_learning_rate", -0.7),
    (hp.from_outer_nesterov, (0.1, 0.7, 0.0), "momentum", 0.0),
    (hp.from_ema_nesterov, (0.1, 1.0, 0.9), "beta", 1.0),
    (hp.from_ema_nesterov, (0.1, 0.5, 1.0), "gamma", 1.0),
    (hp.from_mass, (0.1, 0.095, 0.9), "eta2", 0.095),
    (hp.from_mass, (0.0, 0.0, 0.9), "eta1", 0.0),
    (hp.from_mass, (0.1, 0.0, 1.0), "gamma", 1.0),
]


@pytest.mark.parametrize(("convert", "args", "name", "value"), ERRORS)
def test_errors_name_argument_value_and_remedy(convert, args, name, value):
    number = re.escape(str(value))
    with pytest.raises(ValueError, match=rf"^{name} must .*, got {number}; ."):
        convert(*args)


def test_primal_averaging_needs_one_share_per_update():
    with pytest.raises(
        ValueError, match=r"^learning_rates must have the shape.*\(2,\)"
    ):
        hp.from_primal_averaging([0.1, 0.1], [1.0])


@pytest.mark.parametrize("convert", [hp.from_gpa, hp.from_schedule_free])
def test_averages_of_a_scheduled_step_are_another_conversion(convert):
    with pytest.raises(ValueError, match=r"^learning_rate must be a number, got <f"):
        convert(lambda count: 0.1)


def test_to_qhm_refuses_schedules():
    with pytest.raises(ValueError, match="params must hold numbers, got a schedule"):
        hp.to_qhm(hp.from_adana(0.1))
