"""The LSTM language model against NumPy, its carried state and its dropout."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.test_util import check_grads

from arsg_optax.demos.models import LSTMLanguageModel
from arsg_optax.demos.models.softmax_loss import softmax_cross_entropy
from tests.demos.models import checks

make_small = partial(LSTMLanguageModel, 11, 6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def network(tokens, carry, params):
    """Logits and carry, a word at a time in float64; tied if there is no kernel."""
    carry = [tuple(state) for state in carry]
    kernel = params.get("kernel", params["embedding"].T)
    logits = np.zeros((*tokens.shape, kernel.shape[1]))
    for t in range(tokens.shape[1]):
        x = params["embedding"][tokens[:, t]]
        for index, (h, c) in enumerate(carry):
            layer = params["layers"][index]
            gates = x @ layer["input_kernel"] + h @ layer["hidden_kernel"]
            i, f, g, o = np.split(gates + layer["bias"], 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            carry[index], x = (h, c), h
        logits[:, t] = x @ kernel + params["bias"]
    return logits, carry


def float64(tree):
    return jax.tree.map(lambda leaf: np.array(leaf, np.float64), tree)


def random_tokens(shape, words=11, seed=1):
    return jax.random.randint(jax.random.key(seed), shape, 0, words)


def random_carry(model, batch, seed=2):
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype),
        model.initial_carry(batch),
    )


def quiet(make, **options):
    """A module with random parameters (biases included) and dropout switched off."""
    model = checks.randomized(partial(make, **options))
    model.eval()
    return model


@pytest.mark.parametrize("layers, tie_weights", [(1, True), (3, False)])
def test_follows_numpy(layers, tie_weights):
    model = quiet(make_small, layers=layers, tie_weights=tie_weights)
    tokens, carry = random_tokens((4, 7)), random_carry(model, 4)
    params = float64(nnx.to_pure_dict(nnx.state(model)))
    assert ("kernel" in params) is not tie_weights
    expected = network(np.asarray(tokens), float64(carry), params)
    got = nnx.jit(lambda model, *inputs: model(*inputs))(model, tokens, carry)
    for mine, other in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tie_weights", [False, True])
def test_features_and_output_give_the_logits(tie_weights):
    model = quiet(make_small, tie_weights=tie_weights)
    tokens, carry = random_tokens((2, 3)), random_carry(model, 2)
    features, _ = model.features(tokens, carry)
    kernel, bias = model.output()
    assert features.shape == (2, 3, 6)
    assert (kernel.shape, bias.shape) == ((6, 11), (11,))
    logits, _ = model(tokens, carry)
    np.testing.assert_allclose(features @ kernel + bias[None, None], logits, rtol=1e-6)


@pytest.mark.parametrize(
    "tie_weights, expected", [(False, 13_986_078), (True, 7_330_478)]
)
def test_parameter_count_on_wikitext2(tie_weights, expected):
    make = partial(LSTMLanguageModel, 33_278, tie_weights=tie_weights)
    layer = 200 * 800 + 200 * 800 + 800
    tables = (1 if tie_weights else 2) * 33_278 * 200
    assert tables + 2 * layer + 33_278 == expected
    # Nothing else is in the module: the random numbers come with the call.
    state = nnx.state(checks.abstract(make))
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == expected


def test_dtypes():
    model = checks.abstract(make_small, dtype=jnp.bfloat16, param_dtype=jnp.float16)
    model.eval()
    stored = {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))}
    assert stored == {jnp.dtype(jnp.float16)}
    carry = model.initial_carry(5)
    tokens = jax.ShapeDtypeStruct((5, 4), jnp.int32)
    logits, after = nnx.eval_shape(lambda m, *inputs: m(*inputs), model, tokens, carry)
    assert (logits.shape, logits.dtype) == ((5, 4, 11), jnp.bfloat16)
    for states in zip(carry, after, strict=True):
        for hidden, cell in states:
            assert (hidden.shape, hidden.dtype) == ((5, 6), jnp.bfloat16)
            assert (cell.shape, cell.dtype) == ((5, 6), jnp.float32)
    kernel, bias = nnx.eval_shape(lambda m: m.output(), model)
    assert kernel.dtype == bias.dtype == jnp.float16


def test_bfloat16_is_near_float32():
    wide, narrow = quiet(make_small), quiet(make_small, dtype=jnp.bfloat16)
    tokens = random_tokens((4, 7))
    expected, _ = wide(tokens, wide.initial_carry(4))
    got, _ = narrow(tokens, narrow.initial_carry(4))
    # A few roundings to 8 significant bits, of numbers of order 1.
    np.testing.assert_allclose(got.astype(jnp.float32), expected, atol=0.05)
    assert not np.array_equal(got.astype(jnp.float32), expected)


def test_initial_values():
    model = LSTMLanguageModel(50, 30, rngs=checks.rngs())
    for table in (model.embedding[...], model.kernel[...]):
        assert 0.09 < np.abs(table).max() <= 0.1
    np.testing.assert_array_equal(model.bias[...], np.zeros(50))
    for layer in model.layers:
        gates = layer.bias[...].reshape(4, 30)
        np.testing.assert_array_equal(gates, np.repeat([[0], [1], [0], [0]], 30, 1))
        for kernel in (layer.input_kernel[...], layer.hidden_kernel[...]):
            assert 0.9 < np.abs(kernel).max() * np.sqrt(30) <= 1
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(model.initial_carry(2)))


def mean_loss(model, tokens, labels, carry):
    features, carry = model.features(tokens, carry)
    flat = features.reshape(-1, features.shape[-1])
    return softmax_cross_entropy(flat, *model.output(), labels.reshape(-1)), carry


def test_two_segments_are_one_long_segment():
    model = quiet(make_small)
    tokens, labels = random_tokens((3, 8)), random_tokens((3, 8), seed=4)
    carry = random_carry(model, 3)

    def whole(model, carry):
        return mean_loss(model, tokens, labels, carry)

    def halves(model, carry):
        first, carry = mean_loss(model, tokens[:, :4], labels[:, :4], carry)
        second, carry = mean_loss(model, tokens[:, 4:], labels[:, 4:], carry)
        return (first + second) / 2, carry

    def gradients(loss):
        get = nnx.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        return nnx.jit(get)(model, carry)

    together, apart = gradients(whole), gradients(halves)
    for one, other in zip(*map(jax.tree.leaves, (together, apart)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_carry_that_is_passed_on_carries_no_gradient():
    model = quiet(make_small, layers=1)
    tokens, labels = random_tokens((3, 4)), random_tokens((3, 4), seed=4)
    start = model.initial_carry(3)
    # Words 0 to 4 come in the first segment only.
    first, second = tokens % 5, 5 + tokens % 5

    def of_second(model, carry):
        return mean_loss(model, second, labels, carry)[0]

    def of_both(model):
        return of_second(model, model.features(first, start)[1])

    _, carry = nnx.jit(lambda model: model.features(first, start))(model)
    apart = nnx.jit(nnx.grad(of_second))(model, carry)["embedding"][...]
    through = nnx.jit(nnx.grad(of_both))(model)["embedding"][...]
    np.testing.assert_array_equal(apart[:5], np.zeros((5, 6)))
    assert np.abs(through[:5]).max() > 1e-4


def test_gradient_of_the_incoming_carry(x64):
    model = quiet(make_small, layers=2, param_dtype=jnp.float64)
    tokens, labels = random_tokens((3, 5)), random_tokens((3, 5), seed=4)
    graphdef, state = nnx.split(model)
    leaves, structure = jax.tree.flatten(random_carry(model, 3))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float64)}

    def loss(leaves):
        model = nnx.merge(graphdef, state)
        carry = jax.tree.unflatten(structure, leaves)
        return mean_loss(model, tokens, labels, carry)[0]

    check_grads(jax.jit(loss), (leaves,), order=1, modes=["rev"], rtol=1e-6)


@nnx.jit
def features_at(model, tokens, carry, key):
    return model.features(tokens, carry, rngs=nnx.Rngs(dropout=key))[0]


class Nothing(nnx.Module):
    """Stands in for a layer, so that what dropout does can be seen in the features."""

    def __call__(self, inputs, hidden, cell):
        return inputs, (hidden, cell)


def test_dropout_acts_three_times_and_keeps_the_mean():
    model = checks.randomized(partial(LSTMLanguageModel, 11, 200, dropout=0.2))
    model.layers = nnx.List([Nothing(), Nothing()])
    model.embedding[...] = jnp.ones((11, 200))
    tokens, carry = random_tokens((10, 50)), model.initial_carry(10)
    kept = np.asarray(features_at(model, tokens, carry, jax.random.key(0)))
    share = np.mean(kept != 0)
    # 100,000 numbers, each kept with probability 0.8**3: within four deviations.
    assert abs(share - 0.8**3) < 4 * np.sqrt(0.8**3 * (1 - 0.8**3) / kept.size)
    np.testing.assert_allclose(kept[kept != 0], 0.8**-3, rtol=1e-6)
    model.eval()
    untouched, _ = model.features(tokens, carry)
    np.testing.assert_array_equal(untouched, np.ones((10, 50, 200)))


def test_dropout_is_decided_by_the_key():
    model = checks.randomized(make_small)
    tokens, carry = random_tokens((2, 3)), model.initial_carry(2)

    def features(seed):
        return features_at(model, tokens, carry, jax.random.key(seed))

    first, again, other = features(0), features(0), features(1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    model.eval()
    np.testing.assert_array_equal(features(0), features(1))


def test_dropout_without_random_numbers_is_refused():
    model = checks.randomized(make_small)
    tokens, carry = random_tokens((2, 3)), model.initial_carry(2)
    for call in (model, model.features):
        with pytest.raises(ValueError, match=r"rngs must be given.*got None.*eval\(\)"):
            call(tokens, carry)
    without = checks.randomized(partial(make_small, dropout=0.0))
    assert without(tokens, carry)[0].shape == (2, 3, 11)


@pytest.mark.parametrize(
    "options", [{"dropout": 1.0}, {"dropout": -0.1}, {"layers": 0}]
)
def test_arguments_are_checked(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"{name} must be .*got {value}"):
        make_small(**options, rngs=nnx.Rngs(0))


def test_trains():
    """It learns a text that repeats itself every five words."""

    model = checks.randomized(partial(LSTMLanguageModel, 11, 16))
    optimizer = nnx.Optimizer(model, optax.adam(0.05), wrt=nnx.Param)
    text = jnp.arange(4 * 9).reshape(4, 9) % 5

    @nnx.jit
    def step(model, optimizer, carry, key):
        def loss(model):
            rngs = nnx.Rngs(dropout=key)
            features, after = model.features(text[:, :-1], carry, rngs=rngs)
            labels = text[:, 1:].reshape(-1)
            flat = features.reshape(-1, 16)
            value = softmax_cross_entropy(flat, *model.output(), labels, chunk=10)
            return value, after

        (value, after), gradients = nnx.value_and_grad(loss, has_aux=True)(model)
        optimizer.update(model, gradients)
        return value, after

    carry, losses = model.initial_carry(4), []
    for key in jax.random.split(jax.random.key(0), 15):
        value, carry = step(model, optimizer, carry, key)
        losses.append(float(value))
    assert losses[-1] < 0.7 * losses[0]
