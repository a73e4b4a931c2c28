# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tuning without a grid
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/tuning.ipynb)
#
# With ARSG only the step size is left to choose. `arsg_optax.tuning` chooses it three
# ways: from curvature and noise measured at the initial parameters, from a tenth of the
# training with all candidates in one compiled program, and by successive halving where
# there are several hyper-parameters. This notebook does all three on scikit-learn's
# handwritten digits and checks them against a search over the whole training.

# %%
import sys

if "google.colab" in sys.modules:
    # %pip install -q "arsg_optax @ git+https://github.com/arsg-optax/arsg_optax"
    pass

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

from arsg_optax import arsg, arsgb, dynamics, metrics, tuning

# %% [markdown]
# ## The problem
#
# A network with one hidden layer of 64, trained for a thousand steps. Each batch holds
# 64 images drawn anew, whose pixels, from 0 to 1, get noise of standard deviation 0.3.
# So the network cannot memorise what it sees: the loss keeps a floor, and the gradient
# keeps its noise. Batches are one tree of arrays with a leading axis of batches;
# parameters are made from a seed.

# %%
# Where they default to less, as on GPU and TPU, curvatures would be less exact.
jax.config.update("jax_default_matmul_precision", "float32")

BATCH, STEPS = 64, 1000
digits = load_digits()
images = jnp.asarray(digits.data / 16, jnp.float32)
labels = jnp.asarray(digits.target, jnp.int32)


@jax.jit
def draw_batches(key):
    of_rows, of_noise = jax.random.split(key)
    rows = jax.random.randint(of_rows, (STEPS, BATCH), 0, len(labels))
    noise = 0.3 * jax.random.normal(of_noise, (STEPS, BATCH, 64))
    return images[rows] + noise, labels[rows]


@jax.jit
def init(seed):
    hidden, out = jax.random.normal(jax.random.key(seed), (2, 64, 64)) / 32**0.5
    return {"hidden": hidden, "out": out[:, :10]}


def loss_fn(params, batch):
    x, y = batch
    logits = jax.nn.relu(x @ params["hidden"]) @ params["out"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


batches = draw_batches(jax.random.key(0))

# %% [markdown]
# ## What is measured
#
# `tuning.curvature` runs Lanczos's recurrence on products with the Hessian, started
# from the gradient, and measures how much the gradient varies from batch to batch.

# %%
measured = tuning.curvature(
    loss_fn, init(0), jax.tree.map(lambda a: a[:4], batches), iterations=8
)
print(measured)

# %% [markdown]
# `tuning.suggest_learning_rate` turns this into a step size. RSG diverges where
# learning rate times curvature exceeds a bound that depends on `b1` and `observation`
# alone; half of that is suggested, or less where noise would keep too much of the loss.

# %%
for_rsg = tuning.suggest_learning_rate(measured)
print(for_rsg)
bound = float(dynamics.convergence_bound(0.999, 0.1))
assert for_rsg.limited_by == "curvature"
np.testing.assert_allclose(for_rsg.learning_rate, bound / 2 / measured.largest)

# %% [markdown]
# ARSG divides the gradient by $\sqrt{\hat v}$, so what counts is the curvature after
# this division. `tuning.probe_learning_rate` does all of it: it measures the root mean
# square of the gradient over some batches, then the curvature in these units, and
# spends at most a twentieth of the gradients of the training that is planned.

# %%
suggestion = tuning.probe_learning_rate(loss_fn, init(0), batches, steps=STEPS)
print(suggestion)
assert suggestion.gradients <= STEPS / 20
assert suggestion.learning_rate < for_rsg.learning_rate

# %% [markdown]
# ## The check: a grid over the whole training
#
# `tuning.search_learning_rate` trains all candidates in one compiled program, here
# eight of a grid and the suggestion, three seeds each. A final loss is the mean over
# the last tenth of the steps.

# %%
GRID = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
full = tuning.search_learning_rate(
    arsg,
    loss_fn,
    init,
    batches,
    [*GRID, suggestion.learning_rate],
    steps=STEPS,
    seeds=3,
)
print(full)

# %% [markdown]
# Here is the same search with a tenth of the steps. A shorter training prefers larger
# steps, so `margin=0.02` takes the smallest step size whose loss lies within 2 % of the
# best.

# %%
tenth = tuning.search_learning_rate(
    arsg, loss_fn, init, batches, GRID, steps=STEPS // 10, seeds=3, margin=0.02
)
print(tenth)

# %%
grid_losses = full.final_losses[: len(GRID)]
best = GRID[np.argmin(grid_losses)]
suggested_loss = full.final_losses[-1]

figure, panel = plt.subplots(figsize=(8, 3), layout="constrained")
for found, name in ((full, "1,000 steps"), (tenth, "100 steps")):
    panel.loglog(GRID, found.final_losses[: len(GRID)], marker=".", label=name)
panel.axvline(best, color="C0", linestyle=":", label="best of the grid")
panel.plot(
    suggestion.learning_rate,
    suggested_loss,
    color="C3",
    marker="D",
    linestyle="none",
    label="suggested, without training",
)
panel.plot(
    tenth.learning_rate,
    tenth.final_losses[GRID.index(tenth.learning_rate)],
    color="black",
    marker="o",
    markersize=10,
    fillstyle="none",
    linestyle="none",
    label="chosen by 100 steps",
)
panel.set(xlabel="learning rate", ylabel="final loss [nats]")
panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %%
ratio = suggestion.learning_rate / best
excess = suggested_loss / grid_losses.min() - 1
print(f"suggested over the grid's best: {ratio:.2f}, its loss is {excess:.0%} higher")
by_tenth = grid_losses[GRID.index(tenth.learning_rate)] / grid_losses.min() - 1
print(f"a tenth of the steps: {tenth.learning_rate:g}, its loss {by_tenth:.0%} higher")
low, high = grid_losses[[0, -1]] / grid_losses.min()
print(f"losses at the ends of the grid: {low:.1f} and {high:.1f} times the best")
assert 0.5 < ratio < 2
assert 0.05 < excess < 0.25
assert tenth.learning_rate == best
assert min(low, high) > 1.5

# %% [markdown]
# The suggestion lies within a factor of two of the grid's best, and costs about 15 %
# of the loss. It is too large here. The probe takes the step at which noise keeps at
# most half of the initial loss, counting on noise that falls as the network learns.
# Pixel noise does not fall, and a smaller `noise_share` says so; how much smaller, we
# know only after the fact.

# %%
noisier = tuning.probe_learning_rate(
    loss_fn, init(0), batches, steps=STEPS, noise_share=0.2
)
print(noisier)
assert noisier.limited_by == "noise"
assert 0.75 < noisier.learning_rate / best < 1.25

# %% [markdown]
# A tenth of the steps finds the grid's best. Where there is time for it, search around
# a suggestion; `refine=True` adds a second round between the neighbours of the best.
#
# ## Two hyper-parameters
#
# `tuning.search` draws candidates from a space and lets the worse ones go early. Of six
# step sizes for each of three `b1`, a third goes on after a ninth of the steps, and a
# third of these after a third.

# %%
space = {"learning_rate": tuning.LogUniform(0.003, 0.3), "b1": [0.9, 0.99, 0.999]}
halved = tuning.search(
    arsg,
    space,
    loss_fn,
    init,
    batches,
    steps=STEPS,
    samples=6,
    min_steps=STEPS // 9,
)
print(halved)

# %%
figure, panel = plt.subplots(figsize=(8, 3), layout="constrained")
colors = {0.9: "C0", 0.99: "C1", 0.999: "C2"}
for b1, steps, losses in zip(
    halved.hyperparameters["b1"], halved.steps, halved.losses, strict=True
):
    smooth = np.convolve(losses[:steps], np.ones(50) / 50, mode="valid")[::10]
    panel.semilogy(50 + 10 * np.arange(len(smooth)), smooth, colors[b1], linewidth=1)
for b1, color in colors.items():
    panel.plot([], [], color=color, label=f"b1 = {b1}")
panel.set(xlabel="step", ylabel="loss, mean of 50 steps")
panel.legend()
plt.show()

# %%
taken = int(halved.steps.sum())
error = full.spread[np.argmin(grid_losses)]
print(f"{taken} steps of the {18 * STEPS} that all candidates would take")
print(f"best: {halved.best}, loss {halved.final_losses[0]:.3f}")
print(f"best of the grid before: {best}, loss {grid_losses.min():.3f} ± {error:.3f}")
assert taken < 0.3 * 18 * STEPS
assert set(halved.steps) == {112, 334, 1000}
assert halved.final_losses[0] < grid_losses.min() + error

# %% [markdown]
# After a quarter of the steps it has found a candidate at least as good as the best of
# the grid. One seed does not say which `b1` is better; `seeds=3` would train each
# candidate three times. Halving pays where a step takes long: each round compiles a
# program of its own.
#
# ## The boost's step size
#
# `arsgb` starts with half of ARSG's observation factor and a larger step, and when the
# loss is flat doubles the factor. The step is then multiplied by
# `dynamics.boost_ratio`, so that the curvature which converges fastest stays where it
# is. That takes no search. Below is the momentum alone, by its theory: what a step
# leaves of an error, and what stays of the noise.

# %%
B1, OBSERVATION, BEFORE = 0.999, 0.05, 2 * suggestion.learning_rate
shrink = float(dynamics.boost_ratio(B1, OBSERVATION))
print(f"the learning rate is multiplied by {shrink:.4f}")

settings = {
    "before": (BEFORE, OBSERVATION),
    "boosted": (shrink * BEFORE, 2 * OBSERVATION),
    "doubled, same steps": (BEFORE, 2 * OBSERVATION),
}
curvatures = jnp.geomspace(1e-2, 1e2, 200)
figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
gain, noise, fastest = {}, {}, {}
for name, (rate, observation) in settings.items():
    gain[name] = dynamics.gain_factor(rate * curvatures, B1, observation)
    noise[name] = dynamics.variance_limit(rate * curvatures, B1, observation)
    fastest[name] = float(dynamics.fastest_tau(B1, observation)) / rate
    panels[0].semilogx(curvatures, gain[name], label=name)
    panels[1].loglog(curvatures, noise[name] / noise["before"])
panels[0].set(xlabel="curvature", title="gain factor, 1 diverges")
panels[1].set(xlabel="curvature", title="noise kept, over that before")
panels[0].legend()
plt.show()

# %%
print({name: f"fastest at curvature {value:.3g}" for name, value in fastest.items()})
kept = noise["boosted"] / noise["before"]
print(f"noise after the boost: {kept.min():.2f} to {kept.max():.2f} of that before")
np.testing.assert_allclose(fastest["boosted"], fastest["before"], rtol=1e-5)
np.testing.assert_allclose(fastest["doubled, same steps"], shrink * fastest["before"])
assert round(shrink, 4) == 0.2483
assert kept.max() < 0.5
assert jnp.min(noise["doubled, same steps"] / noise["before"]) > 0.75

# %% [markdown]
# The boost leaves the fastest curvature in place and less than half of the noise at
# every curvature shown. Doubling the factor without shorter steps would move the
# fastest curvature to a quarter and leave three quarters of the noise or more.

# %% [markdown]
# `arsgb` applies the same ratio. Its state records what it applied last.

# %%
optimizer = arsgb(BEFORE, boost_at=2)


def step(carry, batch):
    params, state = carry
    gradients = jax.grad(loss_fn)(params, batch)
    updates, state = optimizer.update(gradients, state, params)
    return (optax.apply_updates(params, updates), state), metrics(state)


carry = (init(0), optimizer.init(init(0)))
_, applied = jax.lax.scan(step, carry, jax.tree.map(lambda a: a[:4], batches))
print("observation  ", applied["observation"])
print("learning rate", applied["learning_rate"])
np.testing.assert_allclose(applied["observation"], [0.05, 0.05, 0.1, 0.1], rtol=1e-6)
np.testing.assert_allclose(
    applied["learning_rate"][2:] / applied["learning_rate"][:2], shrink, rtol=1e-5
)
