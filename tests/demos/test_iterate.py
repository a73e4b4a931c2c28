"""An NNX model held at the iterate, against NumPy; the module's examples."""

import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import arsg_optax
import arsg_optax.flax as iterate
from arsg_optax.demos.models.layers import BatchNorm
from arsg_optax.flax import at_iterate, iterate_variables
from tests.demos.twins import (
    Network,
    Plain,
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


def snapshot(model):
    """Bytes of all variables, and modes of all layers."""
    arrays = [
        np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf).tobytes()
        for leaf in jax.tree.leaves(nnx.state(model))
    ]
    modes = [
        (path, getattr(module, mode))
        for path, module in nnx.iter_modules(model)
        for mode in ("use_running_average", "deterministic")
        if hasattr(module, mode)
    ]
    assert len(modes) > 0
    return arrays, modes


def _is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@pytest.mark.parametrize("norm", [nnx.BatchNorm, BatchNorm])
def test_inside_the_block(norm, batches):
    model = Network(norm)
    optimizer = trained(model)
    held = nnx.state(model, nnx.Param)
    point = arsg_optax.eval_params(optimizer.opt_state, held)
    assert not np.allclose(point["last"]["kernel"][...], model.last.kernel[...])
    with at_iterate(model, optimizer, iter(batches)) as evaluated:
        assert evaluated is model
        for one, other in zip(
            *map(jax.tree.leaves, (nnx.state(model, nnx.Param), point)), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        wanted = numpy_statistics(float64(point), batches)
        assert_trees_close(float64(nnx.state(model, nnx.BatchStat)), wanted)
        assert model.dropout.deterministic
        assert all(norm.use_running_average for norm in model.norms)
        # Evaluation leaves everything as it is.
        np.testing.assert_array_equal(model(batches[0]), model(batches[0]))
        assert_trees_close(float64(nnx.state(model, nnx.BatchStat)), wanted)


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
@pytest.mark.parametrize("error", [False, True])
def test_all_is_put_back(mode, error, batches):
    model = Network()
    optimizer = trained(model)
    model.eval() if mode == "eval" else model.train()
    if mode == "mixed":
        model.norms[0].use_running_average = True
    before = snapshot(model)

    def change():
        with at_iterate(model, optimizer, batches[:2], at_least=2):
            assert snapshot(model) != before
            model.train()
            model(batches[0])  # Moves statistics and the count of dropout.
            model.last.kernel[...] *= 0.0
            if error:
                raise RuntimeError("inside")

    if error:
        with pytest.raises(RuntimeError, match="inside"):
            change()
    else:
        change()
    assert snapshot(model) == before


def test_donated_arrays_are_put_back_too(batches):
    model = Network()
    optimizer, before = trained(model, optax.adam(0.1)), snapshot(model)

    @nnx.jit(donate_argnums=0)
    def lose(model):
        model.last.bias[...] += 1.0

    with at_iterate(model, optimizer, batches) as evaluated:
        lose(evaluated)
    assert snapshot(model) == before


def test_too_few_batches(batches):
    model = Network()
    optimizer, before = trained(model), snapshot(model)
    with (
        pytest.raises(ValueError, match=r"at least 50, got 49; pass more.*at_least"),
        at_iterate(model, optimizer, batches[:49]),
    ):
        pytest.fail("entered")
    assert snapshot(model) == before
    with (
        pytest.raises(ValueError, match="batches must be at least 50, got 0"),
        at_iterate(model, optimizer),
    ):
        pytest.fail("entered")
    with at_iterate(model, optimizer, batches[:3], at_least=3):
        params = float64(nnx.state(model, nnx.Param))
        got = float64(nnx.state(model, nnx.BatchStat))
        assert_trees_close(got, numpy_statistics(params, batches[:3]))


def test_a_forward_pass_in_evaluation_mode(batches):
    model = Network()
    optimizer, before = trained(model), snapshot(model)

    def forward(model, batch):
        model.eval()
        model(batch)

    with (
        pytest.raises(ValueError, match=r"must change all statistics.*mean.*var"),
        at_iterate(model, optimizer, batches, forward=forward),
    ):
        pytest.fail("entered")
    assert snapshot(model) == before


def test_a_layer_that_is_left_out(batches):
    model = Network()

    def forward(model, batch):
        model.norms[0](model.inner(batch))

    with (
        pytest.raises(ValueError, match=r"got the same ones back at \S*1\S*mean"),
        at_iterate(model, trained(model), batches, forward=forward),
    ):
        pytest.fail("entered")


def test_batches_of_another_form_are_compiled_once(batches):
    model, traces = Network(), []
    optimizer = trained(model)

    def forward(model, batch):
        traces.append(batch)
        model(batch["x"])

    named = [{"x": batch, "label": 0} for batch in batches]
    for _ in range(2):
        with at_iterate(model, optimizer, named, forward=forward):
            got = float64(nnx.state(model, nnx.BatchStat))
        optimizer.update(model, nnx.state(model, nnx.Param))
    assert len(traces) == 1
    with at_iterate(model, optimizer, batches):
        assert not np.allclose(got["norms_1"]["mean"], model.norms[1].mean[...])


def test_without_batch_normalization_no_batch_is_needed(batches):
    model = Plain()
    optimizer = trained(model)
    point = arsg_optax.eval_params(optimizer.opt_state, nnx.state(model, nnx.Param))
    with at_iterate(model, optimizer) as evaluated:
        wanted = batches[0] @ point["last"]["kernel"][...]
        wanted += point["last"]["bias"][...][None]
        np.testing.assert_allclose(evaluated(batches[0]), wanted, rtol=1e-5)
    assert not model.dropout.deterministic


def test_the_optimizer_as_a_state(batches):
    model = Network()
    solver = arsg_optax.rsg(0.1, 0.9, observation=0.2)
    params = nnx.state(model, nnx.Param)
    _, state = solver.update(params, solver.init(params), params)
    point = arsg_optax.eval_params(state, params)
    with at_iterate(model, state, batches):
        np.testing.assert_array_equal(
            model.last.kernel[...], point["last"]["kernel"][...]
        )
    assert not np.allclose(model.last.kernel[...], point["last"]["kernel"][...])


def test_an_optimizer_of_some_parameters(batches):
    model, wrt = Network(), nnx.PathContains("last")
    optimizer = trained(model, wrt=wrt)
    before = float64(nnx.state(model, nnx.Param))
    point = arsg_optax.eval_params(optimizer.opt_state, nnx.state(model, wrt))
    with at_iterate(model, optimizer, batches):
        after = float64(nnx.state(model, nnx.Param))
    np.testing.assert_array_equal(after["last"]["kernel"], point["last"]["kernel"][...])
    assert not np.allclose(after.pop("last")["kernel"], before.pop("last")["kernel"])
    assert_trees_close(after, before, 0)


def test_an_optimizer_of_more_than_parameters():
    """The optimizer's own filter is asked, not `nnx.Param`."""

    class Scale(nnx.Variable):
        pass

    model = Plain()
    model.scale = Scale(jnp.ones(()))
    wrt = nnx.Any(nnx.Param, Scale)
    optimizer = trained(model, wrt=wrt)
    point = arsg_optax.eval_params(optimizer.opt_state, nnx.state(model, wrt))
    with at_iterate(model, optimizer):
        np.testing.assert_array_equal(model.scale[...], point["scale"][...])


def test_an_optimizer_without_observation(batches):
    model = Network()
    optimizer = trained(model, optax.adam(0.1))
    before = float64(nnx.state(model, nnx.Param))
    with at_iterate(model, optimizer, batches):
        assert_trees_close(float64(nnx.state(model, nnx.Param)), before, 0)
        got = float64(nnx.state(model, nnx.BatchStat))
    assert_trees_close(got, numpy_statistics(before, batches))


def test_the_examples_of_the_docstring(batches):
    blocks = [
        textwrap.dedent(block.split("\n\nIn ")[0])
        for block in str(iterate.__doc__).split("::\n")[1:]
    ]
    model = Network()
    names = {
        "at_iterate": at_iterate,
        "iterate_variables": iterate_variables,
        "model": model,
        "optimizer": trained(model),
        "batches": batches,
        "evaluate": lambda model, images: model(images),
        "test_set": batches[0],
        "images": batches[0],
        "state": linen_state(),
    }
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)
    np.testing.assert_allclose(names["accuracy"], names["logits"], rtol=1e-4, atol=1e-4)
