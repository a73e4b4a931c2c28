"""jit with donation, vmap and scan around every optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import arsg_optax
from tests.interop.steps import advance, assert_close, gradients, tree
from tests.interop.table import rows


def _run(row, trees, **changes):
    """Parameters and iterate after the gradients."""
    params, state = advance(row, row.make(**changes), tree(0), trees)
    return params, arsg_optax.eval_params(state, params)


def _stack(results):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


@rows("vmap")
def test_vmap_over_learning_rates_and_momentum_decays(row):
    rates = row.learning_rate * jnp.array([0.5, 2.0, 2.0])
    decays, trees = jnp.array([0.8, 0.8, 0.95]), gradients(3)
    batched = jax.vmap(lambda rate, b1: _run(row, trees, learning_rate=rate, b1=b1))
    pairs = zip(rates, decays, strict=True)
    alone = _stack([_run(row, trees, learning_rate=rate, b1=b1) for rate, b1 in pairs])
    assert_close(batched(rates, decays), alone, row.rounding)
    slow, fast, heavy = alone[0]["w"]
    assert not np.allclose(slow, fast, rtol=1e-6)
    assert not np.allclose(fast, heavy, rtol=1e-6)


@rows("scan")
def test_without_jit_it_is_the_same(row):
    """For debugging: what is compiled leaf by leaf then runs as plain Python."""
    trees = gradients(2)
    compiled = _run(row, trees)
    with jax.disable_jit():
        plain = _run(row, trees)
    assert_close(plain, compiled, row.rounding)


@rows("scan")
def test_scan_is_the_loop(row):
    trees, params, optimizer = gradients(3), tree(0), row.make()

    def step(carry, gradient):
        after = advance(row, optimizer, carry[0], [gradient], carry[1])
        return after, arsg_optax.eval_params(after[1], after[0])

    start = params, optimizer.init(params)
    got, points = jax.lax.scan(step, start, _stack(trees))
    expected = advance(row, optimizer, params, trees)
    assert_close(got, expected, row.rounding)
    point = arsg_optax.eval_params(expected[1], expected[0])
    assert_close(jax.tree.map(lambda leaf: leaf[-1], points), point, row.rounding)


def _buffers(tree):
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]


@rows("donation")
def test_parameters_and_state_can_be_donated(row):
    optimizer, trees = row.make(), gradients(3)

    def update(params, state, gradient):
        return advance(row, optimizer, params, [gradient], state)

    expected = advance(row, optimizer, tree(0), trees)
    # Fresh and eagerly updated states must hold no array twice and none of params.
    params = tree(0)
    held = params, optimizer.init(params)
    assert len(set(_buffers(held))) == len(_buffers(held))
    held = update(*held, trees[0])
    donating = jax.jit(update, donate_argnums=(0, 1))
    for gradient in trees[1:]:
        given, held = held, donating(*held, gradient)
        # Scalars that the update does not read, jit does not take over either.
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given) if leaf.ndim)
    assert_close(held, expected, row.rounding)


@rows("donation")
def test_nothing_is_lost_when_only_the_state_is_donated(row):
    optimizer, params = row.make(), tree(0)
    state = optimizer.init(params)
    extra = row.extra_args(jnp.float32(1.0))
    update = jax.jit(
        lambda g, s, p: optimizer.update(g, s, p, **extra), donate_argnums=1
    )
    for gradient in gradients(2):
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    assert_close(
        params, advance(row, optimizer, tree(0), gradients(2))[0], row.rounding
    )
