"""ORSG and ARSGW: literal transcriptions, special points, and what is a matrix."""

from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import arsg_optax
from arsg_optax import MatrixAxes, hidden_matrices
from tests.problems import constant, deviation
from tests.reference import generalized, orsg

STEPS = 100


class _Matrix:
    """A noisy quadratic of one kernel, in float64."""

    def __init__(self, shape, seed=0):
        rng = np.random.default_rng(seed)
        self.start, self.target = rng.normal(size=(2, *shape))
        self.curvature = 10 ** rng.uniform(-1, 0, size=shape)
        self.noise = 0.3 * rng.normal(size=(STEPS, *shape))

    def gradient(self, t, w):
        return self.curvature * (w - self.target) + self.noise[t]

    def path(self, optimizer, dtype=jnp.float64, evaluate=False):
        """What an optimizer holds after each update, or evaluates at."""

        @jax.jit
        def step(gradient, state, params):
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        params: Any = jnp.asarray(self.start, dtype)
        state, points = optimizer.init(params), []
        for t in range(STEPS):
            gradient = self.gradient(t, np.asarray(params, np.float64))
            params, state = step(jnp.asarray(gradient, dtype), state, params)
            point = arsg_optax.eval_params(state, params) if evaluate else params
            points.append(np.asarray(point, np.float64))
        return points


def _log_time(t):
    return (t + 1) / (t + 9)


def _warm_up(t):
    return 0.02 * min((t + 1) / 20, 1.0)


def _scheduled(count):
    return 0.02 * jnp.minimum((count.astype(jnp.float64) + 1) / 20, 1.0)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
@pytest.mark.parametrize("scale", ["width", "rms"])
def test_orsg_follows_its_equations(shape, scale, x64):
    task = _Matrix(shape)
    optimizer = arsg_optax.orsg(_scheduled, scale=scale, weight_decay=0.1)
    steps = orsg.orsg(
        task.gradient,
        task.start,
        _warm_up,
        _log_time,
        constant(0.2),
        STEPS,
        0.1,
        scale,
    )
    assert deviation(task.path(optimizer), list(steps), task.start) < 1e-12


def test_orsg_in_float32():
    task = _Matrix((5, 8))
    got = task.path(arsg_optax.orsg(0.02), jnp.float32)
    steps = orsg.orsg(
        task.gradient, task.start, constant(0.02), _log_time, constant(0.2), STEPS
    )
    assert deviation(got, list(steps), task.start) < 1e-4


def test_exact_orsg_and_its_iterate(x64):
    task = _Matrix((5, 8))
    optimizer = arsg_optax.orsg(_scheduled, exact=True, weight_decay=0.1)
    steps = orsg.orsg_exact(
        task.gradient, task.start, _warm_up, _log_time, constant(0.2), STEPS, 0.1
    )
    held, iterates = zip(*steps, strict=True)
    assert deviation(task.path(optimizer), held, task.start) < 1e-12
    got = task.path(optimizer, evaluate=True)
    assert deviation(got, iterates, task.start) < 1e-12


def test_muon_is_a_special_point(x64):
    task = _Matrix((5, 8))
    ours = arsg_optax.orsg(0.02, b1=0.95, observation=0.05, weight_decay=0.1)
    steps = orsg.muon(task.gradient, task.start, constant(0.02), 0.95, STEPS, 0.1)
    assert deviation(task.path(ours), list(steps), task.start) < 1e-12


def test_the_muon_of_optax_weighs_the_first_gradients_otherwise(x64, relaxed_promotion):
    """By its bias correction, which depends on the count: 1.95 at first, 1.03 later.

    Of its mixture (a m + c g) the ratio c / a, over the published one.
    """

    def ratio(t, beta=0.95):
        corrected = (1 - beta ** (t + 1)) / (1 - beta**t)
        return corrected

    assert ratio(1) == pytest.approx(1.95, abs=0.01)
    assert ratio(20) == pytest.approx(1.03, abs=0.01)

    beta, task = 0.95, _Matrix((5, 8))
    y, m, expected = task.start, np.zeros((5, 8)), []
    for t in range(1, STEPS + 1):
        g = task.gradient(t - 1, y)
        m = beta * m + (1 - beta) * g
        y = y - 0.02 * orsg.newton_schulz(
            beta * m / ratio(t) + (1 - beta) * g
        ) * np.sqrt(8 / 5)
        expected.append(y)
    theirs = optax.contrib.muon(0.02, beta=beta)
    assert deviation(task.path(theirs), expected, task.start) < 1e-9


def test_without_a_matrix_it_is_arsgw():
    params = {"w": jnp.ones((3, 4)), "b": jnp.arange(3.0)}
    orthogonal = arsg_optax.orsg(0.1, matrices=False, weight_decay=0.1)
    adaptive = arsg_optax.arsgw(0.1, weight_decay=0.1)

    def path(optimizer):
        held, state = params, optimizer.init(params)
        for t in range(5):
            gradients = jax.tree.map(lambda x, t=t: x * jnp.cos(t + x), held)
            updates, state = optimizer.update(gradients, state, held)
            held = optax.apply_updates(held, updates)
        return held, arsg_optax.eval_params(state, held)

    jax.tree.map(np.testing.assert_array_equal, path(orthogonal), path(adaptive))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_arsgw_follows_its_equations(decay, x64):
    task = _Matrix((7,))
    optimizer = arsg_optax.arsgw(0.01, b2=0.9, weight_decay=decay)
    m, v, y, expected = np.zeros(7), np.zeros(7), task.start, []
    for t in range(STEPS):
        g, b = task.gradient(t, y), _log_time(t)
        m = b * m + (1 - b) * g
        v = 0.9 * v + 0.1 * g**2
        d = 0.8 * m + 0.2 * g
        y = y - 0.01 * (d / (np.sqrt(v / (1 - 0.9 ** (t + 1))) + 1e-8) + decay * y)
        expected.append(y)
    assert deviation(task.path(optimizer), expected, task.start) < 1e-12


def test_arsgw_is_generalized_arsg(x64):
    task = _Matrix((7,))
    ours = arsg_optax.arsgw(0.01, b1=0.9, b2=0.99, observation=0.1)
    other = arsg_optax.arsg(
        0.01, 0.9, preconditioner=arsg_optax.scale_by_adam_rms(0.99)
    )
    assert deviation(task.path(ours), task.path(other), task.start) < 1e-14
    assert generalized.adam  # Its transcription: tests/test_transcriptions.py.


def test_a_rate_of_its_own_for_the_rest():
    params = {"w": jnp.ones((3, 4)), "b": jnp.ones(3)}
    optimizer = arsg_optax.orsg(0.5, learning_rate_rest=0.0)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["b"], 0.0)
    assert jnp.abs(updates["w"]).min() > 0.01


def test_a_mask_chooses_what_decays():
    params = {"w": jnp.ones((3, 4)), "v": jnp.ones((3, 4)), "b": jnp.ones(3)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    for mask in (
        {"w": True, "v": False, "b": False},
        lambda tree: {"w": True, "v": False, "b": False},
    ):
        optimizer = arsg_optax.orsg(0.5, weight_decay=0.1, mask=mask)
        updates, _ = optimizer.update(zeros, optimizer.init(params), params)
        np.testing.assert_allclose(updates["w"], -0.05)
        np.testing.assert_array_equal(updates["v"], 0.0)
        np.testing.assert_array_equal(updates["b"], 0.0)


@pytest.mark.parametrize(
    "matrices",
    [
        {"w": MatrixAxes(0, (1, 2)), "k": True, "b": False},
        lambda tree: {"w": MatrixAxes(0, (1, 2)), "k": True, "b": None},
        lambda tree: hidden_matrices(tree, {"^w$": MatrixAxes(0, (1, 2))}),
    ],
)
def test_named_matrices_take_the_step_of_the_equivalent_matrix(matrices):
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(8, 2, 3)), "k": rng.normal(size=(4, 4))}
    arrays = jax.tree.map(jnp.float32, {**arrays, "b": rng.normal(size=4)})
    flat = {**arrays, "w": arrays["w"].reshape(8, 6)}
    optimizer, plain = arsg_optax.orsg(0.1, matrices=matrices), arsg_optax.orsg(0.1)
    got, _ = optimizer.update(arrays, optimizer.init(arrays), arrays)
    expected, _ = plain.update(flat, plain.init(flat), flat)
    np.testing.assert_allclose(got["w"].reshape(8, 6), expected["w"], atol=1e-6)
    np.testing.assert_allclose(got["k"], expected["k"], atol=1e-6)
    np.testing.assert_allclose(got["b"], expected["b"], atol=1e-6)


def test_an_array_of_three_axes_is_not_guessed():
    params = {"layers": {"kernel": jnp.ones((2, 3, 4))}}
    message = r"what 'layers/kernel' of shape \(2, 3, 4\) is.*MatrixAxes\(input=0"
    with pytest.raises(ValueError, match=message):
        arsg_optax.orsg(0.1).init(params)


class _Nnx(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(11, 8, rngs=rngs)
        self.pos_embedding = nnx.Param(jnp.ones((5, 8)))
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.mlp = nnx.Linear(8, 16, rngs=rngs)
        self.layer_norm = nnx.LayerNorm(8, rngs=rngs)
        self.lm_head = nnx.Linear(8, 11, rngs=rngs)


def _chosen(tree, rules=None):
    found = hidden_matrices(tree, rules)
    leaves = jax.tree_util.tree_leaves_with_path(
        found, is_leaf=lambda node: isinstance(node, MatrixAxes)
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): axes
        for path, axes in leaves
    }


def test_hidden_matrices_of_a_flax_model():
    rules = {"(query|key|value)/kernel": MatrixAxes(0, (1, 2))}
    rules["attention/out/kernel"] = MatrixAxes((0, 1), 2)
    model = _Nnx(nnx.Rngs(0))
    tree = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert _chosen(tree, rules) == {
        "attention/query/kernel": MatrixAxes(0, (1, 2)),
        "attention/key/kernel": MatrixAxes(0, (1, 2)),
        "attention/value/kernel": MatrixAxes(0, (1, 2)),
        "attention/out/kernel": MatrixAxes((0, 1), 2),
        "mlp/kernel": MatrixAxes(0, 1),
    }
    optimizer = nnx.Optimizer(
        model,
        arsg_optax.orsg(0.1, matrices=lambda tree: hidden_matrices(tree, rules)),
        wrt=nnx.Param,
    )
    before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    assert all(jax.tree.leaves(moved))


def test_hidden_matrices_of_a_haiku_model():
    def forward(tokens):
        x = hk.Embed(11, 8)(tokens)
        x = hk.MultiHeadAttention(2, 4, w_init=hk.initializers.RandomNormal())(x, x, x)
        return hk.Linear(11, name="logits")(hk.LayerNorm(-1, True, True)(x))

    model = hk.without_apply_rng(hk.transform(forward))
    params = model.init(jax.random.key(0), jnp.zeros((1, 5), int))
    names = {f"multi_head_attention/{name}/w" for name in ("query", "key", "value")}
    assert set(_chosen(params)) == names | {"multi_head_attention/linear/w"}


def test_a_weight_of_equinox_has_its_outputs_first():
    model = eqx.nn.MLP(3, 5, 8, 1, key=jax.random.key(0))
    found = _chosen(eqx.filter(model, eqx.is_array))
    assert set(found.values()) == {MatrixAxes(1, 0)} and len(found) == 2


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("encoder/layer_0/mlp/kernel", True),
        ("multi_head_attention/linear/w", True),
        ("TransformerBlock_0/MultiHead_0/Dense_0/kernel", True),
        ("position_wise_ffn/kernel", True),
        ("lora/lora_b", True),
        ("res_net50/~/logits/w", False),
        ("vit/~/head/w", False),
        ("logits_dense/kernel", False),
        ("tok_emb/weight", False),
        ("cls_token", False),
        ("decoder/wte/embedding", False),
        ("ln_f/weight", False),
        ("layers/layernorm/weight", False),
        ("attention/query/bias", False),
        ("A_log", False),
    ],
)
def test_names_of_modules_and_parameters(path, hidden):
    """One dictionary a name, and Haiku's, which joins the names of modules."""
    *modules, last = path.split("/")
    tree = {last: jnp.ones((2, 2))}
    joined = {"/".join(modules): tree} if modules else tree
    for module in reversed(modules):
        tree = {module: tree}
    assert bool(_chosen(tree)) == bool(_chosen(joined)) == hidden


def test_recurrent_cells_of_equinox_have_their_outputs_first():
    cell = eqx.nn.GRUCell(3, 4, key=jax.random.key(0))
    assert set(_chosen(eqx.filter(cell, eqx.is_array)).values()) == {MatrixAxes(1, 0)}


def test_a_callable_model_is_a_tree_of_verdicts():
    model = eqx.nn.Linear(3, 4, key=jax.random.key(0))
    optimizer = arsg_optax.orsg(0.1, matrices=hidden_matrices(model))
    updates, _ = optimizer.update(model, optimizer.init(model), model)
    assert updates.weight.shape == (4, 3)


def test_an_injected_schedule_is_no_choice_of_matrices():
    factory = optax.inject_hyperparams(arsg_optax.orsg)
    with pytest.raises(ValueError, match=r"static_args=\('matrices',\)"):
        factory(0.1, matrices=hidden_matrices).init({"w": jnp.ones((2, 2))})


def test_wrong_rules_and_matrices():
    params = {"w": jnp.ones((2, 2))}
    with pytest.raises(ValueError, match="rules must be True, False or MatrixAxes"):
        hidden_matrices(params, {"w": (0, 1)})
    with pytest.raises(ValueError, match="matrices must hold"):
        arsg_optax.orsg(0.1, matrices={"w": "yes"}).init(params)
    with pytest.raises(ValueError, match="coefficients must be three numbers"):
        arsg_optax.orsg(0.1, coefficients=())
    with pytest.raises(ValueError, match="matrices must have the tree structure"):
        arsg_optax.orsg(0.1, matrices={"v": True}).init(params)


def test_injected_and_accumulated(relaxed_promotion):
    params = {"w": jnp.eye(3), "b": jnp.ones(3)}
    plain = arsg_optax.orsg(0.1)
    injected = optax.inject_hyperparams(arsg_optax.orsg)(0.1)
    every = optax.MultiSteps(plain, 1)
    expected, _ = plain.update(params, plain.init(params), params)
    for wrapped in (injected, every):
        got, _ = jax.jit(wrapped.update)(params, wrapped.init(params), params)
        for name in params:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)
