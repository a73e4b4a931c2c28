"""The transformers against NumPy, their sizes, and what a token may see."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from arsg_optax.demos.models import Transformer, ViT
from tests.demos.models import checks

WORDS, WIDTH, DEPTH, HEADS = 11, 24, 2, 4
make_small = partial(Transformer, WORDS, WIDTH, DEPTH, HEADS)
make_vit = partial(ViT, 8, 4, WIDTH, DEPTH, HEADS, classes=3)
OPTIONS = [
    {},
    {"mlp": "gelu", "tie_weights": False, "qk_norm": True},
    {"key_value_heads": 2, "mlp_width": 10, "qk_norm": True},
]


def normalized(x, norm):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * norm["scale"]


def rotated(x):
    """A head's features, pair by pair, as complex numbers."""
    half = x.shape[1] // 2
    frequencies = 10_000.0 ** (-np.arange(half) / half)
    turn = np.exp(1j * np.arange(len(x))[:, None] * frequencies)
    pairs = (x[:, :half] + 1j * x[:, half:]) * turn
    return np.concatenate([pairs.real, pairs.imag], 1)


def attended(x, layer, causal):
    """Attention of one sequence `[time, width]`, head by head."""
    query, key, value = (
        np.split(x @ layer[name]["kernel"], heads, axis=1)
        for name in ("query", "key", "value")
        for heads in [layer[name]["kernel"].shape[1] * HEADS // WIDTH]
    )
    outputs = []
    for head, q in enumerate(query):
        shared = head * len(key) // HEADS
        k, v = key[shared], value[shared]
        if "query_norm" in layer:
            q, k = normalized(q, layer["query_norm"]), normalized(k, layer["key_norm"])
        if causal:
            q, k = rotated(q), rotated(k)
        scores = np.exp(q @ k.T / np.sqrt(q.shape[1]))
        scores = np.tril(scores) if causal else scores
        outputs.append(scores / scores.sum(1, keepdims=True) @ v)
    return np.concatenate(outputs, 1) @ layer["out"]["kernel"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def transformed(x, params, causal):
    """The blocks and the last norm."""
    for index in range(DEPTH):
        layer = params["layers"][index]
        x = x + attended(
            normalized(x, layer["attention_norm"]), layer["attention"], causal
        )
        mlp, inner = layer["mlp"], normalized(x, layer["mlp_norm"])
        up = inner @ mlp["up"]["kernel"]
        if "gate" in mlp:
            gate = inner @ mlp["gate"]["kernel"]
            up = up * gate / (1 + np.exp(-gate))
        else:
            up = gelu(up)
        x = x + up @ mlp["down"]["kernel"]
    return normalized(x, params["norm"])


def arrays_of(model):
    arrays = nnx.to_pure_dict(nnx.state(model))
    return jax.tree.map(lambda leaf: np.array(leaf, np.float64), arrays)


def random_tokens(shape=(3, 7)):
    return jax.random.randint(jax.random.key(1), shape, 0, WORDS)


@nnx.jit
def run(model, inputs):
    return model(inputs)


@pytest.mark.parametrize("options", OPTIONS)
def test_follows_numpy(options):
    model = checks.randomized(partial(make_small, **options))
    params, tokens = arrays_of(model), random_tokens()
    table = params["embed"]["embedding"]
    kernel = params["head"]["kernel"] if "head" in params else table.T
    assert ("head" in params) is not options.get("tie_weights", True)
    for row, got in zip(tokens, run(model, tokens), strict=True):
        expected = transformed(table[row], params, causal=True) @ kernel
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("class_token", [False, True])
def test_vit_follows_numpy(class_token):
    model = checks.randomized(partial(make_vit, class_token=class_token))
    params = arrays_of(model)
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3))
    got = run(model, jnp.asarray(images, jnp.float32))
    for image, scores in zip(images, got, strict=True):
        corners = [(row, column) for row in (0, 4) for column in (0, 4)]
        cut = np.stack([image[r : r + 4, c : c + 4].reshape(-1) for r, c in corners])
        x = cut @ params["patch_embed"]["kernel"] + params["patch_embed"]["bias"]
        if class_token:
            x = np.concatenate([params["class_token"][None], x])
        x = transformed(x + params["position"]["embedding"], params, causal=False)
        x = x[0] if class_token else x.mean(0)
        expected = x @ params["head"]["kernel"] + params["head"]["bias"]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def size(make, **options):
    state = nnx.state(checks.abstract(make, **options))
    return sum(leaf.size for leaf in jax.tree.leaves(state))


def matrices(width, shared, hidden, layers):
    """Parameters of attention and of an MLP of `layers` matrices."""
    return 2 * width**2 + 2 * width * shared + layers * width * hidden


@pytest.mark.parametrize("scan", [False, True])
def test_parameters(scan):
    block = matrices(512, 512, 1408, 3) + 2 * 512
    make = partial(Transformer, 256, 512, 8, 8, scan=scan)
    assert size(make) == 256 * 512 + 8 * block + 512
    grouped = matrices(512, 128, 1408, 3) + 2 * 512 + 2 * 64
    options = {"key_value_heads": 2, "qk_norm": True, "tie_weights": False}
    assert size(make, **options) == 2 * 256 * 512 + 8 * grouped + 512


def test_parameters_of_gpt2_small():
    """GPT-2's 124,439,808 without biases and positions: 123.6 million."""
    gpt2 = partial(Transformer, 50_257, 768, 12, 12, mlp="gelu")
    biases = 12 * (3 * 768 + 768 + 4 * 768 + 768 + 2 * 768) + 768
    assert size(gpt2) == 124_439_808 - 1024 * 768 - biases


def test_parameters_of_the_vit():
    block = matrices(192, 192, 768, 2) + 2 * 192
    ends = (48 + 1) * 192 + 192 + (192 + 1) * 10
    assert size(ViT) == ends + 64 * 192 + 6 * block
    assert size(ViT, class_token=True) == size(ViT) + 2 * 192


@cache
def initial():
    return make_small(rngs=checks.rngs())


def test_a_token_does_not_see_later_ones():
    model = checks.randomized(make_small)
    tokens = random_tokens()
    before, after = run(model, tokens), run(model, tokens.at[:, 4].add(1) % WORDS)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).any(-1).all()


def test_scores_of_a_pooled_vit_depend_on_positions():
    model = checks.randomized(make_vit)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    assert not np.allclose(run(model, images), run(model, images[:, :, ::-1]))


def loss_and_gradients(model):
    tokens = random_tokens()

    def loss(model):
        return jnp.mean(jnp.square(model(tokens) - 1))

    value, gradients = nnx.jit(nnx.value_and_grad(loss))(model)
    return value, nnx.to_pure_dict(gradients)


def test_scan_and_remat_change_nothing():
    loss, gradients = loss_and_gradients(initial())
    blocks = gradients["layers"].values()
    gradients["layers"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    got = loss_and_gradients(make_small(scan=True, remat=True, rngs=checks.rngs()))
    for mine, other in zip(
        *map(jax.tree.leaves, (got, (loss, gradients))), strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-7)


def test_a_scan_is_compiled_once_however_deep():
    tokens = random_tokens()

    def operations(depth):
        model = checks.abstract(make_deep, depth=depth, scan=True)
        return len(str(nnx.jit(lambda m: m(tokens)).lower(model).as_text()).split("\n"))

    make_deep = partial(Transformer, WORDS, WIDTH, heads=HEADS)
    assert operations(2) == operations(6)


def test_bfloat16():
    options = {"qk_norm": True, "scan": True, "remat": True}
    narrow = checks.abstract(make_small, **options, dtype=jnp.bfloat16)
    stored = {leaf.dtype for leaf in jax.tree.leaves(nnx.state(narrow))}
    assert stored == {jnp.dtype(jnp.float32)}
    checks.assert_contract(make_vit, (8, 8, 3), size(make_vit))
    narrow = make_small(rngs=checks.rngs(), dtype=jnp.bfloat16)
    expected, got = run(initial(), random_tokens()), run(narrow, random_tokens())
    assert got.dtype == jnp.float32
    # Logits of deviation 0.4, from activations of 8 significant bits.
    np.testing.assert_allclose(got, expected, atol=0.02)
    assert not np.array_equal(got, expected)


def sequences():
    tokens = random_tokens((4, 8))
    return initial(), tokens, jnp.roll(tokens, -1, axis=1), WORDS


def pictures():
    model = make_vit(class_token=True, rngs=checks.rngs())
    images = jax.random.normal(jax.random.key(1), (9, 8, 8, 3))
    return model, images, jnp.arange(9) % 3, 3


@pytest.mark.parametrize("make", [sequences, pictures])
def test_starts_with_equal_chances_and_overfits_one_batch(make):
    model, inputs, labels, count = make()
    graph, params = nnx.split(model)
    optimizer = optax.adam(0.01)

    def loss(params):
        logits = nnx.merge(graph, params)(inputs)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses)

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            value, gradients = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(params, updates), state), value

        start = (params, optimizer.init(params))
        return jax.lax.scan(step, start, None, length=60)[1]

    losses = train(params)
    # Logits of deviation 0.4 cost half its square; those of the images start at zero.
    expected = np.log(count) + (0.08 if make is sequences else 0)
    assert abs(losses[0] - expected) < (0.1 if make is sequences else 1e-6)
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    "make, options, error",
    [
        (Transformer, {"heads": 3}, "heads must divide width.*64 and 3"),
        (Transformer, {"key_value_heads": 3}, "key_value_heads must.*4 heads, got 3"),
        (Transformer, {"mlp": "relu"}, "mlp must be 'swiglu' or 'gelu', got 'relu'"),
        (Transformer, {"depth": 0}, "depth must be at least 1, got 0"),
        (partial(ViT, patch_size=5), {}, "patch_size must divide image_size 32, got 5"),
    ],
)
def test_arguments_are_checked(make, options, error):
    arguments = (WORDS,) if make is Transformer else ()
    with pytest.raises(ValueError, match=error):
        checks.abstract(partial(make, *arguments, **options))
