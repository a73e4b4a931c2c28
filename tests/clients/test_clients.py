"""Every client trains, and its state knows the iterate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.clients import client
from tests.clients.table import CLIENTS, STEPS, flow_and_data, flow_orsg


def _iterate_of(trained):
    """The iterate, and the losses of the start, of the held point and of it."""
    iterate = arsg_optax.eval_params(trained.state, trained.held, strict=True)
    loss, points = jax.jit(trained.loss), (trained.start, trained.held, iterate)
    return iterate, [float(loss(point)) for point in points]


@pytest.mark.parametrize("name", CLIENTS)
def test_arsg_and_its_iterate_by_the_formula(name):
    rate, b1, observation = 0.05, 0.9, 0.2
    optimizer = arsg_optax.arsg(rate, b1, observation=observation)
    trained = CLIENTS[name].train(optimizer)
    iterate, (start, held, behind) = _iterate_of(trained)
    assert max(held, behind) < start
    chain = optax.tree.get(trained.state, "RemoteChainState")
    nu_max = optax.tree.get(trained.state, "nu_max")
    ahead = rate * observation * b1 / (1 - b1)
    expected = jax.tree.map(
        lambda y, m, v: y + ahead * m / jnp.sqrt(v), trained.held, chain.mu, nu_max
    )
    for got, wanted, y in zip(
        *map(jax.tree.leaves, (iterate, expected, trained.held)), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
        assert not y.size or np.any(got != y)


@pytest.mark.parametrize("name", CLIENTS)
def test_another_optimizer(name):
    row = CLIENTS[name]
    trained = row.train(row.other())
    iterate, (start, held, behind) = _iterate_of(trained)
    assert max(held, behind) < start
    same = jax.tree.map(lambda a, b: bool((a == b).all()), iterate, trained.held)
    assert not all(jax.tree.leaves(same))


@pytest.mark.parametrize("name", CLIENTS)
def test_an_automatic_boost_asks_for_the_loss_that_a_client_keeps(name):
    row = CLIENTS[name]
    if row.passes_the_loss:
        state = row.train(arsg_optax.arsgb(0.05)).state
        assert float(optax.tree.get(state, "windows").last) != 0
    else:
        with pytest.raises(ValueError, match=r"value= nor loss=.*boost_at="):
            row.train(arsg_optax.arsgb(0.05))


def test_flowjax_s_own_loop():
    flow, data = flow_and_data()
    trained, losses = client("flowjax.train").fit_to_data(
        jax.random.key(2),
        flow,
        data,
        optimizer=flow_orsg(optax.cosine_decay_schedule(0.05, 20)),
        max_epochs=20,
        return_best=False,
        show_progress=False,
    )
    assert losses["train"][-1] < losses["train"][0] - 1
    assert -trained.log_prob(data).mean() < -flow.log_prob(data).mean() - 1


def test_a_rate_that_falls_to_zero_leaves_one_point():
    """So nothing is lost where a client, as flowjax's loop, hands no state out."""
    rate = optax.cosine_decay_schedule(0.05, STEPS - 1)
    trained = CLIENTS["flowjax"].train(arsg_optax.arsgw(rate))
    iterate, (start, held, _) = _iterate_of(trained)
    assert held < start
    jax.tree.map(np.testing.assert_array_equal, iterate, trained.held)
