"""The variables of a Linen model at the iterate, against NNX and NumPy."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import core, nnx
from flax.training import train_state

import arsg_optax
from arsg_optax.flax import at_iterate, iterate_variables
from tests.demos.twins import (
    Network,
    assert_trees_close,
    float64,
    linen_state,
    numpy_statistics,
    random_batches,
    trained,
)


@pytest.fixture(scope="module")
def batches():
    return random_batches()


@pytest.mark.parametrize("frozen", [False, True])
def test_same_as_in_nnx(frozen, batches):
    state, model = linen_state(frozen=frozen), Network()
    variables = iterate_variables(state, iter(batches))
    assert set(variables) == {"params", "batch_stats"}
    with at_iterate(model, trained(model), batches):
        params = float64(nnx.state(model, nnx.Param))
        statistics = float64(nnx.state(model, nnx.BatchStat))
        scores = model(batches[0])
    unfrozen = core.unfreeze(variables)
    assert_trees_close(float64(unfrozen["params"]), params, 1e-6)
    assert_trees_close(float64(unfrozen["batch_stats"]), statistics, 1e-5)
    wanted = numpy_statistics(float64(unfrozen["params"]), batches)
    assert_trees_close(float64(unfrozen["batch_stats"]), wanted)
    got = state.apply_fn(variables, batches[0], train=False)
    np.testing.assert_allclose(got, scores, rtol=1e-4, atol=1e-4)
    with pytest.raises(AssertionError):
        assert_trees_close(float64(core.unfreeze(state.params)), params)


def test_own_forward_is_compiled_once(batches):
    state, traces = linen_state(rate=0.5), []

    def forward(variables, batch, mutable):
        traces.append(batch)
        rngs = {"dropout": jax.random.key(0)}
        return state.apply_fn(
            variables, batch["x"], train=True, mutable=mutable, rngs=rngs
        )

    named = [{"x": batch} for batch in batches]
    for _ in range(2):
        got = iterate_variables(state, named, forward=forward)["batch_stats"]
    assert len(traces) == 1
    wanted = numpy_statistics(
        float64(arsg_optax.eval_params(state.opt_state, state.params)), batches
    )
    assert_trees_close(float64(got["norms_0"]), wanted["norms_0"])
    # Behind the dropout the variance is larger.
    assert np.mean(got["norms_1"]["var"] / wanted["norms_1"]["var"]) > 1.05


def test_errors(batches):
    state = linen_state()
    with pytest.raises(ValueError, match=r"at least 50, got 49; pass more.*at_least"):
        iterate_variables(state, batches[:49])
    iterate_variables(state, batches[:1], at_least=1)

    def forward(variables, batch, mutable):
        return state.apply_fn(variables, batch, train=False, mutable=mutable)

    with pytest.raises(ValueError, match=r"\['norms_0'\]\['mean'\].*train=True"):
        iterate_variables(state, batches, forward=forward)


def test_states_without_batch_statistics():
    point = linen_state(train_state.TrainState)
    wanted = arsg_optax.eval_params(point.opt_state, point.params)
    for state in (
        point,
        SimpleNamespace(params=point.params, opt_state=point.opt_state),
        linen_state().replace(batch_stats=None),
        linen_state().replace(batch_stats={}),
    ):
        got = iterate_variables(state)
        assert set(got) == {"params"}
        assert_trees_close(got["params"], wanted, 1e-7)
