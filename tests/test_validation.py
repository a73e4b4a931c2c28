"""Bad arguments raise before any work, naming argument, value and remedy."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax

rsg, arsg, namsg, adarem = (
    arsg_optax.rsg,
    arsg_optax.arsg,
    arsg_optax.namsg,
    arsg_optax.adarem,
)
nan, inf = float("nan"), float("inf")

OUT_OF_RANGE = [
    (rsg, "learning_rate", -0.1),
    (arsg, "learning_rate", nan),
    (adarem, "learning_rate", inf),
    (arsg_optax.scale_by_learning_rate, "learning_rate", -1),
    (rsg, "b1", 1.0),
    (arsg, "b1", -0.1),
    (namsg, "b1", 1.5),
    (adarem, "b1", nan),
    (namsg, "b1", 0.0),
    (arsg_optax.remote_observation, "b1", 1),
    (arsg_optax.remote_observation, "observation", 1.0),
    (rsg, "observation", 1.5),
    (arsg, "observation", np.float32(-0.5)),
    (namsg, "distance", -1.0),
    (namsg, "distance", 9.5),
    (namsg, "distance", inf),
    (arsg, "b2", 1.0),
    (arsg_optax.scale_by_nonincreasing_rms, "b2", -0.01),
    (arsg_optax.scale_by_adam_rms, "b2", 1.0),
    (arsg_optax.scale_by_adam_rms, "eps", 0.0),
    (arsg_optax.scale_by_rectified_rms, "b2", nan),
    (arsg_optax.scale_by_rectified_rms, "threshold", 3.9),
    (arsg_optax.scale_by_rectified_rms, "threshold", inf),
    (arsg_optax.scale_by_softplus_rms, "eps", -1e-8),
    (arsg_optax.scale_by_softplus_rms, "sharpness", 0.0),
    (arsg_optax.scale_by_softplus_rms, "sharpness", inf),
    (arsg, "eps", 0.0),
    (arsg, "eps", 1e-50),
    (arsg, "eps", 1e39),
    (rsg, "weight_decay", nan),
    (adarem, "weight_decay", inf),
    (adarem, "eps", -1e-8),
    (adarem, "resilience", 1.01),
    (arsg_optax.scale_by_resilience, "resilience", -0.5),
    (arsg_optax.track_oscillation, "window", 0),
    (rsg, "weight_decay", -1e-4),
    (arsg_optax.log_time_momentum, "delta", 0.0),
    (arsg_optax.log_time_momentum, "delta", inf),
    (arsg_optax.log_time_momentum, "maximum", 1.0),
    (arsg_optax.falling_observation, "power", 1.0),
    (arsg_optax.falling_observation, "power", -0.1),
]


def _call(make, **arguments):
    if make in (rsg, arsg, namsg, adarem):
        arguments.setdefault("learning_rate", 0.1)
    return make(**arguments)


@pytest.mark.parametrize(("make", "argument", "value"), OUT_OF_RANGE)
def test_numbers_out_of_range(make, argument, value):
    with pytest.raises(ValueError) as error:
        _call(make, **{argument: value})
    stated = rf"^{argument} must be .*, got {re.escape(repr(value))}; .+\."
    # hyperparams prints a NumPy number and its neighbours plainly.
    plain = rf"^{argument} must be .*, got {re.escape(str(value))}; .+"
    assert re.search(stated, str(error.value)) or re.search(plain, str(error.value))


@pytest.mark.parametrize(
    ("make", "argument"),
    [(rsg, "learning_rate"), (rsg, "b1"), (arsg, "eps"), (adarem, "resilience")],
)
@pytest.mark.parametrize("value", [None, "0.1", True, [0.1]])
def test_what_is_no_number(make, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be a number"):
        _call(make, **{argument: value})


@pytest.mark.parametrize("value", [None, 3, "adam", optax.sgd])
@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (arsg_optax.average_remotely, "inner"),
        (arsg_optax.average_value, "inner"),
        (arsg_optax.observation_boost, "inner"),
        (lambda value: arsg_optax.observe_remotely(value, 1.0), "inner"),
        (lambda value: arsg_optax.project(value, arsg_optax.Box(0.0, 1.0)), "inner"),
        (lambda value: arsg_optax.switch_to_sgd(value, switch_at=1), "preconditioner"),
        (arsg_optax.declare_elementwise, "link"),
        (arsg_optax.chain_on_gradient, "transforms"),
    ],
)
def test_what_is_no_transformation(make, argument, value):
    message = f"^{argument} must be made of gradient transformations, got .*; call"
    with pytest.raises(ValueError, match=message):
        make(value)


def test_an_observation_beside_a_distance_is_a_number():
    with pytest.raises(ValueError, match="observation must be a number"):
        rsg(0.1, observation={}, distance=1.0)


def test_a_missing_mask_is_called_as_the_caller_calls_it():
    with pytest.raises(ValueError, match=r"^sphere_mask must name the leaves"):
        arsg_optax.adarem_s(0.1, sphere_mask=None)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (rsg, "b1"),
        (rsg, "observation"),
        (arsg, "b2"),
        (arsg, "eps"),
        (namsg, "distance"),
        (adarem, "b1"),
        (adarem, "resilience"),
    ],
)
def test_sixteen_bit_hyperparameters(make, argument, dtype):
    with pytest.raises(ValueError, match=r"hyperparam_dtype=jnp\.float32"):
        _call(make, **{argument: jnp.asarray(0.5, dtype)})


@pytest.mark.parametrize("argument", ["b1", "observation"])
def test_sixteen_bit_schedules_raise_while_tracing(argument):
    optimizer = rsg(0.1, **{argument: lambda count: jnp.asarray(0.5, jnp.bfloat16)})
    state = optimizer.init(jnp.zeros(2))
    with pytest.raises(ValueError, match=f"{argument} must have at least 32 bits"):
        jax.jit(optimizer.update)(jnp.ones(2), state)


@pytest.mark.parametrize(("make", "argument"), [(arsg, "b2"), (arsg, "eps")])
def test_what_takes_no_schedule(make, argument):
    with pytest.raises(ValueError, match=rf"{argument} must be .*no schedule"):
        _call(make, **{argument: lambda count: 0.5})


def test_complex_hyperparameters():
    with pytest.raises(ValueError, match="learning_rate must be real"):
        rsg(jnp.asarray(1j, jnp.complex64))


def test_a_learning_rate_may_have_sixteen_bits():
    optimizer = rsg(jnp.asarray(0.5, jnp.bfloat16), observation=0.5)
    updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.zeros(2)))
    np.testing.assert_allclose(updates, -0.5 * 0.5005, rtol=1e-6)


def test_arrays_of_hyperparameters():
    with pytest.raises(ValueError, match=r"b1 must be a scalar.*\(2,\).*vmap"):
        rsg(0.1, b1=jnp.array([0.9, 0.99]))


@pytest.mark.parametrize("value", ["False", 0, None, jnp.array(False)])
def test_what_is_no_flag(value):
    with pytest.raises(
        ValueError, match=r"^debias must be True or False, got .*; pass"
    ):
        arsg(0.1, debias=value)
    with pytest.raises(ValueError, match=r"^flip_sign must be True or False, got"):
        arsg_optax.scale_by_learning_rate(0.1, flip_sign=value)


def test_flags_of_numpy():
    assert arsg_optax.remote_observation(debias=np.bool_(True))


def test_scope():
    with pytest.raises(ValueError, match=r"scope must be 'tree' or 'leaf', got 'all'"):
        adarem(0.1, scope="all")


def test_an_empty_chain():
    with pytest.raises(ValueError, match="at least one transform"):
        arsg_optax.chain_on_gradient()


def test_traced_hyperparameters_are_not_compared():
    @jax.jit
    def step(rate, b1, observation):
        optimizer = arsg(rate, b1, observation=observation)
        return optimizer.update(jnp.ones(2), optimizer.init(jnp.zeros(2)))[0]

    np.testing.assert_allclose(step(0.1, 0.999, 0.1), step(0.1, 0.999, 0.1))


@pytest.mark.parametrize("make", [rsg, arsg, namsg, adarem])
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64, jnp.bool_])
def test_other_than_real_parameters_and_gradients(make, dtype):
    remedy = "split_real_and_imaginary" if dtype == jnp.complex64 else "optax.masked"
    optimizer = make(learning_rate=0.1)
    wrong, right = {"a": jnp.ones(2, dtype)}, {"a": jnp.ones(2)}
    with pytest.raises(ValueError, match=f"params must be real.*'a'.*{remedy}"):
        optimizer.init(wrong)
    with pytest.raises(ValueError, match=f"updates must be real.*'a'.*{remedy}"):
        optimizer.update(wrong, optimizer.init(right), right)


@pytest.mark.parametrize("make", [rsg, arsg, namsg, adarem])
def test_gradients_that_do_not_fit_the_state(make):
    params = {"a": jnp.ones((2, 3)), "b": jnp.ones(4)}
    optimizer = make(learning_rate=0.1)
    state = optimizer.init(params)
    with pytest.raises(ValueError, match=r"updates must have the tree structure.*init"):
        optimizer.update({"a": params["a"]}, state, params)
    # Would broadcast silently.
    transposed = {**params, "a": jnp.ones((1, 3))}
    with pytest.raises(ValueError, match=r"shape \(2, 3\) at.*'a'.*got \(1, 3\).*init"):
        optimizer.update(transposed, state, params)


@pytest.mark.parametrize("make", [rsg, arsg, namsg, adarem])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_params_that_do_not_fit_the_gradients(make, weight_decay):
    params = {"a": jnp.ones((2, 3)), "b": jnp.ones(1)}
    optimizer = make(learning_rate=0.1, weight_decay=weight_decay)
    state = optimizer.init(params)
    with pytest.raises(
        ValueError, match=r"params must have the shape \(1,\).*\(7, 1\)"
    ):
        optimizer.update(params, state, {**params, "b": jnp.ones((7, 1))})
    with pytest.raises(ValueError, match="params must have the tree structure"):
        optimizer.update(params, state, {"a": params["a"]})


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_params_may_hold_anything_where_there_is_no_gradient(weight_decay):
    """Equinox users pass the whole model, activation functions and all."""
    model = {"w": jnp.ones(2), "activation": jax.nn.relu, "inner": {"n": 3}}
    filtered = {"w": jnp.ones(2), "activation": None, "inner": None}
    optimizer = arsg(0.1, weight_decay=weight_decay)
    updates, _ = optimizer.update(filtered, optimizer.init(filtered), model)
    expected, _ = optimizer.update(filtered, optimizer.init(filtered), filtered)
    assert updates["activation"] is None
    np.testing.assert_array_equal(updates["w"], expected["w"])


def test_weight_decay_needs_params():
    optimizer = rsg(0.1, weight_decay=0.1)
    params = jnp.ones(2)
    with pytest.raises(ValueError, match="params"):
        optimizer.update(params, optimizer.init(params))
    rsg(0.1).update(params, rsg(0.1).init(params))


def test_masks_inside_a_chain_on_gradient():
    links = (
        arsg_optax.remote_observation(),
        arsg_optax.scale_by_nonincreasing_rms(),
    )
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    mask = {"a": True, "b": False}
    careless = arsg_optax.chain_on_gradient(*(optax.masked(t, mask) for t in links))
    with pytest.raises(ValueError, match=r"raw_gradient.*mask_compatible_extra_args"):
        careless.update(params, careless.init(params), params)
    careful = arsg_optax.chain_on_gradient(
        *(optax.masked(t, mask, mask_compatible_extra_args=True) for t in links)
    )
    updates, _ = careful.update(params, careful.init(params), params)
    np.testing.assert_array_equal(updates["b"], params["b"])
    plain = arsg_optax.chain_on_gradient(*links)
    expected, _ = plain.update(params["a"], plain.init(params["a"]))
    np.testing.assert_array_equal(updates["a"], expected)


def test_import_is_light():
    """The core needs jax, optax and chex, and nothing of the extras."""
    heavy = "flax pyarrow matplotlib sklearn rich tyro PIL orbax scipy.optimize"
    code = (
        "import sys, arsg_optax;"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
