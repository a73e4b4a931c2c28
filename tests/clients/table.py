"""Each client once: how it trains, where the optimizer state is, how to evaluate."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from arsg_optax import MatrixAxes, arsgw, hidden_matrices, orsg
from tests.clients import client

STEPS = 30


class Trained(NamedTuple):
    """What a client's training leaves."""

    start: Any  # The parameters before.
    held: Any  # Those that the client holds.
    state: Any  # The optimizer's.
    loss: Callable[[Any], jax.Array]  # Of such parameters, by the client's own means.


class Client(NamedTuple):
    """A row of the table."""

    train: Callable[[optax.GradientTransformationExtraArgs], Trained]
    other: Callable[[], Any]  # A second optimizer to train with.
    passes_the_loss: bool = False  # To `update`, as `value=`.


def numpyro_svi(optimizer):
    numpyro, infer = client("numpyro"), client("numpyro.infer")

    def model(data):
        mean = numpyro.sample("mean", numpyro.distributions.Normal(0, 10))
        numpyro.sample("data", numpyro.distributions.Normal(mean, 1), obs=data)

    data, guide = jnp.linspace(1, 3, 11), infer.autoguide.AutoNormal(model)
    svi = infer.SVI(model, guide, optimizer, infer.Trace_ELBO(10))
    first = svi.init(jax.random.key(0), data)
    last = svi.run(
        jax.random.key(0), STEPS, data, init_state=first, progress_bar=False
    ).state
    count, (held, state) = last.optim_state

    def loss(params):  # Of unconstrained parameters; svi.get_params constrains them.
        return svi.evaluate(last._replace(optim_state=(count, (params, state))), data)

    return Trained(first.optim_state[1][0], held, state, loss)


NETWORK = {"hidden": jnp.eye(3, 4), "bias": jnp.zeros(4), "head": jnp.ones((4, 1))}
INPUTS = jnp.sin(jnp.arange(30.0)).reshape(10, 3)


def _network_loss(params, inputs):
    hidden = jax.nn.relu(inputs @ params["hidden"] + params["bias"])
    return jnp.mean((hidden @ params["head"] - inputs[:, :1]) ** 2)


def optimistix_minimise(optimizer):
    optimistix = client("optimistix")
    solver = optimistix.OptaxMinimiser(optimizer, rtol=0.0, atol=0.0)
    solution = optimistix.minimise(
        _network_loss, solver, NETWORK, INPUTS, max_steps=STEPS, throw=False
    )
    state = solution.state.opt_state
    return Trained(
        NETWORK, solution.value, state, lambda params: _network_loss(params, INPUTS)
    )


def jaxopt_solver(optimizer):
    solver = client("jaxopt").OptaxSolver(_network_loss, optimizer, maxiter=STEPS)
    held, state = solver.run(NETWORK, INPUTS)
    return Trained(
        NETWORK,
        held,
        state.internal_state,
        lambda params: _network_loss(params, INPUTS),
    )


def blackjax_meanfield_vi(optimizer):
    def log_density(position):
        return -0.5 * jnp.sum((position - 2) ** 2)

    vi = client("blackjax").meanfield_vi(log_density, optimizer, num_samples=10)
    first = last = vi.init(jnp.zeros(3))
    step = jax.jit(vi.step)
    for key in jax.random.split(jax.random.key(0), STEPS):
        last, _ = step(key, last)

    def loss(params):
        mu, rho = params
        state = last._replace(mu=mu, rho=rho)
        return -jax.vmap(log_density)(vi.sample(jax.random.key(1), state, 99)).mean()

    start, held = ((each.mu, each.rho) for each in (first, last))
    return Trained(start, held, last.opt_state, loss)


def flow_and_data():
    """A flow whose two layers are stacked on the first axis, and what it is to fit."""
    normal = client("flowjax.distributions").Normal(jnp.zeros(2))
    flow = client("flowjax.flows").masked_autoregressive_flow(
        jax.random.key(0), base_dist=normal, flow_layers=2, nn_width=8, nn_depth=1
    )
    return flow, 1 + 3 * jax.random.normal(jax.random.key(1), (100, 2))


def flow_orsg(learning_rate=0.05):
    """Equinox's layers have their outputs first, these behind the stack's axis."""
    rules = {"layers/0/weight": MatrixAxes(input=2, output=1)}
    rules["layers/1/weight"] = False  # The output.
    return orsg(learning_rate, matrices=lambda tree: hidden_matrices(tree, rules))


def flowjax_step(optimizer):
    train, paramax = client("flowjax.train"), client("paramax")
    flow, data = flow_and_data()
    start, static = eqx.partition(
        flow,
        eqx.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )
    held, state = start, optimizer.init(start)
    likelihood = train.losses.MaximumLikelihoodLoss()
    for _ in range(STEPS):
        held, state, _ = train.step(
            held, static, data, optimizer=optimizer, opt_state=state, loss_fn=likelihood
        )
    return Trained(start, held, state, lambda params: likelihood(params, static, data))


def dynamax_run_sgd(optimizer):
    optimize, models = client("dynamax.utils.optimize"), client("dynamax.parameters")
    ssm = client("dynamax.linear_gaussian_ssm").LinearGaussianSSM(2, 2)
    constrained, properties = ssm.initialize(jax.random.key(0))
    start = models.to_unconstrained(constrained, properties)
    sequences = jnp.sin(jnp.arange(40.0)).reshape(1, 20, 2)

    def loss(params, sequences=sequences):
        params = models.from_unconstrained(params, properties)
        return -ssm.marginal_log_prob(params, sequences[0]) / sequences.size

    # Its loop keeps the state to itself, and calls update outside of jit.
    kept, update = [], jax.jit(optimizer.update)

    def keeping(gradients, state):
        updates, state = update(gradients, state)
        kept[:] = [state]
        return updates, state

    held, _ = optimize.run_sgd(
        loss,
        start,
        sequences,
        optimizer=optax.GradientTransformation(optimizer.init, keeping),
        num_epochs=STEPS,
    )
    return Trained(start, held, kept[0], loss)


CLIENTS = {
    "numpyro": Client(numpyro_svi, lambda: arsgw(0.05), passes_the_loss=True),
    "optimistix": Client(optimistix_minimise, lambda: orsg(0.05), passes_the_loss=True),
    "blackjax": Client(blackjax_meanfield_vi, lambda: arsgw(0.05)),
    "flowjax": Client(flowjax_step, flow_orsg),
    "dynamax": Client(dynamax_run_sgd, lambda: orsg(0.01)),
    "jaxopt": Client(jaxopt_solver, lambda: orsg(0.05)),
}
