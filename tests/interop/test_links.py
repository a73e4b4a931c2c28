"""The links alone and masked inside chain_on_gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.interop.steps import gradients, tree


class Link(NamedTuple):
    make: Callable[[], optax.GradientTransformation]
    # Whether it reads raw_gradient, which masked then must mask as well.
    takes_statistics: bool


def _rectified_at_once():
    """Counts from 10: it divides from its sixth update on."""
    link = arsg_optax.scale_by_rectified_rms()
    return optax.GradientTransformationExtraArgs(
        lambda params: link.init(params)._replace(count=jnp.asarray(10, jnp.int32)),
        link.update,
    )


LINKS = {
    "observation": Link(arsg_optax.remote_observation, False),
    "rms": Link(arsg_optax.scale_by_nonincreasing_rms, True),
    "adam rms": Link(arsg_optax.scale_by_adam_rms, True),
    "rectified rms": Link(_rectified_at_once, True),
    "softplus rms": Link(arsg_optax.scale_by_softplus_rms, True),
    "resilience": Link(arsg_optax.scale_by_resilience, True),
    "resilience by leaf": Link(
        lambda: arsg_optax.scale_by_resilience(scope="leaf"), True
    ),
    "learning rate": Link(lambda: arsg_optax.scale_by_learning_rate(0.1), False),
    "oscillation": Link(arsg_optax.track_oscillation, False),
}
DOUBLE = optax.scale(2.0)
MASK = {"b": False, "w": True}
LABELS = {"b": "rest", "w": "link"}


def _masked(link, compatible):
    return optax.masked(link, MASK, mask_compatible_extra_args=compatible)


def _partition(link, compatible):
    parts: Any = {"link": link, "rest": optax.identity()}
    return optax.partition(parts, LABELS, mask_compatible_extra_args=compatible)


def _last_updates(optimizer, trees) -> Any:
    updates, state = None, optimizer.init(trees[0])
    for each in trees:
        updates, state = optimizer.update(each, state)
    return updates


@pytest.mark.parametrize("around", [_masked, _partition])
@pytest.mark.parametrize("name", LINKS)
def test_masked_inside_chain_on_gradient(name, around):
    trees, link = gradients(3), LINKS[name].make()
    chain = arsg_optax.chain_on_gradient(DOUBLE, around(link, True))
    got = _last_updates(chain, trees)
    np.testing.assert_allclose(got["b"], 2 * trees[-1]["b"], rtol=1e-6)
    alone = arsg_optax.chain_on_gradient(DOUBLE, link)
    expected = _last_updates(alone, [{"w": each["w"]} for each in trees])
    np.testing.assert_allclose(got["w"], expected["w"], rtol=1e-6)


@pytest.mark.parametrize("around", [_masked, _partition])
@pytest.mark.parametrize("name", LINKS)
def test_forgotten_flag_is_named(name, around):
    link = LINKS[name]
    chain = arsg_optax.chain_on_gradient(DOUBLE, around(link.make(), False))
    if not link.takes_statistics:
        _last_updates(chain, gradients(2))
        return
    with pytest.raises(ValueError, match="mask_compatible_extra_args=True"):
        _last_updates(chain, gradients(1))


@pytest.mark.parametrize("name", LINKS)
def test_statistics_come_from_the_raw_gradient(name):
    link, trees, clip = LINKS[name], gradients(3), optax.clip(0.3)
    chained = _last_updates(arsg_optax.chain_on_gradient(clip, link.make()), trees)
    plain = _last_updates(optax.chain(clip, link.make()), trees)
    same = jnp.allclose(chained["w"], plain["w"], rtol=1e-5)
    assert same != link.takes_statistics


@pytest.mark.parametrize("name", LINKS)
def test_links_work_alone_and_without_params(name):
    link, params = LINKS[name].make(), tree(0)
    assert isinstance(link, optax.GradientTransformationExtraArgs)
    updates, _ = link.update(tree(1), link.init(params), nobody_knows=1)
    for leaf in jax.tree.leaves(updates):
        assert leaf.dtype == jnp.float32
        assert jnp.all(jnp.isfinite(leaf))
