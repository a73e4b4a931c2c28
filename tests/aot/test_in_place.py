"""On a CPU an update is one loop an output, in place, with nothing copied."""

import jax
import jax.numpy as jnp
import pytest

import arsg_optax
from tests.aot.program import SHAPES, compile_update

_NARROW = {"mu_dtype": jnp.bfloat16, "nu_dtype": jnp.bfloat16}

# Bytes a parameter: one loop an output is the least that XLA's CPU compiler makes.
# arsg: 12 each for m, v and the maximum, 20 for the parameter.
IN_PLACE = {
    "rsg": (arsg_optax.rsg(0.1), 28),
    "arsg": (arsg_optax.arsg(0.1), 56),
    "arsg-bfloat16": (arsg_optax.arsg(0.1, **_NARROW), 38),
    "arsgb": (arsg_optax.arsgb(0.1, boost_at=10), 56),
    "namsg": (arsg_optax.namsg(0.1), 56),
    "arsg-adam": (
        arsg_optax.arsg(0.1, preconditioner=arsg_optax.scale_by_adam_rms()),
        44,
    ),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_nothing_is_copied(name):
    optimizer, expected_bytes = IN_PLACE[name]
    program = compile_update(optimizer, jax.devices("cpu")[:1])
    assert program.temporary_bytes < 4096
    for parameter in SHAPES:
        assert program.bytes_per_element(parameter) == expected_bytes, parameter


# The exact form's step needs moments from before and after the update. XLA's CPU
# compiler writes each output in a loop of its own and orders such loops by what they
# read of each other alone, so it copies the old moments: m, and for arsg v̂ as well.
COPIES = {
    "rsg": (arsg_optax.rsg(0.1, exact=True), 36, 4),
    "arsg": (arsg_optax.arsg(0.1, exact=True), 76, 8),
    "arsg-bfloat16": (arsg_optax.arsg(0.1, exact=True, **_NARROW), 46, 4),
}


@pytest.mark.parametrize("name", COPIES)
def test_the_exact_form_copies_the_old_moments_and_no_more(name):
    optimizer, expected_bytes, copied = COPIES[name]
    program = compile_update(optimizer, jax.devices("cpu")[:1])
    assert program.temporary_bytes < copied * sum(program.sizes.values()) + 4096
    for parameter in SHAPES:
        assert program.bytes_per_element(parameter) == expected_bytes, parameter


@pytest.mark.parametrize("name", IN_PLACE)
def test_nothing_is_gathered_from_eight_devices(name):
    optimizer, expected_bytes = IN_PLACE[name]
    program = compile_update(optimizer, jax.devices("cpu"))
    assert not program.collectives()
    for parameter in SHAPES:
        assert program.bytes_per_element(parameter) == expected_bytes, parameter
