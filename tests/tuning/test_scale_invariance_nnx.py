"""Flax NNX: a State in, a State of bools out, which optimizers take as a mask."""

import jax
import jax.numpy as jnp
import optax
import pytest

import arsg_optax
from arsg_optax.tuning import scale_invariant_leaves
from tests.tuning.networks import BATCH, CLASSES, INPUTS, cross_entropy, normal

nnx = pytest.importorskip("flax.nnx")


class Network(nnx.Module):
    """Linear, norm, ReLU, linear; the biases start at 0, as Flax has it."""

    def __init__(self, norm, use_bias):
        rngs = nnx.Rngs(0)
        self.inner = nnx.Linear(INPUTS, 12, use_bias=use_bias, rngs=rngs)
        self.norm = norm(12, rngs=rngs)
        self.outer = nnx.Linear(12, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.outer(nnx.relu(self.norm(self.inner(x))))


def _split(model):
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        whole = nnx.merge(graphdef, params, rest, copy=True)
        return cross_entropy(whole(normal(0, BATCH, INPUTS)))

    return loss, params


def _members(mask):
    """Names of the members."""
    return [
        name
        for name, leaf in nnx.to_flat_state(mask)
        if jax.tree.leaves(leaf) == [True]
    ]


@pytest.mark.parametrize(
    ("norm", "use_bias", "member"),
    [
        (nnx.BatchNorm, True, True),
        (nnx.LayerNorm, False, True),
        (nnx.RMSNorm, False, True),
        # Scale invariant only at the start, where the bias is 0.
        (nnx.LayerNorm, True, False),
    ],
)
def test_finds_kernels_before_a_norm(norm, use_bias, member):
    loss, params = _split(Network(norm, use_bias))
    mask = scale_invariant_leaves(loss, params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)
    assert _members(mask) == ([("inner", "kernel")] if member else [])


def test_running_averages_are_not_scale_invariant():
    model = Network(nnx.BatchNorm, True)
    model.eval()
    loss, params = _split(model)
    assert _members(scale_invariant_leaves(loss, params)) == []


def test_the_mask_keeps_a_kernel_on_its_sphere():
    model = Network(nnx.BatchNorm, True)
    loss, start = _split(model)
    mask = scale_invariant_leaves(loss, start)
    optimizer = arsg_optax.adarem_s(0.1, sphere_mask=mask)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    params, state = start, optimizer.init(start)
    for _ in range(3):
        params, state = step(params, state)

    def kept(one, other):
        lengths = [jnp.sqrt(jnp.sum(x**2)) for x in (one, other)]
        return bool(jnp.allclose(*lengths, rtol=1e-5))

    assert kept(params["inner"]["kernel"][...], start["inner"]["kernel"][...])
    assert not kept(params["outer"]["kernel"][...], start["outer"]["kernel"][...])
    assert loss(params) < loss(start)
