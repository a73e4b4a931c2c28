"""What the combinator asks of its links and arguments, and what it tells otherwise."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import arsg_optax
from tests.interop.steps import assert_identical, gradients, tree


def _after(optimizer, params, trees):
    state = optimizer.init(params)
    for each in trees:
        updates, state = optimizer.update(each, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def _link(state, function=lambda updates: updates):
    def update_fn(updates, state, params=None):
        del params
        return jax.tree.map(function, updates), state

    return optax.GradientTransformation(lambda params: state, update_fn)


class _Fifth(NamedTuple):
    """Divides by 5, and says so in another tree than the parameters'."""

    leaves: Any

    def denominator(self):
        return self.leaves


class _Denies(NamedTuple):
    elementwise = False


REFUSED_LINKS = {
    "an empty state": (_link(()), r"got tuple at links\[0\]"),
    "a denial": (_link(_Denies()), r"got _Denies at links\[0\]"),
}


@pytest.mark.parametrize("name", REFUSED_LINKS)
def test_links_that_declare_nothing(name):
    link, message = REFUSED_LINKS[name]
    optimizer = arsg_optax.remote_chain(link, learning_rate=0.1, exact=True)
    with pytest.raises(ValueError, match=message):
        optimizer.init(tree(0))


@pytest.mark.parametrize("link", [arsg_optax.scale_by_adam_rms, 0.1])
def test_what_is_no_transformation(link):
    with pytest.raises(
        ValueError, match="links must be made of gradient transformations"
    ):
        arsg_optax.remote_chain(link, learning_rate=0.1)


def test_a_denominator_in_another_tree_is_refused():
    fifth = _link(_Fifth([jnp.full(3, 5.0)]), lambda u: u / 5)
    optimizer = arsg_optax.remote_chain(fifth, learning_rate=0.1, exact=True)
    with pytest.raises(ValueError, match=r"denominator\(\) must return a tree shaped"):
        _after(optimizer, tree(0), gradients(1))


def test_a_resilience_inside_a_switch_acts_in_the_exact_form_too():
    mixed = optax.chain(
        arsg_optax.scale_by_nonincreasing_rms(), arsg_optax.scale_by_resilience(0.5)
    )
    inside = arsg_optax.swnts(0.1, switch_at=99, preconditioner=mixed, exact=True)
    plain = arsg_optax.namsg(0.1, preconditioner=mixed, exact=True)
    pair = (_after(each, tree(0), gradients(4)) for each in (inside, plain))
    (got, state), (expected, other) = pair
    assert_identical(got, expected)
    points: Any = [
        arsg_optax.eval_params(*each) for each in ((state, got), (other, got))
    ]
    assert_identical(*points)


def test_an_inner_chain_on_gradient_sees_the_gradient_that_entered():
    rms = arsg_optax.scale_by_nonincreasing_rms()
    plain = arsg_optax.arsg(0.1, 0.9, preconditioner=rms)
    nested = arsg_optax.arsg(0.1, 0.9, preconditioner=arsg_optax.chain_on_gradient(rms))
    pair = (_after(each, tree(0), gradients(3))[0] for each in (plain, nested))
    assert_identical(*pair)


@pytest.mark.parametrize("observation", [0.5, np.float32(0.5), jnp.float32(0.5)])
def test_observation_beside_a_distance(observation):
    with pytest.raises(ValueError, match="observation must be None where distance"):
        arsg_optax.rsg(0.1, 0.9, observation, distance=1.0)
    arsg_optax.rsg(0.1, 0.9, np.float32(0.1), distance=1.0)


def test_a_mask_of_another_structure():
    optimizer = arsg_optax.rsg(0.1, weight_decay=0.1, mask={"other": True})
    with pytest.raises(ValueError, match="mask must have the tree structure"):
        _after(optimizer, tree(0), gradients(1))


def test_a_callable_mask_where_params_hold_more_than_updates():
    params = {"w": jnp.ones(3), "act": jnp.tanh}
    gradient = {"w": jnp.zeros(3), "act": None}
    optimizer = arsg_optax.rsg(
        0.5, weight_decay=0.1, mask=lambda p: jax.tree.map(lambda _: True, p)
    )
    state = optimizer.init(gradient)
    updates, _ = optimizer.update(gradient, state, params)
    np.testing.assert_allclose(updates["w"], -0.05 * np.ones(3), rtol=1e-6)


def test_a_state_of_another_optimizer():
    optimizer, params = arsg_optax.rsg(0.1), tree(0)
    with pytest.raises(ValueError, match="state must be the one that init made"):
        optimizer.update(params, optax.sgd(0.1).init(params), params)


@pytest.mark.parametrize("make", [arsg_optax.arsg, arsg_optax.namsg])
def test_scalar_parameters_can_be_donated_with_injected_hyperparameters(make):
    params = {"scale": jnp.array(2.0), "w": jnp.ones(3)}
    optimizer = optax.inject_hyperparams(make)(0.1)
    step = jax.jit(optimizer.update, donate_argnums=1)
    _, state = step(params, optimizer.init(params), params)
    step(params, state, params)


def test_projection_before_a_switch_has_the_metric_of_its_preconditioner():
    ball, params = arsg_optax.L2Ball(1.0), tree(0)
    pair = (
        _after(arsg_optax.project(inner, ball), params, gradients(3))[0]
        for inner in (arsg_optax.swnts(0.1, switch_at=99), arsg_optax.namsg(0.1))
    )
    got, expected = pair
    for name in params:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)


@pytest.mark.parametrize("b1", [0.9, 0.0])
def test_a_boost_of_a_distance_that_no_factor_stands_for(b1):
    inner = arsg_optax.rsg(0.1, b1, distance=20.0, exact=True)
    optimizer = arsg_optax.observation_boost(inner, boost_at=0)
    params, state = _after(optimizer, jnp.ones(3), [jnp.ones(3)] * 2)
    found = arsg_optax.metrics(state)
    assert float(found["distance"]) == 20.0 and np.all(np.isfinite(params))
    np.testing.assert_allclose(found["learning_rate"], 0.1, rtol=1e-6)


def test_a_traced_b1_of_zero_has_a_finite_iterate():
    optimizer = optax.inject_hyperparams(arsg_optax.rsg)(
        0.1, b1=0.0, distance=0.0, exact=True
    )
    _, state = _after(optimizer, jnp.ones(3), [jnp.ones(3)])
    assert float(arsg_optax.metrics(state)["observation"]) == 0.0


NOT_BOOSTED = {
    "boosted already": arsg_optax.arsgb(0.1, boost_at=3),
    "split": optax.chain(
        optax.clip(1.0), optax.contrib.split_real_and_imaginary(arsg_optax.rsg(0.1))
    ),
    "lookahead": optax.chain(
        optax.identity(), optax.lookahead(arsg_optax.rsg(0.1), 5, 0.5)
    ),
}


@pytest.mark.parametrize("name", NOT_BOOSTED)
def test_what_would_swallow_a_boost_is_refused(name):
    params: Any = jnp.ones(3)
    if name == "lookahead":
        params = optax.LookaheadParams.init_synced(params)
    optimizer = arsg_optax.observation_boost(NOT_BOOSTED[name], boost_at=1)
    with pytest.raises(ValueError, match="inner must"):
        optimizer.init(params)


def test_eval_params_of_what_is_no_state():
    params = tree(0)
    for wrong in (arsg_optax.rsg(0.1), optax.MultiSteps(optax.sgd(0.1), 2), None):
        with pytest.raises(ValueError, match="opt_state must be a state"):
            arsg_optax.eval_params(wrong, params)
    with pytest.raises(ValueError, match="params must be parameters"):
        arsg_optax.eval_params(params, optax.sgd(0.1).init(params))


def test_models_may_have_methods_of_any_name():
    equinox = pytest.importorskip("equinox")

    class Model(equinox.Module):
        w: jax.Array

        def iterate(self, x):
            return self.w @ x

    model = Model(jnp.ones(3))
    _, state = _after(optax.trace(0.9), model, [model])
    assert arsg_optax.eval_params(state, model) is model
    params, state = _after(arsg_optax.rsg(0.1, 0.9, 0.5), model, [model])
    point: Any = arsg_optax.eval_params(state, params)
    np.testing.assert_allclose(point.w, params.w + 4.5 * 0.1 * 0.1, rtol=1e-5)


def test_a_branch_without_leaves_has_an_iterate():
    class Sign(NamedTuple):
        makes_direction = True

    sign = arsg_optax.remote_chain(_link(Sign()), learning_rate=0.1, exact=True)
    optimizer = optax.partition(
        {"sign": sign, "rsg": arsg_optax.rsg(0.1)}, {"b": "rsg", "w": "rsg"}
    )
    params, state = _after(optimizer, tree(0), gradients(1))
    arsg_optax.eval_params(state, params, strict=True)
