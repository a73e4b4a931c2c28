"""Random hyper-parameters of every type raise a ValueError or give finite steps."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arsg_optax
from arsg_optax._validation import RANGES

_SPECIAL = [-1.0, -0.1, 0.0, 1e-3, 0.5, 0.999, 1.0, 1.5, 8.0, 1e39, -1e39]
_SPECIAL += [math.nan, math.inf, -math.inf]
_MAKERS = {
    "rsg": arsg_optax.rsg,
    "arsg": arsg_optax.arsg,
    "arsgb": functools.partial(arsg_optax.arsgb, boost_at=1),
    "namsg": arsg_optax.namsg,
    "swnts": functools.partial(arsg_optax.swnts, switch_at=1),
    "adarem": arsg_optax.adarem,
    "adarem_s": functools.partial(arsg_optax.adarem_s, sphere_mask=True),
    "scale_by_learning_rate": arsg_optax.scale_by_learning_rate,
    "remote_observation": arsg_optax.remote_observation,
    "scale_by_nonincreasing_rms": arsg_optax.scale_by_nonincreasing_rms,
    "scale_by_adam_rms": arsg_optax.scale_by_adam_rms,
    "scale_by_rectified_rms": arsg_optax.scale_by_rectified_rms,
    "scale_by_softplus_rms": arsg_optax.scale_by_softplus_rms,
    "scale_by_resilience": arsg_optax.scale_by_resilience,
    "constrain_to_sphere": arsg_optax.constrain_to_sphere,
    "observe_remotely": functools.partial(arsg_optax.observe_remotely, optax.sgd(0.1)),
}
_ARGUMENTS = {
    "rsg": "learning_rate b1 observation weight_decay",
    "arsg": "learning_rate b1 b2 eps observation weight_decay",
    "arsgb": "learning_rate b1 observation boost_at max_boosts window confidence",
    "namsg": "learning_rate b1 b2 eps distance weight_decay",
    "swnts": "learning_rate b1 distance switch_at",
    "adarem": "learning_rate b1 resilience eps weight_decay",
    "adarem_s": "learning_rate b1 resilience weight_decay radius",
    "scale_by_learning_rate": "learning_rate",
    "remote_observation": "b1 observation",
    "scale_by_nonincreasing_rms": "b2 eps",
    "scale_by_adam_rms": "b2 eps",
    "scale_by_rectified_rms": "b2 eps threshold",
    "scale_by_softplus_rms": "b2 eps sharpness",
    "scale_by_resilience": "b1 resilience eps",
    "constrain_to_sphere": "radius",
    "observe_remotely": "distance",
}
_PAIRS = [(name, a) for name, listed in _ARGUMENTS.items() for a in listed.split()]
_KINDS = {
    "float": float,
    "NumPy scalar": np.float32,
    "NumPy array": lambda x: np.array(x, np.float64),
    "JAX array": lambda x: jnp.asarray(x, jnp.float32),
    "schedule": lambda x: lambda count: x,
    "schedule of arrays": lambda x: lambda count: jnp.asarray(x, jnp.float32),
}
_WRONG = [True, "0.5", b"1", [0.5], None, 1j, np.ones(2), jnp.ones(2), np.bool_(True)]
_WRONG += [jnp.array(True), np.float16(0.5), jnp.bfloat16(0.5), 10**400, {}]


def _first_steps(name, argument, value):
    arguments = {argument: value}
    if "learning_rate" in _ARGUMENTS[name]:
        arguments.setdefault("learning_rate", 0.1)
    optimizer = _MAKERS[name](**arguments)
    params = {"a": jnp.array([1.0, -2.0]), "b": (jnp.float32(0.5), None)}
    state, updates = optimizer.init(params), None
    for _ in range(2):
        extra = {"value": jnp.float32(1.0)} if name == "arsgb" else {}
        updates, state = optimizer.update(params, state, params, **extra)
    return updates


def _inside(row, number):
    above = row.low <= number if row.ends[0] == "[" else row.low < number
    below = number <= row.high if row.ends[1] == "]" else number < row.high
    return above and below and (not row.whole or number == math.floor(number))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero)")
@settings(max_examples=150, deadline=None)
@given(
    pair=st.sampled_from(_PAIRS),
    number=st.sampled_from(_SPECIAL) | st.floats(0, 1, width=32),
    kind=st.sampled_from(sorted(_KINDS)),
)
def test_out_of_range_raises_and_in_range_moves_by_finite_steps(pair, number, kind):
    name, argument = pair
    value, row = _KINDS[kind](number), RANGES[argument]
    given = number if kind in ("float", "NumPy array", "schedule") else None
    given = float(np.float32(number)) if given is None else given
    try:
        updates = _first_steps(name, argument, value)
    except ValueError as error:
        # What is in its own range may still not fit beside the others.
        assert argument in str(error) or "observation" in str(error)
        return
    assert _inside(row, given), "silent"
    if abs(given) < 1e30:
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(updates))


@settings(max_examples=60, deadline=None)
@given(pair=st.sampled_from(_PAIRS), value=st.sampled_from(_WRONG))
def test_what_is_no_such_number_raises(pair, value):
    name, argument = pair
    row = RANGES[argument]
    narrow = getattr(value, "dtype", None) in (np.float16, jnp.bfloat16)
    if (value is None and row.optional) or (narrow and row.narrow):
        return
    with pytest.raises(ValueError, match=argument):
        _first_steps(name, argument, value)


@pytest.mark.parametrize("name", _ARGUMENTS)
@pytest.mark.parametrize(
    "leaf", [0.5, np.float64(0.5), np.full(2, 0.5), np.zeros((0, 3)), jnp.ones(2)]
)
def test_parameters_that_are_no_jax_arrays(name, leaf):
    """Python floats and NumPy's float64 are float32 to JAX, without a warning."""
    given = {"learning_rate": 0.1} if "learning_rate" in _ARGUMENTS[name] else {}
    given |= {"distance": 0.5} if name == "observe_remotely" else {}
    optimizer, params = _MAKERS[name](**given), {"a": leaf, "b": (None, {})}
    state = optimizer.init(params)
    gradient = jax.tree.map(jnp.asarray, params)
    updates, state = optimizer.update(gradient, state, params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert all(jnp.all(jnp.isfinite(u)) for u in jax.tree.leaves(updates))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: arsg_optax.namsg(0.1, exact=np.ones(2)), "exact must be True or"),
        (
            lambda: arsg_optax.swnts(0.1, switch_at=3, exact=np.ones(2)),
            "exact must be True or",
        ),
        (lambda: arsg_optax.arsgb(0.1, max_boosts=-1e39), "max_boosts must be a whole"),
        (lambda: arsg_optax.arsgb(0.1, max_boosts=10**400), "max_boosts must be a"),
    ],
)
def test_what_fuzzing_found(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_a_wrong_mask_of_spheres_is_named():
    params = {"a": jnp.ones(3)}
    optimizer = arsg_optax.adarem_s(0.1, sphere_mask=3)
    with pytest.raises(ValueError, match="sphere_mask"):
        optimizer.update(params, optimizer.init(params), params)
