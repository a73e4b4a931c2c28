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
# # AdaRem's resilience, and weights on a sphere
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/adarem_and_sphere.ipynb)
#
# AdaRem is SGD whose steps grow where the gradient agrees with its own past average,
# and shrink where it does not. AdaRem-S does the same with normalized weights held on
# spheres. This notebook measures how much parameters oscillate under either and under
# SGD with momentum, finds the weights that belong on a sphere, and shows what holding
# them there changes and what it does not.

# %%
import sys

if "google.colab" in sys.modules:
    # %pip install -q "arsg_optax[demos] @ git+https://github.com/arsg-optax/arsg_optax"
    pass

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import arsg_optax
from arsg_optax import tuning
from arsg_optax.demos.models import NormalizedMLP

plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# ## Resilience
#
# AdaRem keeps an average $m$ of past gradients, as momentum does, but does not move
# along it. It compares:
#
# $$
# b_t = \frac{g_t \odot m_t}{|g_t|\,\max|m_t| + \epsilon}, \qquad
# \theta_{t+1} = \theta_t - \alpha\,(1 + \lambda b_t) \odot g_t .
# $$
#
# So $b$ is the sign of the agreement times the relative size of the momentum, and each
# parameter's step is between 0 and $2\alpha$ times its gradient. The measure of
# success is the oscillation $q$, the length of a parameter's path over the distance
# that it got: 1 is a straight way. `track_oscillation` at the end of a chain measures
# it, and changes nothing.
#
# Here is a ravine of curvatures 1 and 0.02, first with exact gradients, then with noisy
# ones in 200 runs. The learning rate 0.4 is the paper's for both SGD with momentum and
# AdaRem. As momentum lets each gradient act about ten times, SGD with momentum also
# gets a tenth of that.

# %%
curvature = jnp.array([1.0, 0.02])  # Steep, flat.
start = jnp.array([1.0, 1.0])
STEPS = 300


def ravine(optimizer, noise, key):
    """Path (steps, 2), oscillation q (2,) and last loss of one run."""
    optimizer = optax.chain(optimizer, arsg_optax.track_oscillation())

    def step(carry, key):
        params, state = carry
        gradients = curvature * params + noise * jax.random.normal(key, (2,))
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    carry = start, optimizer.init(start)
    (params, state), path = jax.lax.scan(step, carry, jax.random.split(key, STEPS))
    q = state[-1].oscillation_by_parameter()
    return path, q, jnp.sum(curvature * params**2) / 2


OPTIMIZERS = {
    "SGD": optax.sgd(0.4),
    "SGD with momentum": optax.sgd(0.4, momentum=0.9),
    "the same, a tenth of the rate": optax.sgd(0.04, momentum=0.9),
    "AdaRem": arsg_optax.adarem(0.4),
}
keys = jax.random.split(jax.random.key(0), 200)
runs, found = {}, {}
programs = {
    name: jax.jit(jax.vmap(lambda noise, key, o=o: ravine(o, noise, key), (None, 0)))
    for name, o in OPTIMIZERS.items()
}
lines = [f"{'':31} noise   q, steep   q, flat      loss"]
for noise in (0.0, 0.1):
    for name, run in programs.items():
        path, q, loss = run(noise, keys)
        runs[name, noise] = path[0]
        # The median, because q is heavy tailed.
        steep, flat, loss = *np.median(q, axis=0), float(loss.mean())
        found[name, noise] = steep, flat, loss
        lines.append(f"{name:31} {noise:5} {steep:10.2f} {flat:9.2f}   {loss:.1e}")
print("\n".join(lines))

# %%
figure, panels = plt.subplots(
    1, 2, figsize=(9, 2.8), sharex=True, sharey=True, layout="constrained"
)
for panel, noise in zip(panels, (0.0, 0.1), strict=True):
    flat, steep = np.linspace(-0.9, 1.1, 60), np.linspace(-0.9, 1.1, 60)
    height = flat**2 * curvature[1] + steep[:, None] ** 2 * curvature[0]
    panel.contour(flat, steep, height, levels=6, colors="0.85", linewidths=0.8)
    for name, color in (("SGD with momentum", "#0072B2"), ("AdaRem", "#D55E00")):
        path = np.concatenate([start[None], runs[name, noise][:60]])
        panel.plot(*path.T[::-1], color=color, linewidth=1.2, label=name)
    panel.plot(0, 0, "k*", markersize=8)
    panel.set(xlabel="flat direction", title=f"noise {noise}, 60 steps")
panels[0].set_ylabel("steep direction")
panels[1].legend(fontsize="small", loc="lower right")
plt.show()

# %% [markdown]
# - **At the same learning rate** AdaRem oscillates less than SGD with momentum: not at
#   all with exact gradients, and less than half as much with noise, where its loss is
#   lower too.
# - **Beside plain SGD** it covers the flat direction faster, at about the same
#   oscillation: with exact gradients less than a fiftieth of the loss is left. The
#   price is more noise.
# - **It is no substitute for a step size.** At a tenth of the rate SGD with momentum
#   oscillates less than AdaRem where there is noise, and ends lower.

# %%
momentum, adarem, sgd = "SGD with momentum", "AdaRem", "SGD"
exact, noisy = 0.0, 0.1
assert found[momentum, exact][0] > 5 and max(found[adarem, exact][:2]) < 1.01
for direction in (0, 1):
    half = found[momentum, noisy][direction] / 2
    assert found[adarem, noisy][direction] < half
assert found[adarem, noisy][2] < found[momentum, noisy][2] / 2
assert found[adarem, exact][2] < found[sgd, exact][2] / 50
for direction in (0, 1):
    assert 0.8 < found[adarem, noisy][direction] / found[sgd, noisy][direction] < 1.0
assert found[adarem, noisy][2] > found[sgd, noisy][2]
slow = found["the same, a tenth of the rate", noisy]
assert all(a < b / 2 for a, b in zip(slow, found[adarem, noisy], strict=True))

# %% [markdown]
# The factor $1 + \lambda b$ on average over the runs, with a little noise: it amplifies
# the flat direction for as long as there is a way to go. In the steep one, where
# gradients answer those before them, it is somewhat below 1.


# %%
@jax.jit
@jax.vmap
def factors(key):
    """What AdaRem multiplied each gradient by: shape (steps, 2)."""
    link = arsg_optax.scale_by_resilience()

    def step(carry, key):
        params, state = carry
        gradients = curvature * params + 0.02 * jax.random.normal(key, (2,))
        scaled, state = link.update(gradients, state)
        return (params - 0.4 * scaled, state), scaled / gradients

    carry = start, link.init(start)
    return jax.lax.scan(step, carry, jax.random.split(key, STEPS))[1]


factor = factors(keys).mean(0)
for first, last in ((20, 60), (250, 300)):
    steep, flat = factor[first:last].mean(0)
    print(f"steps {first} to {last}: steep {steep:.2f}, flat {flat:.2f}")
early, late = factor[20:60].mean(0), factor[250:].mean(0)
assert early[1] > 1.3 and abs(late[1] - 1) < 0.05
assert 0.8 < early[0] < 1 and 0.8 < late[0] < 1

# %% [markdown]
# ## Which weights belong on a sphere
#
# In front of a normalization layer the length of a weight matrix does not matter, only
# its direction does: $L(c\,\theta) = L(\theta)$. To the optimizer it does matter.
# The longer the weights, the smaller the gradient and the smaller the angle of a step
# of given length; so a step turns the weights by an angle that goes with
# $\alpha/\|\theta\|^2$. Weight decay changes the length all the time, and past
# gradients are not comparable with present ones.
#
# `tuning.scale_invariant_leaves` finds such weights by scaling every array in your own
# loss. Here is a small network, a matrix, layer normalization and a linear layer, on
# handwritten digits.

# %%
digits = load_digits()
images = jnp.asarray(digits.data / 16, jnp.float32)
labels = jnp.asarray(digits.target, jnp.int32)
network = NormalizedMLP((64,), hidden=(64,), rngs=nnx.Rngs(0))
graph, fresh = nnx.split(network)


def cross_entropy(params, rows):
    logits = nnx.merge(graph, params, copy=True)(images[rows])
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()


mask = tuning.scale_invariant_leaves(
    lambda params: cross_entropy(params, jnp.arange(256)), fresh
)
members = {
    "/".join(map(str, path)): bool(leaf.get_value())
    for path, leaf in nnx.to_flat_state(mask)
}
for path, member in members.items():
    print(f"{path:18} {'on a sphere' if member else '-'}")
assert [path for path, member in members.items() if member] == ["hidden/0/kernel"]

# %% [markdown]
# ## What the sphere does
#
# `adarem_s` takes this mask as `sphere_mask`. The matrix keeps the norm that it began
# with. What weight decay would have done to the step is done by a learning rate of the
# sphere's own, $\alpha/\rho^2$, where $\rho$ is the norm that the matrix would have off
# the sphere, over the one that it has. So with SGD, which is AdaRem without resilience,
# both networks must be the same function at every step: with the same loss, and the
# matrix turned by the same angle.


# %%
def kernel(params):
    return params["hidden"][0]["kernel"].get_value()


def angle(before, after):
    """By which the matrix turned, in radians."""
    a, b = (kernel(p) / jnp.linalg.norm(kernel(p)) for p in (before, after))
    return 2 * jnp.arcsin(jnp.linalg.norm(a - b) / 2)


def train(optimizer, steps=300):
    """Minibatch loss, norm of the matrix and angle of the step: shape (steps,) each."""

    def step(carry, key):
        params, state = carry
        rows = jax.random.choice(key, len(labels), (64,))
        loss, gradients = jax.value_and_grad(cross_entropy)(params, rows)
        updates, state = optimizer.update(gradients, state, params)
        moved = optax.apply_updates(params, updates)
        norm = jnp.linalg.norm(kernel(moved))
        return (moved, state), (loss, norm, angle(params, moved))

    def run(params, keys):
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

    keys = jax.random.split(jax.random.key(1), steps)
    return jax.jit(run)(fresh, keys)


RATE, DECAY = 0.1, 0.01
on_sphere = {"weight_decay": DECAY, "sphere_mask": mask}
runs = {
    "SGD": train(arsg_optax.adarem(RATE, resilience=0.0, weight_decay=DECAY)),
    "SGD on the sphere": train(arsg_optax.adarem_s(RATE, resilience=0.0, **on_sphere)),
    "AdaRem": train(arsg_optax.adarem(RATE, weight_decay=DECAY)),
    "AdaRem-S": train(arsg_optax.adarem_s(RATE, **on_sphere)),
}
for name, (loss, norm, turned) in runs.items():
    print(
        f"{name:18} last losses {loss[-50:].mean():.4f}, norm {norm[-1]:.4f}, "
        f"angle {turned[-50:].mean():.4f}"
    )

# %%
off, on = runs["SGD"], runs["SGD on the sphere"]
print(f"largest difference of losses: {jnp.max(jnp.abs(off[0] - on[0])):.1e}")
print(
    f"largest relative difference of angles: {jnp.max(jnp.abs(off[2] / on[2] - 1)):.1e}"
)
# Rounding may switch a ReLU, and then differences grow.
assert jnp.max(jnp.abs(off[0] - on[0])) < 0.01
assert jnp.median(jnp.abs(off[2] / on[2] - 1)) < 1e-3
first = jnp.linalg.norm(kernel(fresh))
for name in ("SGD on the sphere", "AdaRem-S"):
    assert jnp.max(jnp.abs(runs[name][1] / first - 1)) < 1e-5
for name in ("SGD", "AdaRem"):
    assert runs[name][1][-1] < 0.9 * first

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
styles = {
    "SGD": {"color": "0.4"},
    "SGD on the sphere": {"color": "#E69F00", "linestyle": "--"},
    "AdaRem": {"color": "#0072B2"},
    "AdaRem-S": {"color": "#D55E00", "linestyle": "--"},
}
for name, curves in runs.items():
    for panel, curve in zip(panels, curves, strict=True):
        mean = curve.reshape(-1, 15).mean(1)
        panel.plot(range(8, 300, 15), mean, label=name, **styles[name])
panels[0].set_yscale("log")
titles = "minibatch loss", "norm of the matrix", "angle of a step [radians]"
for panel, title in zip(panels, titles, strict=True):
    panel.set_title(title, fontsize="medium")
    panel.set_xlabel("step")
figure.legend(
    *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4
)
plt.show()

# %% [markdown]
# The two SGDs are one network at two scales. AdaRem and AdaRem-S differ, because the
# average of gradients is taken at one scale on the sphere and at changing ones off
# it; on this small problem by less than five per cent of the loss. What the sphere is
# good for is control: the norm is yours to choose, and does not drift with the decay.
# AdaRem's loss is lower than SGD's at the same learning rate, with steps up to twice as
# long.

# %%
last = {name: curves[0][-50:].mean() for name, curves in runs.items()}
assert abs(last["AdaRem-S"] / last["AdaRem"] - 1) < 0.05
assert last["AdaRem"] < 0.8 * last["SGD"]
