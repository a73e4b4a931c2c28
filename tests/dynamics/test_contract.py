"""What every function promises: jit, vmap, broadcasting, dtypes, errors, imports."""

import ast
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax import dynamics


def _optimum(lambda_min, lambda_max, mu):
    return dynamics.optimal_hyperparams(lambda_min, lambda_max, observation=mu)


def _along_time(curvature, rate, b1, mu):
    return dynamics.gain_and_noise(curvature, rate, b1, mu, counts=[1, 3])


FUNCTIONS = {
    "gain_matrix": (dynamics.gain_matrix, (0.3, 0.9, 0.1)),
    "eigenvalues": (dynamics.eigenvalues, (0.3, 0.9, 0.1)),
    "gain_factor": (dynamics.gain_factor, (0.3, 0.9, 0.1)),
    "variance_limit": (dynamics.variance_limit, (0.3, 0.9, 0.1)),
    "final_loss": (dynamics.final_loss, (0.3, 0.9, 0.1, 2.0, 0.5)),
    "convergence_bound": (dynamics.convergence_bound, (0.9, 0.1)),
    "symmetric_point": (dynamics.symmetric_point, (0.9, 0.1)),
    "complex_region": (dynamics.complex_region, (0.9, 0.1)),
    "fastest_tau": (dynamics.fastest_tau, (0.9, 0.1)),
    "boost_ratio": (dynamics.boost_ratio, (0.9, 0.1)),
    "theorem1_rate": (dynamics.theorem1_rate, (1e4, 0.1, 1.0, 1.0)),
    "optimal_hyperparams": (_optimum, (1.0, 30.0, 0.1)),
    "max_gain_expectation": (dynamics.max_gain_expectation, (0.4, 0.9, 0.9, 1.0)),
    "gain_and_noise": (_along_time, (0.3, 1.1, 0.9, 0.1)),
    "simulate": (partial(dynamics.simulate, steps=3), (0.3, 0.9, 0.1)),
}
EVERY = pytest.mark.parametrize(
    ("function", "arguments"), FUNCTIONS.values(), ids=list(FUNCTIONS)
)


def _assert_close(one, other, rtol=1e-5):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7)


def _real_dtypes(tree):
    return {jnp.finfo(leaf.dtype).dtype for leaf in jax.tree.leaves(tree)}


@EVERY
def test_jit(function, arguments):
    _assert_close(jax.jit(function)(*arguments), function(*arguments))


@EVERY
def test_vmap_is_broadcasting(function, arguments):
    columns = [jnp.asarray(value) * jnp.asarray([1.0, 0.97]) for value in arguments]
    along_time = [FUNCTIONS[name][0] for name in ("simulate", "gain_and_noise")]
    axis = 1 if function in along_time else 0  # after the steps
    mapped = jax.vmap(function, out_axes=axis)(*columns)
    _assert_close(mapped, function(*columns))


@EVERY
def test_ranks_mix_although_rank_promotion_raises(function, arguments):
    first = jnp.full((3, 1), arguments[0])
    second = np.full(2, arguments[1])
    got = function(first, second, *arguments[2:])
    alone = function(*arguments)
    for array, scalar in zip(jax.tree.leaves(got), jax.tree.leaves(alone), strict=True):
        assert array.size == 6 * scalar.size and {3, 2} <= set(array.shape)


@EVERY
def test_float32_without_x64(function, arguments):
    assert _real_dtypes(function(*arguments)) == {np.dtype("float32")}
    assert _real_dtypes(function(*map(np.float64, arguments))) == {np.dtype("float32")}


@EVERY
def test_dtypes_mix_although_promotion_is_strict(x64, function, arguments):
    single = jnp.asarray(arguments[0], jnp.float32)
    assert _real_dtypes(function(single, *arguments[1:])) == {np.dtype("float32")}
    mixed = (single, jnp.asarray(arguments[1], jnp.float64), *arguments[2:])
    assert _real_dtypes(function(*mixed)) == {np.dtype("float64")}
    assert _real_dtypes(function(*arguments)) == {np.dtype("float64")}


@EVERY
def test_sixteen_bits_are_computed_in_float32(function, arguments):
    narrow = [jnp.asarray(value, jnp.bfloat16) for value in arguments]
    wide = [value.astype(jnp.float32) for value in narrow]
    assert _real_dtypes(function(*narrow)) == {np.dtype("float32")}
    _assert_close(function(*narrow), function(*wide))


@EVERY
def test_gradients_are_those_of_finite_differences(x64, function, arguments):
    def total(*values):
        leaves = jax.tree.leaves(function(*values))
        return sum(jnp.sum(leaf.real) + 2 * jnp.sum(leaf.imag) for leaf in leaves)

    got = jax.grad(total, argnums=tuple(range(len(arguments))))(*arguments)
    for index, derivative in enumerate(got):
        size = 1e-6 * arguments[index]
        ends = [list(arguments), list(arguments)]
        ends[0][index] += size
        ends[1][index] -= size
        expected = (total(*ends[0]) - total(*ends[1])) / (2 * size)
        np.testing.assert_allclose(derivative, expected, rtol=2e-5, atol=1e-8)


def test_integers_and_lists_of_settings():
    assert dynamics.gain_factor(1, 0, 0) == 0
    assert dynamics.gain_factor(np.arange(3), 0, 0).dtype == jnp.float32


def test_complex_arguments_are_refused():
    with pytest.raises(ValueError, match="must be real"):
        dynamics.gain_factor(jnp.asarray(1j), 0.9, 0.1)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "gain_factor",
            (float("nan"), 0.9, 0.1),
            r"tau must be in \(-inf, inf\), got nan",
        ),
        ("gain_matrix", (0.1, 1.0, 0.1), r"b1 must be in \[0, 1\), got 1.0; "),
        ("eigenvalues", (0.1, -0.1, 0.1), r"b1 must be in \[0, 1\), got -0.1; "),
        (
            "variance_limit",
            (0.1, 0.9, 1.5),
            r"observation must be in \[0, 1\), got 1.5; ",
        ),
        ("final_loss", (0.1, 0.9, 0.1, -1.0, 1.0), "curvature must be"),
        ("final_loss", (0.1, 0.9, 0.1, 1.0, -1.0), "noise must be"),
        ("convergence_bound", (0.9, np.float32(2)), "observation must be"),
        ("symmetric_point", (1.0, 0.1), "b1 must be"),
        ("complex_region", (0.9, -1), "observation must be"),
        ("fastest_tau", (2, 0.1), "b1 must be"),
        ("boost_ratio", (0.9, 0.5), r"observation must be in \[0, 0.5\), got 0.5; "),
        ("theorem1_rate", (0.5, 0.1, 1.0, 1.0), "condition_number must be"),
        ("theorem1_rate", (1e4, 0.0, 1.0, 1.0), "c_alpha must be"),
        (
            "theorem1_rate",
            (1e4, 1.1, 1.0, 1.0),
            r"c_alpha must be in \(0, 1\], got 1.1",
        ),
        ("theorem1_rate", (1e4, 0.01, 101.0, 1.0), "c_beta must be"),
        ("theorem1_rate", (1e4, 0.01, 1.0, 100.0), "c_mu must be"),
        ("optimal_hyperparams", (0.0, 1.0, 0.1), "lambda_min must be"),
        ("optimal_hyperparams", (2.0, 1.0, 0.1), "lambda_max must be .* exchange"),
        ("optimal_hyperparams", (1.0, 2.0, 1.0), "observation must be"),
        ("max_gain_expectation", (0.1, 0.9, -1.0, 1.0), "distance must be"),
        ("max_gain_expectation", (0.1, 0.9, 1.0, -1.0), "noise must be"),
        ("simulate", (0.1, 1.0, 0.1), "b1 must be"),
        ("gain_and_noise", (float("inf"), 1.0, 0.9, 0.1), "curvature must be"),
        ("gain_and_noise", (0.1, -1.0, 0.9, 0.1), "learning_rate must be"),
        ("gain_and_noise", (0.1, 1.0, 1.0, 0.1), "b1 must be"),
        ("gain_and_noise", (0.1, 1.0, 0.9, 1.0), "observation must be"),
    ],
)
def test_numbers_out_of_range(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name][0](*arguments)


def test_theory_knows_no_optimizer():
    """Imports of this package stay inside `dynamics`, at any depth of the code."""
    folder = pathlib.Path(dynamics.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.split(".")[0] == "arsg_optax":
                    allowed = ("arsg_optax.dynamics", "arsg_optax._validation")
                    assert name.startswith(allowed), f"{file.name} imports {name}"
