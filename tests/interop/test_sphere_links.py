"""The sphere's links by themselves: decay, policies, chains with ARSG, meshes."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.constraints import _spheres
from arsg_optax.tuning._meshes import use_mesh
from tests.interop.meshes import LAYOUTS, make_mesh
from tests.interop.meshes import SHAPES as MESH_SHAPES
from tests.interop.spheres import DECAY, MASK, RATE, constrain, norm, slr, steps
from tests.interop.steps import assert_close, assert_identical, gradients, tree


def test_decay_shrinks_the_ratio_and_what_is_on_no_sphere():
    params = tree(0)
    optimizer = slr(RATE, mask=MASK, weight_decay=DECAY)
    nothing = [jax.tree.map(jnp.zeros_like, params)] * 3
    got, state = steps(optimizer, params, nothing)
    kept = (1 - RATE * DECAY) ** 3
    np.testing.assert_allclose(got["b"], kept * params["b"], rtol=1e-6)
    np.testing.assert_allclose(got["w"], params["w"], rtol=1e-6)
    np.testing.assert_allclose(state.ratio, [1.0, kept], rtol=1e-6)


def test_schedules_count_updates_from_zero():
    params, trees = tree(0), gradients(3)
    rates, decays = [0.1, 0.05, 0.2], [0.3, 0.0, 0.1]
    scheduled = slr(
        lambda count: jnp.asarray(rates)[count],
        mask=MASK,
        weight_decay=lambda count: jnp.asarray(decays)[count],
    )
    got, state = steps(scheduled, params, trees)
    expected, other = params, scheduled.init(params)
    for each, rate, decay in zip(trees, rates, decays, strict=True):
        link = slr(rate, mask=MASK, weight_decay=decay)
        updates, other = link.update(each, other, expected)
        expected = optax.apply_updates(expected, updates)
    assert_close((got, state), (expected, other))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_policy_scales_rate_and_decay(dtype):
    params, trees = tree(0), gradients(2)
    optimizer = slr(RATE, mask=MASK, weight_decay=DECAY, radius=2.0)
    scale = jnp.asarray(0.25, dtype)
    got = steps(optimizer, params, trees, learning_rate_scale=scale)
    less = slr(RATE / 4, mask=MASK, weight_decay=DECAY, radius=2.0)
    assert_close(got, steps(less, params, trees))
    np.testing.assert_allclose(got[1].applied_learning_rate, RATE / 4, rtol=1e-6)


def test_a_radius_that_is_changed_later_changes_no_function(x64):
    """What an injected radius does: the same directions, on another sphere."""

    def loss(params):
        unit = params["w"] / jnp.sqrt(jnp.sum(params["w"] ** 2))
        return jnp.sum((unit - jnp.sin(jnp.arange(6.0).reshape(2, 3))) ** 2)

    def directions(radii):
        factory = optax.inject_hyperparams(
            arsg_optax.adarem_s, static_args="sphere_mask"
        )
        optimizer = factory(
            RATE, resilience=0.0, sphere_mask=True, weight_decay=DECAY, radius=1.0
        )
        params = {"w": tree(0, jnp.float64)["w"]}
        state, path = optimizer.init(params), []
        for radius in radii:
            state.hyperparams["radius"] = jnp.asarray(radius)
            slopes = jax.grad(loss)(params)
            updates, state = optimizer.update(slopes, state, params)
            params = optax.apply_updates(params, updates)
            np.testing.assert_allclose(norm(params["w"]), radius, rtol=1e-12)
            path.append(np.asarray(params["w"]) / radius)
        return path

    steady = directions([1.0] * 6)
    np.testing.assert_allclose(directions([1, 1, 3, 3, 0.5, 7]), steady, rtol=1e-10)
    assert np.max(np.abs(steady[-1] - steady[0])) > 0.1


@pytest.mark.parametrize("scope", ["leaf", "tree"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_onto_sphere(scope, dtype):
    params = tree(0, dtype)
    link = constrain(scope=scope, mask=MASK)
    fresh = link.init(params)
    assert_identical(fresh.onto_sphere([params["b"], params["w"]]), [*params.values()])
    zeros = jax.tree.map(jnp.zeros_like, params)
    _, state = link.update(zeros, fresh, params)
    doubled = [2 * params["b"], 2 * params["w"]]
    expected = [2 * params["b"], params["w"]]
    rounding = 1e-2 if dtype != jnp.float32 else 1e-6
    assert_close(state.onto_sphere(doubled), expected, rounding)
    got = jax.jit(lambda s, x: s.onto_sphere(x))(state, doubled)
    assert_close(got, state.onto_sphere(doubled), 1e-6)
    assert {leaf.dtype for leaf in got} == {jnp.dtype(dtype)}
    with pytest.raises(ValueError, match="leaves must be the 2"):
        state.onto_sphere(doubled[:1])


def test_onto_a_joint_sphere_keeps_proportions():
    params = {"a": jnp.array([3.0]), "b": jnp.array([4.0]), "free": jnp.array([1.0])}
    link = constrain(scope="tree", mask={"a": True, "b": True, "free": False})
    _, state = link.update(
        jax.tree.map(jnp.zeros_like, params), link.init(params), params
    )
    got = state.onto_sphere([jnp.array([6.0]), jnp.array([8.0]), jnp.array([9.0])])
    np.testing.assert_allclose(np.concatenate(got), [3.0, 4.0, 9.0], rtol=1e-6)


def test_arsg_under_a_constraint_is_arsg_projected_by_hand():
    params, trees = tree(0), gradients(5)
    chained = optax.chain(arsg_optax.arsg(RATE), constrain(mask=MASK))
    got, _ = steps(chained, params, trees)
    plain, held = arsg_optax.arsg(RATE), params
    state, length = plain.init(params), jnp.linalg.norm(params["w"])
    for each in trees:
        updates, state = plain.update(each, state, held)
        held = optax.apply_updates(held, updates)
        held = {**held, "w": length * held["w"] / jnp.linalg.norm(held["w"])}
    assert_close(got, held)


def _observed(b1=0.9, **arguments):
    return optax.chain(
        arsg_optax.chain_on_gradient(
            arsg_optax.remote_observation(b1, 0.1),
            arsg_optax.scale_by_nonincreasing_rms(),
        ),
        slr(RATE, mask=MASK, weight_decay=DECAY, **arguments),
    )


@pytest.mark.parametrize("scope", ["leaf", "tree"])
def test_arsg_with_a_sphere_learning_rate(scope):
    params, trees = tree(0), gradients(5)
    got, state = steps(_observed(scope=scope), params, trees)
    plain = arsg_optax.arsg(RATE, 0.9, weight_decay=DECAY)
    expected, _ = steps(plain, params, trees)
    np.testing.assert_allclose(got["b"], expected["b"], rtol=1e-5)
    np.testing.assert_allclose(norm(got["w"]), norm(params["w"]), rtol=1e-6)
    assert abs(float(jnp.ravel(state[-1].ratio)[-1]) - 1) > 0.01


def test_the_iterate_under_a_constraint():
    optimizer = optax.chain(arsg_optax.arsg(RATE, 0.9), constrain(mask=MASK))
    params, state = steps(optimizer, tree(0), gradients(5))
    # The iterate of the same state without the constraint, mapped onto the sphere.
    expected: Any = arsg_optax.eval_params(state[0], params)
    length = norm(tree(0)["w"]) / norm(expected["w"])
    expected = {**expected, "w": expected["w"] * length}
    assert_close(arsg_optax.eval_params(state, params), expected, 1e-6)
    assert abs(length - 1) > 1e-4


def test_vmap_over_radii_and_decays():
    params, trees = tree(0), gradients(3)

    def train(radius, decay):
        link = slr(RATE, mask=MASK, weight_decay=decay, radius=radius)
        return steps(link, params, trees)

    radii, decays = jnp.array([0.5, 2.0]), jnp.array([0.0, 0.3])
    got = jax.vmap(train)(radii, decays)
    alone = [train(float(r), float(d)) for r, d in zip(radii, decays, strict=True)]
    assert_close(got, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone))


def _placed_arrays(seed, place):
    rng = np.random.default_rng(seed)
    return {
        name: place(name, jnp.asarray(rng.normal(size=shape), jnp.float32))
        for name, shape in MESH_SHAPES.items()
    }


@pytest.mark.parametrize("explicit", [False, True], ids=["automatic", "explicit"])
@pytest.mark.parametrize("scope", ["leaf", "tree"])
@pytest.mark.parametrize(
    "make",
    [
        lambda scope: slr(RATE, mask=True, radius=2.0, scope=scope),
        lambda scope: optax.chain(optax.sgd(RATE), constrain(scope=scope)),
    ],
    ids=["rate", "constraint"],
)
def test_only_scalars_travel_over_a_mesh(make, scope, explicit):
    optimizer = make(scope)
    params, slopes = (_placed_arrays(seed, lambda _, leaf: leaf) for seed in (0, 1))
    expected, _ = optimizer.update(slopes, optimizer.init(params), params)
    mesh = make_mesh(LAYOUTS["2-D"].mesh, explicit)
    with use_mesh(mesh):
        shardings = LAYOUTS["2-D"].shardings(mesh)

        def place(name, leaf):
            return jax.device_put(leaf, shardings[name])

        params, slopes = (_placed_arrays(seed, place) for seed in (0, 1))
        arguments = slopes, optimizer.init(params), params
        update = jax.jit(optimizer.update)
        compiled = update.lower(*arguments).compile().as_text() or ""
        got, state = update(*arguments)
        sphere = state if hasattr(state, "member") else state[-1]
        point = jax.jit(lambda s, x: _spheres.onto_spheres(x, s.member, s.radius))(
            sphere, [*params.values()]
        )
    assert_close(got, expected)
    for name, leaf in [*got.items(), *zip(params, point, strict=True)]:
        assert leaf.sharding.is_equivalent_to(shardings[name], leaf.ndim)
    for moving in ("all-gather", "all-to-all", "collective-permute"):
        assert moving not in compiled
    reduced = [line for line in compiled.splitlines() if " all-reduce(" in line]
    assert reduced
    for line in reduced:
        result = line.split(" all-reduce(")[0]
        assert set(re.findall(r"f32\[[\d,]*\]", result)) == {"f32[]"}
