"""The exact form follows the two-point transcriptions, iterate included."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.problems import constant, deviation, problem, run
from tests.reference import two_point

STEPS = 200


def _float(count):
    # An int32 divided is float32 even under x64.
    return jnp.asarray(count, jax.dtypes.canonicalize_dtype(float))


def _warm_up_and_cosine(peak):
    def schedule(count):
        t = _float(count)
        fallen = peak * (0.5 + 0.5 * jnp.cos(jnp.pi * (t - 20) / (STEPS - 20)))
        return jnp.where(t < 20, peak * (t + 1) / 20, fallen)

    return schedule


def _drop(value):
    return lambda count: jnp.where(_float(count) < 100, value, value / 10)


def _rise(start, end):
    return lambda count: start + (end - start) * jnp.minimum(_float(count) / 150, 1.0)


class Schedules(NamedTuple):
    """Coefficients of one run, in units of each method's own rate."""

    rate: Callable[[float], Any]
    b1: Any
    distance: Any


SCHEDULES = {
    "constant": Schedules(lambda a: a, 0.95, 9.0),
    "warm-up and cosine": Schedules(_warm_up_and_cosine, 0.95, 9.0),
    "drop": Schedules(_drop, 0.95, 9.0),
    "b1 and distance": Schedules(_drop, _rise(0.5, 0.98), _rise(1.0, 20.0)),
}


class Case(NamedTuple):
    make: Callable[..., optax.GradientTransformation]
    reference: Callable[..., Any]
    learning_rate: float
    beta: str = "beta1"
    fixed: dict[str, float] = {}  # noqa: RUF012


def _resilient(**arguments):
    return arsg_optax.remote_chain(
        arsg_optax.scale_by_resilience(0.9, 0.5, eps=1e-8), **arguments
    )


def _adam(**arguments):
    return arsg_optax.arsg(
        **arguments, preconditioner=arsg_optax.scale_by_adam_rms(0.99, 1e-3)
    )


_V_MAX = {"beta2": 0.99, "eps": 1e-3}
CASES = {
    "rsg": Case(arsg_optax.rsg, two_point.rsg, 0.3, "beta"),
    "rsg-decay": Case(
        lambda **a: arsg_optax.rsg(**a, weight_decay=0.01),
        two_point.rsg,
        0.3,
        "beta",
        {"decay": 0.01},
    ),
    "arsg": Case(
        lambda **a: arsg_optax.arsg(**a, eps=1e-3), two_point.arsg, 0.02, fixed=_V_MAX
    ),
    "arsg-decay": Case(
        lambda **a: arsg_optax.arsg(**a, eps=1e-3, weight_decay=0.01),
        two_point.arsg,
        0.02,
        fixed={**_V_MAX, "decay": 0.01},
    ),
    "arsg-adam": Case(_adam, two_point.adam_rms, 0.02, fixed=_V_MAX),
    "resilient": Case(
        _resilient,
        two_point.resilient,
        0.3,
        "beta",
        {"beta_r": 0.9, "strength": 0.5, "eps": 1e-8},
    ),
}


def _theirs(value: Any, dtype: Any) -> Callable[[int], float]:
    """What the package sees: a float32 schedule rounds its value to float32."""
    if not callable(value):
        return constant(value)
    values = np.asarray(value(jnp.arange(STEPS + 1, dtype=jnp.int32)), dtype)
    return lambda t: float(values[t])


def deviations(case: Case, kinds: Schedules, task, dtype, wrap=lambda make: make()):
    """Of the observation point and of the iterate."""
    rate = kinds.rate(case.learning_rate)
    optimizer = wrap(
        lambda: case.make(
            learning_rate=rate,
            b1=kinds.b1,
            observation=None,
            distance=kinds.distance,
            exact=True,
        )
    )
    got = list(run(optimizer, task, dtype))
    given = {
        "alpha": _theirs(rate, dtype),
        case.beta: _theirs(kinds.b1, dtype),
        "eta": _theirs(kinds.distance, dtype),
    }
    steps = case.reference(
        task.gradient, task.start, **given, **case.fixed, steps=STEPS
    )
    expected = list(steps)
    return [
        deviation([each[k] for each in got], [each[k] for each in expected], task.start)
        for k in (0, 1)
    ]


# All that may change, for all; and what is less than that, for one.
CHANGING = [(name, "b1 and distance") for name in CASES]
BESIDES = [("arsg-decay", kinds) for kinds in SCHEDULES if kinds != "b1 and distance"]


@pytest.mark.parametrize(("name", "kinds"), [*CHANGING, *BESIDES])
def test_float64_to_rounding(name, kinds, x64):
    task = problem(1, "tree", 0.5, STEPS)
    case = CASES[name]
    assert max(deviations(case, SCHEDULES[kinds], task, jnp.float64)) < 1e-12


@pytest.mark.parametrize(("name", "kinds"), CHANGING)
def test_float32_to_rounding(name, kinds):
    task = problem(0, "vector", 0.5, STEPS)
    case = CASES[name]
    assert max(deviations(case, SCHEDULES[kinds], task, jnp.float32)) < 1e-5


WRAPPERS = {
    "chain": lambda make: optax.chain(optax.identity(), make()),
    "named_chain": lambda make: optax.named_chain(("all", make())),
    "masked": lambda make: optax.masked(make(), {"b": True, "s": True, "w": True}),
    "partition": lambda make: optax.partition(
        {"one": make(), "two": make()}, {"b": "one", "s": "two", "w": "one"}
    ),
    "MultiSteps": lambda make: optax.MultiSteps(make(), 1).gradient_transformation(),
    "apply_if_finite": lambda make: optax.apply_if_finite(make(), 3),
    "behind a tracker": lambda make: optax.chain(
        make(), arsg_optax.track_oscillation()
    ),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_under_schedules_inside_wrappers(name, x64, relaxed_promotion):
    # MultiSteps multiplies float updates by a boolean flag.
    task, case = problem(1, "tree", 0.5, STEPS), CASES["arsg"]
    kinds = SCHEDULES["b1 and distance"]
    found = deviations(case, kinds, task, jnp.float64, WRAPPERS[name])
    assert max(found) < 1e-12


def test_under_injected_schedules(x64):
    task, case = problem(1, "tree", 0.5, STEPS), CASES["arsg"]
    injected = optax.inject_hyperparams(arsg_optax.arsg)
    found = deviations(
        case._replace(make=lambda **a: injected(**a, eps=1e-3)),
        SCHEDULES["b1 and distance"],
        task,
        jnp.float64,
    )
    assert max(found) < 1e-12


def test_under_scan_and_vmap(x64):
    rates, steps = jnp.array([0.01, 0.03]), 50
    gradients = jax.random.normal(jax.random.key(0), (steps, 5))

    def train(rate):
        optimizer = arsg_optax.arsg(
            lambda count: rate * (1 - _float(count) / steps), 0.9, exact=True
        )

        def step(carry, gradient):
            params, state = carry
            updates, state = optimizer.update(gradient + params, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), arsg_optax.eval_params(state, params)

        start = jnp.ones(5)
        return jax.lax.scan(step, (start, optimizer.init(start)), gradients)[1]

    together = jax.jit(jax.vmap(train))(rates)
    for index, rate in enumerate([0.01, 0.03]):
        steps_by_hand = two_point.arsg(
            lambda t, y: np.asarray(gradients[t]) + y,
            np.ones(5),
            lambda t, rate=rate: rate * (1 - t / steps),
            constant(0.9),
            0.99,
            constant(0.1 * 0.9 / (1 - 0.9)),
            1e-8,
            steps,
        )
        expected = [x for _, x, _ in steps_by_hand]
        np.testing.assert_allclose(together[index], expected, rtol=0, atol=1e-11)


def test_a_boost_leaves_the_iterate_exact(x64):
    task = problem(1, "tree", 0.5, STEPS)
    optimizer = arsg_optax.arsgb(0.02, 0.95, 0.99, 1e-3, 0.1, boost_at=120, exact=True)
    got = list(run(optimizer, task, jnp.float64))
    steps = two_point.arsgb(
        task.gradient,
        task.start,
        constant(0.02),
        constant(0.95),
        0.99,
        constant(0.1),
        1e-3,
        STEPS,
        boost_at=120,
    )
    expected = list(steps)
    for k in (0, 1):
        pair = [each[k] for each in got], [each[k] for each in expected]
        assert deviation(*pair, task.start) < 1e-12


def test_both_forms_are_the_same_while_nothing_changes(x64):
    task = problem(2, "tree", 0.5, STEPS)
    pair = [
        list(run(arsg_optax.rsg(0.3, 0.95, 0.2, exact=exact), task, jnp.float64))
        for exact in (False, True)
    ]
    for k in (0, 1):
        concise, exact = ([each[k] for each in path] for path in pair)
        assert deviation(exact, concise, task.start) < 1e-12


def test_swnts_is_exact_before_and_after_its_switch(x64):
    """x moves by alpha u alone, u the momentum over what the state divides by."""
    task = problem(1, "tree", 0.5, 60)
    optimizer = arsg_optax.swnts(0.02, switch_at=30, exact=True)
    before = task.start
    for y, x, state in run(optimizer, task, jnp.float64):
        u = task.flat(state.mu) / task.flat(state.links[0].denominator())
        np.testing.assert_allclose(x, before - 0.02 * u, rtol=0, atol=1e-12)
        np.testing.assert_allclose(y, x - 0.9 * 0.02 * u, rtol=0, atol=1e-12)
        before = x
    assert bool(state.links[0].switched)


def test_what_happens_at_rate_zero_and_after():
    """y moves to x once, rests, and jumps ahead by (1 + eta) alpha u at a restart."""
    rates = jnp.array([0.1, 0.1, 0.0, 0.0, 0.1])
    optimizer = arsg_optax.rsg(lambda count: rates[count], 0.9, 0.5, exact=True)
    params, gradient = jnp.ones(3), jnp.array([1.0, -2.0, 0.5])
    state, held, iterates = optimizer.init(params), [], []
    for _ in rates:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        held.append(params)
        iterates.append(arsg_optax.eval_params(state, params))
    np.testing.assert_allclose(held[2], iterates[1], rtol=1e-6)
    np.testing.assert_array_equal(held[3], held[2])
    jump = (1 + 0.5 * 0.9 / (1 - 0.9)) * 0.1 * state.mu
    np.testing.assert_allclose(held[4], held[3] - jump, rtol=1e-5)


def test_a_bfloat16_state_follows_its_twin_without_drift():
    """10,000 steps: the iterate stays with that of a float32 state."""
    shape, steps = (64,), 10_000
    narrow = {"mu_dtype": jnp.bfloat16, "nu_dtype": jnp.bfloat16}

    def train(seed, **dtypes):
        def rate(count):
            t = _float(count)
            return 0.02 * jnp.minimum(t / 500, 1.0) * (1 - t / steps)

        optimizer = arsg_optax.arsg(rate, 0.99, eps=1e-3, exact=True, **dtypes)
        start = jnp.linspace(-1.0, 1.0, shape[0])

        def step(carry, key):
            params, state = carry
            gradient = params + 0.3 * jax.random.normal(key, shape)
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), arsg_optax.eval_params(state, params)

        keys = jax.random.split(jax.random.key(seed), steps)
        return jax.lax.scan(step, (start, optimizer.init(start)), keys)[1]

    apart = jax.jit(lambda: train(0, **narrow) - train(0))()
    other_noise = jax.jit(lambda: train(1) - train(0))()
    # Rounding adds noise, which does not grow with the steps, and no bias.
    for window in (slice(1000, 2000), slice(4000, 5000), slice(9000, 10_000)):
        spread = float(jnp.std(other_noise[window]))
        assert float(jnp.std(apart[window])) < 0.7 * spread
        assert abs(float(jnp.mean(apart[window]))) < 0.15 * spread


def test_the_state_has_no_further_array():
    params = {"w": jnp.ones((3, 4))}
    for make in (arsg_optax.rsg, arsg_optax.arsg, arsg_optax.namsg):
        pair = [make(0.1, exact=exact).init(params) for exact in (False, True)]
        assert jax.tree.structure(pair[0]) == jax.tree.structure(pair[1])
    stored = arsg_optax.remote_chain(
        arsg_optax.scale_by_resilience(), learning_rate=0.1, exact=True
    )
    assert stored.init(params).previous["w"].shape == (3, 4)


REFUSED = [
    ({"exact": True, "debias": True}, "debias must be False with exact=True"),
    ({"exact": "yes"}, "exact must be True or False, got 'yes'"),
    ({"debias": "False"}, "debias must be True or False, got 'False'"),
    ({"observation": None}, "observation must be given where distance is not"),
    ({"observation": 0.2, "distance": 3.0}, "observation must be None where distance"),
    ({"b1": 0.9, "distance": 9.5}, r"distance must be in \[0, 9\), got 9.5"),
    ({"b1": 0.9, "distance": -1.0}, "distance must be finite and at least 0"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_arguments_that_contradict_each_other(arguments, message):
    with pytest.raises(ValueError, match=message):
        arsg_optax.rsg(0.1, **arguments)


def test_the_exact_form_takes_any_distance():
    params = jnp.ones(2)
    for b1, distance in ((0.9, 20.0), (0.0, 3.0)):
        optimizer = arsg_optax.rsg(0.1, b1, distance=distance, exact=True)
        updates, state = optimizer.update(params, optimizer.init(params))
        ahead = (1 + distance) * 0.1 * (1 - b1)
        np.testing.assert_allclose(updates, -ahead, rtol=1e-6)
        assert arsg_optax.metrics(state)["distance"] == jnp.float32(distance)
