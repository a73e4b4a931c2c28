"""The curvature probe on sharded, narrow, wide, convolved and random arguments."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from arsg_optax.tuning import curvature
from arsg_optax.tuning._meshes import use_mesh
from tests.interop.meshes import make_mesh
from tests.tuning.dense import PROBLEMS, Problem, dense, divisors
from tests.tuning.networks import normal


@pytest.mark.parametrize("start", ["gradient", "random"])
@pytest.mark.parametrize("placed", ["nothing", "params", "batches"])
def test_compiles_once(placed, start, caplog):
    """Arrays put on a device by request must not have it compiled anew."""
    problem = PROBLEMS["logistic"]
    changes = {}
    if placed != "nothing":
        given = jax.device_put(getattr(problem, placed), jax.devices()[0])
        changes = {placed: given}
    # Of a length that no other test compiles the orthogonalisation for.
    iterations = 2 + ["nothing", "params", "batches"].index(placed)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        curvature(
            *problem._replace(**changes),
            key=jax.random.key(0),
            iterations=iterations,
            start=start,
        )
    for name in ("gradient", "product", "deviation"):
        assert _compilations(caplog, name) == 1, name
    assert _compilations(caplog, "_extend") <= 1


def _compilations(caplog, name):
    messages = [record.getMessage() for record in caplog.records]
    return sum("XLA compilation of" in m and f"({name})" in m for m in messages)


@pytest.mark.parametrize("explicit", [False, True], ids=["automatic", "explicit"])
def test_sharded_parameters(explicit, caplog):
    def loss(params, batch):
        hidden = jnp.tanh(batch @ params["w"]) * params["gain"][None]
        return jnp.mean((hidden - 1) ** 2)

    params = {"gain": normal(0, 16), "w": normal(1, 4, 16)}
    problem = Problem(loss, params, normal(2, 3, 8, 4))
    preconditioner = divisors(params)
    expected = curvature(*problem, preconditioner=preconditioner, iterations=8)
    mesh = make_mesh((8,), explicit)
    specs = {"gain": PartitionSpec("x"), "w": PartitionSpec(None, "x")}
    shardings = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
    everywhere = NamedSharding(mesh, PartitionSpec())
    with use_mesh(mesh), jax.log_compiles(), caplog.at_level(logging.WARNING):
        found = curvature(
            loss,
            jax.device_put(params, shardings),
            jax.device_put(problem.batches, everywhere),
            preconditioner=jax.device_put(preconditioner, shardings),
            iterations=8,
        )
    largest = expected.largest
    np.testing.assert_allclose(
        found.eigenvalues, expected.eigenvalues, atol=1e-5 * largest
    )
    np.testing.assert_allclose(found.noise_trace, expected.noise_trace, rtol=1e-5)
    for name in ("gradient", "product", "deviation", "_extend"):
        assert _compilations(caplog, name) == 1, name


def test_narrow_parameters_are_widened():
    problem = PROBLEMS["network"]
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), problem.params)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)
    divisor = jax.tree.map(lambda x: x.astype(jnp.bfloat16), divisors(wide))
    for precondition in (None, divisor):
        options = {"preconditioner": precondition, "iterations": 4}
        found = curvature(problem.loss, narrow, problem.batches, **options)
        expected = curvature(problem.loss, wide, problem.batches, **options)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_float64(x64):
    problem = PROBLEMS["logistic"]
    problem = Problem(
        problem.loss,
        jax.tree.map(lambda x: np.asarray(x, float), problem.params),
        jax.tree.map(lambda x: np.asarray(x, float), problem.batches),
    )
    preconditioner = divisors(problem.params)
    expected = np.linalg.eigvalsh(dense(problem, preconditioner).hessian)
    found = curvature(*problem, preconditioner=preconditioner)
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-9)


def test_mixed_widths(x64):
    """float32 and float64 parameters in one tree, in float64 as one vector."""

    def loss(params, batch):
        narrow, wide = params[0].astype(jnp.float64), params[1]
        return narrow * batch + narrow**2 + 2 * wide**2

    params = (jnp.float32(1.0), jnp.float64(1.0))
    found = curvature(loss, params, jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(found.eigenvalues, [2.0, 4.0], rtol=1e-6)


def test_convolutions():
    def loss(params, batch):
        images, classes = batch
        hidden = jax.lax.conv(images, params["kernel"], (2, 2), "SAME")
        logits = jnp.mean(jnp.tanh(hidden), (2, 3)) @ params["out"]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), classes])

    params = {"kernel": normal(0, 3, 2, 3, 3), "out": normal(1, 3, 4)}
    classes = jnp.arange(12).reshape(3, 4) % 4
    problem = Problem(loss, params, (normal(2, 3, 4, 2, 8, 8), classes))
    found = curvature(*problem, iterations=20)
    exact = dense(problem)
    largest = np.linalg.eigvalsh(exact.hessian)[-1]
    np.testing.assert_allclose(found.largest, largest, rtol=1e-4)
    np.testing.assert_allclose(found.noise_trace, np.trace(exact.covariance), 1e-4)


def test_random_keys_in_batches():
    """Of dropout, for example: each batch sees its own at each call."""

    def loss(params, key):
        return jnp.dot(jax.random.normal(key, params.shape), params**2)

    keys = jax.random.split(jax.random.key(0), 3)
    found = curvature(loss, jnp.ones(2), keys)
    drawn = np.array([jax.random.normal(key, (2,)) for key in keys])
    expected = np.sort(2 * drawn.mean(axis=0))
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-5)
    variance = np.sum(np.var(2 * drawn, axis=0, ddof=1))
    np.testing.assert_allclose(found.noise_trace, variance, rtol=1e-5)
