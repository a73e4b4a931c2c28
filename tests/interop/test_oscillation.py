"""The tracker of oscillation beside optimizers, in wrappers, on meshes, compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import arsg_optax
from arsg_optax import TrackOscillationState, track_oscillation
from arsg_optax.tuning._meshes import use_mesh
from tests.interop.meshes import LAYOUTS, SHAPES, make_mesh
from tests.interop.row import Row
from tests.interop.steps import (
    advance,
    assert_close,
    assert_finite,
    assert_identical,
    gradients,
    signature,
    tree,
)
from tests.interop.table import TABLE

WINDOWS = pytest.mark.parametrize("window", [None, 7, 1])


def _tracked(window=None, rate=0.1, b1=0.9):
    return optax.chain(arsg_optax.adarem(rate, b1), track_oscillation(window=window))


def _state(state) -> Any:
    """The tracker's state in any nesting."""
    held = [s for s in _nodes(state) if isinstance(s, TrackOscillationState)]
    assert len(held) == 1
    return held[0]


def _nodes(state):
    is_state = lambda node: isinstance(node, TrackOscillationState)  # noqa: E731
    return jax.tree.leaves(state, is_leaf=is_state)


# The optimizers beside which the tracker is put in every nesting below.
BESIDE = [row for row in TABLE if row.name in ("arsg", "adarem")]
ROWS = pytest.mark.parametrize("row", BESIDE, ids=[row.name for row in BESIDE])


def _beside(row: Row, window=None, **changes):
    return optax.chain(row.make(**changes), track_oscillation(window=window))


@ROWS
@WINDOWS
def test_the_optimizer_does_not_notice(row, window):
    expected, _ = advance(row, row.make(), tree(0), gradients(4), compiled=True)
    got, state = advance(
        row, _beside(row, window), tree(0), gradients(4), compiled=True
    )
    assert_identical(got, expected)
    if window is None:
        change = jax.tree.map(lambda p, q: p - q, got, tree(0))
        assert_close(_state(state).displacement, change)


@ROWS
def test_masked_partition_and_none(row):
    alone = [{"w": each["w"]} for each in gradients(3)]
    _, expected = advance(row, _beside(row), {"w": tree(0)["w"]}, alone)
    q = _state(expected).oscillation()
    mask, labels = {"b": False, "w": True}, {"b": "rest", "w": "tracked"}
    parts = {"rest": optax.set_to_zero(), "tracked": _beside(row)}
    for optimizer in (optax.masked(_beside(row), mask), optax.partition(parts, labels)):
        _, state = advance(row, optimizer, tree(0), gradients(3))
        assert_close(_state(state).oscillation(), q)
        assert list(_state(state).oscillation_by_leaf()) == ["w"]
    with_none = [{**each, "none": None} for each in alone]
    start = {"w": tree(0)["w"], "none": None}
    _, state = advance(row, _beside(row), start, with_none)
    assert_close(_state(state).oscillation_by_leaf(), {"w": q})


@ROWS
def test_multi_steps_counts_updates_of_the_optimizer(row, relaxed_promotion):
    optimizer = optax.MultiSteps(_beside(row, 2), 2).gradient_transformation()
    trees = gradients(6)
    pairs = zip(trees[::2], trees[1::2], strict=True)
    means = [jax.tree.map(lambda a, b: (a + b) / 2, *pair) for pair in pairs]
    _, expected = advance(row, _beside(row, 2), tree(0), means)
    _, state = advance(row, optimizer, tree(0), trees, compiled=True)
    assert _state(state).count == 1
    assert_close(_state(state), _state(expected))


@ROWS
def test_apply_if_finite_stops_the_clock_too(row):
    optimizer = optax.apply_if_finite(_beside(row, 3), 3)
    broken = jax.tree.map(lambda g: g.at[0].set(jnp.nan), gradients(1)[0])
    params, state = advance(row, optimizer, tree(0), gradients(2))
    before = _state(state)
    params, state = advance(row, optimizer, params, [broken], state)
    assert_identical(_state(state), before)
    _, expected = advance(row, _beside(row, 3), tree(0), gradients(2))
    assert_close(before, _state(expected))


@ROWS
def test_inject_hyperparams_beside_and_around(row):
    beside = optax.chain(
        optax.inject_hyperparams(row.factory)(**row.hyperparameters()),
        track_oscillation(),
    )
    around = optax.inject_hyperparams(
        lambda learning_rate: _beside(row, learning_rate=learning_rate)
    )
    _, expected = advance(row, _beside(row), tree(0), gradients(3))
    for optimizer in (beside, around(row.learning_rate)):
        _, state = advance(row, optimizer, tree(0), gradients(3), compiled=True)
        assert_close(_state(state).oscillation(), _state(expected).oscillation(), 1e-3)


def test_an_injected_window_is_static():
    injected = optax.inject_hyperparams(track_oscillation, static_args=("window",))
    optimizer = injected(window=2)
    _, state = optimizer.update(tree(1), optimizer.init(tree(0)))
    assert _state(state).count == 1
    with pytest.raises(ValueError, match="static_args"):
        optax.inject_hyperparams(track_oscillation)(window=2).init(tree(0))


def _arrays(seed):
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in SHAPES.items()}


@pytest.mark.parametrize(
    ("layout", "explicit"), [("rows", False), ("2-D", True)], ids=["rows", "explicit"]
)
def test_sharded_as_the_parameters(layout, explicit):
    optimizer = _tracked(2)

    def train(place):
        params = place(_arrays(0))
        state = optimizer.init(params)
        for seed in range(1, 4):
            updates, state = jax.jit(optimizer.update)(
                place(_arrays(seed)), state, params
            )
            params = optax.apply_updates(params, updates)
        held = _state(state)
        measure = lambda s: (s.oscillation(), s.oscillation_by_leaf())  # noqa: E731
        return held, jax.jit(measure)(held)

    _, expected = train(lambda arrays: arrays)
    mesh = make_mesh(LAYOUTS[layout].mesh, explicit)
    shardings = LAYOUTS[layout].shardings(mesh)
    with use_mesh(mesh):
        held, got = train(
            lambda arrays: jax.tree.map(jax.device_put, arrays, shardings)
        )
        for sums in (held.path, held.displacement):
            for name, leaf in sums.items():
                assert leaf.sharding.is_equivalent_to(shardings[name], leaf.ndim)
        compiled = jax.jit(TrackOscillationState.oscillation).lower(held).compile()
    assert_close(got, expected)
    assert "all-gather" not in (compiled.as_text() or "")


def test_map_params_finds_both_trees():
    optimizer, mesh = track_oscillation(), make_mesh((8,), explicit=False)
    here, everywhere = (NamedSharding(mesh, PartitionSpec(*a)) for a in (["x"], []))
    state = optimizer.init(_arrays(0))
    placed = optax.tree_utils.tree_map_params(
        optimizer,
        lambda _, sharding: sharding,
        state,
        {"b": here, "w": here},
        transform_non_params=lambda _: everywhere,
    )
    both = {"b": here, "w": here}
    assert placed == TrackOscillationState(everywhere, both, both)


def test_init_on_abstract_parameters():
    tracker, params = track_oscillation(window=3), _arrays(0)
    assert_identical(tracker.init(jax.eval_shape(lambda: params)), tracker.init(params))


@WINDOWS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_are_stable(dtype, window):
    _check_dtypes(dtype, jnp.float32, window)


@WINDOWS
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_dtypes_are_stable_under_x64(dtype, window, x64):
    wide = jnp.float64 if dtype == "float64" else jnp.float32
    _check_dtypes(dtype, wide, window)


def _check_dtypes(dtype, sums, window):
    tracker = track_oscillation(window=window)
    state = tracker.init(tree(0, dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.path)} == {jnp.dtype(sums)}
    updates, after = jax.eval_shape(tracker.update, tree(1, dtype), state)
    assert signature(after) == signature(state)
    assert signature(updates) == signature(tree(0, dtype))
    default = jax.dtypes.canonicalize_dtype(float)
    oscillation = jax.eval_shape(TrackOscillationState.oscillation, after)
    assert signature(oscillation) == [((), default, False)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_in_16_bits_sums_stay_finite(dtype):
    tracker = track_oscillation(window=2)
    update, state = jax.jit(tracker.update), tracker.init(tree(0, dtype))
    for seed in (1, 2, 3):
        _, state = update(tree(seed, dtype), state)
    assert update._cache_size() == 1
    assert_finite((state, state.oscillation()))


@pytest.mark.parametrize(
    "params",
    [{}, jnp.zeros(()), {"empty": jnp.zeros((0, 3))}, {"w": jnp.zeros(2)}],
    ids=["no leaf", "scalar", "empty array", "zeros"],
)
def test_edges_are_finite(params):
    tracker = track_oscillation(window=2)
    state = tracker.init(params)
    for fill in (jnp.zeros_like, jnp.ones_like):
        _, state = tracker.update(jax.tree.map(fill, params), state)
        assert_finite((state, state.oscillation(), state.oscillation_by_leaf()))


def test_scan_vmap_and_the_loop_agree():
    trees = gradients(5)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def q(rate, window):
        optimizer = _tracked(window, rate)

        def step(carry, gradient):
            updates, state = optimizer.update(gradient, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), None

        start = tree(0), optimizer.init(tree(0))
        return _state(jax.lax.scan(step, start, stacked)[0][1]).oscillation()

    rates = jnp.array([0.05, 0.1])
    for window in (None, 2):
        got = jax.jit(jax.vmap(lambda rate, w=window: q(rate, w)))(rates)
        for rate, each in zip(rates, got, strict=True):
            optimizer, params = _tracked(window, rate), tree(0)
            state = optimizer.init(params)
            for gradient in trees:
                updates, state = optimizer.update(gradient, state, params)
                params = optax.apply_updates(params, updates)
            assert_close(each, _state(state).oscillation(), 1e-4)


def test_state_can_be_donated():
    tracker, params = track_oscillation(window=2), tree(0)
    state = tracker.init(params)
    _, state = tracker.update(tree(1), state)  # Eagerly: no array may be held twice.
    update = jax.jit(tracker.update, donate_argnums=(0, 1))
    for seed in (2, 3):
        given = state
        updates, state = update(tree(seed), state)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given) if leaf.ndim)
        assert_identical(updates, tree(seed))
    buffers = [
        leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((state, params))
    ]
    assert len(set(buffers)) == len(buffers)


def test_flax_nnx_wraps_the_state_in_variables():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, _tracked(), wrt=nnx.Param)
    gradient = nnx.grad(lambda m: jnp.sum(m(jnp.ones((1, 2))) ** 2))(model)
    optimizer.update(model, gradient)
    state = _state(optimizer.opt_state)
    assert state.oscillation() == 1.0
    names = [name.split("/")[0] for name in state.oscillation_by_leaf()]
    assert names == ["bias", "kernel"]
