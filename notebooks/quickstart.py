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
# # Quickstart: ARSG on handwritten digits, in Flax NNX
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/quickstart.ipynb)
#
# ARSG takes its gradients at an *observation point* a hundred momentum steps ahead of
# the *iterate*. The training loop holds the observation point $y$; `eval_params` hands
# out the iterate $x$, which carries far less gradient noise, at no cost. This notebook
# trains a small network on scikit-learn's 1,797 real digits with `arsg` and with
# Optax's `adam`, and compares the loss at both points.

# %%
import sys

if "google.colab" in sys.modules:
    # %pip install -q "arsg_optax @ git+https://github.com/arsg-optax/arsg_optax"
    pass

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx
from sklearn.datasets import load_digits

import arsg_optax

# %% [markdown]
# ## Data and model
#
# Eight-by-eight images scaled to [0, 1], on the device from the start. A fifth is held
# out.

# %%
digits = load_digits()
rows = jax.random.permutation(jax.random.key(0), len(digits.target))
images = jnp.asarray(digits.data / 16, jnp.float32)[rows]
labels = jnp.asarray(digits.target, jnp.int32)[rows]
held_out = len(labels) // 5
test, train = (
    (images[:held_out], labels[:held_out]),
    (images[held_out:], labels[held_out:]),
)
print(f"{len(train[1])} images to train on, {len(test[1])} to test")


# %%
class Network(nnx.Module):
    """64 pixels, one hidden layer, 10 classes."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 128, rngs=rngs)
        self.out = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x)))


def cross_entropy(model, batch):
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


# %% [markdown]
# ## Ten lines of use
#
# Any Optax loop works; this one is Flax NNX's own. The one new line is the last.

# %%
model = Network(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, arsg_optax.arsg(learning_rate=0.005), wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, batch):
    loss, grads = nnx.value_and_grad(cross_entropy)(model, batch)
    optimizer.update(model, grads)
    return loss


for _ in range(5):
    loss = train_step(model, optimizer, train)
    print(f"loss {loss:.3f}")

iterate = arsg_optax.eval_params(optimizer.opt_state, nnx.state(model, nnx.Param))

# %% [markdown]
# ## A comparison, compiled
#
# A run is two nested `lax.scan`s, over epochs and over batches; ten seeds run at once
# under `vmap`, all compiled once. Each epoch reports the loss over the whole training
# and test sets, at $y$ and at $x$. For `adam`, which has no observation point,
# `eval_params` returns the parameters themselves.

# %%
BATCH, EPOCHS, SEEDS = 64, 30, 10
STEPS = len(train[1]) // BATCH


def losses(transform):
    """Losses by point: arrays of shape (SEEDS, EPOCHS)."""

    def run(key):
        graph, params = nnx.split(Network(nnx.Rngs(key)))

        def loss_at(params, batch):
            return cross_entropy(nnx.merge(graph, params, copy=True), batch)

        def step(carry, batch):
            params, state = carry
            gradients = jax.grad(loss_at)(params, batch)
            updates, state = transform.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        def epoch(carry, key):
            order = jax.random.permutation(key, len(train[1]))[: STEPS * BATCH]
            batches = jax.tree.map(lambda a: a[order.reshape(STEPS, BATCH)], train)
            carry, _ = jax.lax.scan(step, carry, batches)
            y = carry[0]
            x = arsg_optax.eval_params(carry[1], y)
            return carry, {
                f"{split} at {point}": loss_at(params, batch)
                for split, batch in (("train", train), ("test", test))
                for point, params in (("y", y), ("x", x))
            }

        start = (params, transform.init(params))
        return jax.lax.scan(epoch, start, jax.random.split(key, EPOCHS))[1]

    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), SEEDS))


curves = {
    "arsg": losses(arsg_optax.arsg(learning_rate=0.005)),
    "adam": losses(optax.adam(learning_rate=0.001)),
}
for name, points in curves.items():
    for point, loss in points.items():
        if name == "arsg" or point.endswith("y"):
            print(f"{name} {point}: {loss[:, -1].mean():.4f}")

# %%
figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for panel, split in zip(panels, ("train", "test"), strict=True):
    for name, point, style in (
        ("adam", "y", {"color": "black", "linestyle": "--", "label": "adam"}),
        ("arsg", "y", {"color": "C0", "linewidth": 1, "label": "arsg at y"}),
        ("arsg", "x", {"color": "C1", "label": "arsg at x"}),
    ):
        loss = curves[name][f"{split} at {point}"].mean(0)
        panel.semilogy(range(1, EPOCHS + 1), loss, **style)
    panel.set(xlabel="epoch", title=f"{split} loss, mean of {SEEDS} seeds")
panels[0].set_ylabel("cross entropy [nats]")
panels[1].legend()
plt.show()
# %% [markdown]
# The default momentum averages over a thousand gradients; this run takes 660. So the
# iterate lags at first, at both sets. On the training set it has not caught up when the
# run ends; on the test set it has, and is the better point. Longer runs are in the
# documentation.

# %%
gain = curves["arsg"]["test at y"][:, -1] - curves["arsg"]["test at x"][:, -1]
error = gain.std(ddof=1) / SEEDS**0.5
print(f"test loss at x is lower by {gain.mean():.4f} ± {error:.4f} (standard error)")
assert gain.mean() > 2 * error
assert (
    curves["arsg"]["train at y"][:, -1].mean()
    < curves["adam"]["train at y"][:, -1].mean()
)
