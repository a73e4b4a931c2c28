"""ARSGB before its boost is ARSG, SWNTS before its switch NAMSG, with every keyword."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import arsg_optax
from tests.interop.steps import gradients, tree

KEYWORDS = {
    "b2": 0.5,
    "eps": 1e-2,
    "preconditioner": arsg_optax.scale_by_adam_rms(),
    "debias": True,
    "weight_decay": 0.1,
    "mask": {"b": True, "w": False},
    "mu_dtype": "bfloat16",
    "nu_dtype": "bfloat16",
}
PAIRS = {
    "arsgb": (
        lambda **keywords: arsg_optax.arsgb(0.1, 0.9, boost_at=99, **keywords),
        lambda **keywords: arsg_optax.arsg(0.1, 0.9, observation=0.05, **keywords),
    ),
    "swnts": (
        lambda **keywords: arsg_optax.swnts(0.1, switch_at=99, **keywords),
        lambda **keywords: arsg_optax.namsg(0.1, **keywords),
    ),
}


def _updates(optimizer):
    params, collected = tree(0), []
    state = optimizer.init(params)
    for gradient in gradients(3):
        updates, state = optimizer.update(gradient, state, params)
        collected += jax.tree.leaves(updates)
    moments = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    return [np.asarray(leaf, np.float32) for leaf in collected + moments]


@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize("pair", PAIRS)
def test_keywords_are_handed_on(pair, keyword):
    ours, theirs = PAIRS[pair]
    keywords = {keyword: KEYWORDS[keyword]}
    if keyword == "mask":
        keywords["weight_decay"] = 0.1
    got, expected = _updates(ours(**keywords)), _updates(theirs(**keywords))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    plain = _updates(theirs())
    changed = [np.any(a != b) for a, b in zip(got, plain, strict=False)]
    assert any(changed) or len(got) != len(plain), "the keyword does nothing"


def test_switched_bfloat16_state_keeps_its_dtype():
    optimizer = arsg_optax.swnts(0.1, switch_at=1, nu_dtype="bfloat16")
    params = jnp.ones(3)
    state = optimizer.init(params)
    before = jax.tree.map(lambda leaf: leaf.dtype, state)
    for _ in range(3):
        _, state = optimizer.update(params, state, params)
    assert jax.tree.map(lambda leaf: leaf.dtype, state) == before
