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
# # The same in Linen, Haiku, Equinox and plain JAX
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/frameworks.ipynb)
#
# `arsg` is an Optax transform, so it goes where Optax goes. Here one network is trained
# four times on scikit-learn's digits, from the same weights and on the same batches:
# in plain JAX, Flax Linen, Haiku and Equinox. Each loop is compiled as a whole, each
# ends with `eval_params`, and all four end at the same losses to rounding. For Flax NNX
# see the [quickstart](quickstart.ipynb).

# %%
import sys

if "google.colab" in sys.modules:
    # %pip install -q "arsg_optax @ git+https://github.com/arsg-optax/arsg_optax"
    pass

# %%
if "google.colab" in sys.modules:
    # %pip install -q dm-haiku equinox
    pass

# %%
import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

import arsg_optax
from arsg_optax.flax import TrainState, iterate_variables

# %% [markdown]
# ## Data, batches and weights for all
#
# A fifth of the images is held out. The batches of 15 epochs are drawn once, so that a
# training run is one `lax.scan` over them.

# %%
digits = load_digits()
rng = np.random.default_rng(0)
rows = rng.permutation(len(digits.target))
images = jnp.asarray(digits.data[rows] / 16, jnp.float32)
labels = jnp.asarray(digits.target[rows], jnp.int32)
held_out = len(labels) // 5
test, train = (
    (images[:held_out], labels[:held_out]),
    (images[held_out:], labels[held_out:]),
)

BATCH, EPOCHS, HIDDEN = 64, 15, 128
STEPS = len(train[1]) // BATCH

orders = np.stack([rng.permutation(len(train[1])) for _ in range(EPOCHS)])
index = orders[:, : STEPS * BATCH].reshape(EPOCHS * STEPS, BATCH)
batches = jax.tree.map(lambda a: a[index], train)
print(f"{EPOCHS * STEPS} steps of {BATCH} images")


# %%
def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def layer(inputs, outputs):
    w = rng.normal(size=(inputs, outputs)) / inputs**0.5
    return {"w": jnp.asarray(w, jnp.float32), "b": jnp.zeros(outputs)}


weights = [layer(64, HIDDEN), layer(HIDDEN, 10)]
# The default b1=0.999 averages a thousand gradients, more than there are here.
optimizer = arsg_optax.arsg(learning_rate=0.005, b1=0.99)

# Of each framework: the losses of all minibatches, then those at both points.
minibatch, final = {}, {}


def record(name, minibatch_losses, loss_at, y, x):
    """Evaluates on whole sets; `loss_at(parameters, batch)` is the framework's."""
    minibatch[name] = minibatch_losses
    final[name] = {
        f"{split} at {point}": float(loss_at(params, batch))
        for split, batch in (("train", train), ("test", test))
        for point, params in (("y", y), ("x", x))
    }
    print(", ".join(f"{key} {loss:.4f}" for key, loss in final[name].items()))


# %% [markdown]
# ## Plain JAX
#
# The parameters are a tree of arrays. The scan carries them with the optimizer's state;
# after it they are the observation point $y$, and `eval_params` returns the iterate
# $x$, a tree of the same form.


# %%
def plain_loss(params, batch):
    x, y = batch
    first, last = params
    hidden = jax.nn.relu(x @ first["w"] + first["b"])
    return cross_entropy(hidden @ last["w"] + last["b"], y)


@jax.jit
def train_plain(params, batches):
    def step(carry, batch):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(plain_loss)(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return jax.lax.scan(step, (params, optimizer.init(params)), batches)


(params, opt_state), losses = train_plain(weights, batches)
iterate = arsg_optax.eval_params(opt_state, params)
record("plain JAX", losses, jax.jit(plain_loss), y=params, x=iterate)

# %% [markdown]
# ## Flax Linen
#
# The training state holds parameters, optimizer and its state. Flax's own `TrainState`
# works as well, without `value=`. The one in `arsg_optax.flax` has `batch_stats`
# and forwards the loss, `value=loss`, to optimizers that watch it, such as `arsgb`;
# `arsg` ignores it.


# %%
class Network(nn.Module):
    """64 pixels, one hidden layer, 10 classes."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(HIDDEN, name="hidden")(x))
        return nn.Dense(10, name="out")(x)


def linen_loss(params, batch):
    x, y = batch
    return cross_entropy(Network().apply({"params": params}, x), y)


@jax.jit
def train_linen(state, batches):
    def step(state, batch):
        loss, grads = jax.value_and_grad(linen_loss)(state.params, batch)
        return state.apply_gradients(grads=grads, value=loss), loss

    return jax.lax.scan(step, state, batches)


start = {
    name: {"kernel": layer["w"], "bias": layer["b"]}
    for name, layer in zip(("hidden", "out"), weights, strict=True)
}
shapes = jax.eval_shape(Network().init, jax.random.key(0), images[:1])["params"]
assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, shapes)

state = TrainState.create(apply_fn=Network().apply, params=start, tx=optimizer)
state, losses = train_linen(state, batches)
iterate = arsg_optax.eval_params(state.opt_state, state.params)
record("Linen", losses, jax.jit(linen_loss), y=state.params, x=iterate)

# %% [markdown]
# `iterate_variables` returns what `apply` takes, at the iterate. This network has no
# batch norm; for one that has, pass training batches, and the running statistics are
# gathered anew at $x$.

# %%
variables = iterate_variables(state)
assert variables.keys() == {"params"}

logits = state.apply_fn(variables, test[0])
accuracy = (logits.argmax(-1) == test[1]).mean()
print(f"test accuracy at the iterate {accuracy:.3f}")
assert accuracy > 0.9

# %% [markdown]
# With `value=` forwarded, the automatic observation boost of `arsgb` needs no change of
# the loop. Its windows of 300 steps are shortened here to fit so short a run. Once the
# loss looks flat, the observation factor doubles from 0.05 and the learning rate
# shrinks to 0.2483 of itself. `metrics` reads this from the state.

# %%
boosted = TrainState.create(
    apply_fn=Network().apply,
    params=start,
    tx=arsg_optax.arsgb(learning_rate=0.01, window=16),
)
boosted, _ = train_linen(boosted, batches)
found = arsg_optax.metrics(boosted.opt_state)
print(", ".join(f"{name} {value:.4g}" for name, value in found.items()))
assert found["boosts"] == 1 and jnp.isclose(found["observation"], 0.1)
ratio = arsg_optax.dynamics.boost_ratio(0.999, 0.05)
assert jnp.isclose(found["learning_rate"], 0.01 * ratio)

# %% [markdown]
# ## Haiku
#
# `hk.transform` makes a pair of pure functions; without dropout `apply` needs no key.
# Its parameters are a dictionary by module and name.

# %%
network = hk.without_apply_rng(
    hk.transform(lambda x: hk.nets.MLP([HIDDEN, 10], name="mlp")(x))
)


def haiku_loss(params, batch):
    x, y = batch
    return cross_entropy(network.apply(params, x), y)


@jax.jit
def train_haiku(params, opt_state, batches):
    def step(carry, batch):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(haiku_loss)(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return jax.lax.scan(step, (params, opt_state), batches)


start = {f"mlp/~/linear_{i}": layer for i, layer in enumerate(weights)}
shapes = jax.eval_shape(network.init, jax.random.key(0), images[:1])
assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, shapes)

(params, opt_state), losses = train_haiku(start, optimizer.init(start), batches)
iterate = arsg_optax.eval_params(opt_state, params)
record("Haiku", losses, jax.jit(haiku_loss), y=params, x=iterate)

# %% [markdown]
# ## Equinox
#
# A model is a tree whose leaves are arrays, and functions besides. The optimizer gets
# the arrays alone, `eqx.filter(model, eqx.is_inexact_array)`. A scan carries arrays
# only, so the rest stays outside and is put back in each step. `eval_params` takes
# the filtered tree as well; `eqx.combine` makes a model of the iterate.


# %%
def equinox_loss(model, batch):
    x, y = batch
    return cross_entropy(jax.vmap(model)(x), y)


@eqx.filter_jit
def train_equinox(model, opt_state, batches):
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def step(carry, batch):
        params, opt_state = carry
        model = eqx.combine(params, static)
        loss, grads = eqx.filter_value_and_grad(equinox_loss)(model, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (eqx.apply_updates(params, updates), opt_state), loss

    (params, opt_state), losses = jax.lax.scan(step, (params, opt_state), batches)
    return eqx.combine(params, static), opt_state, losses


# Only its form, since all weights are replaced: Equinox has them as (outputs, inputs).
model = eqx.filter_eval_shape(
    eqx.nn.MLP, 64, 10, HIDDEN, depth=1, key=jax.random.key(0)
)
model = eqx.tree_at(
    lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)],
    model,
    [leaf for layer in weights for leaf in (layer["w"].T, layer["b"])],
)
opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

model, opt_state, losses = train_equinox(model, opt_state, batches)
params, static = eqx.partition(model, eqx.is_inexact_array)
iterate = eqx.combine(arsg_optax.eval_params(opt_state, params), static)
# jax.jit would take the activation function in the model for an argument.
record("Equinox", losses, eqx.filter_jit(equinox_loss), y=model, x=iterate)

# %% [markdown]
# ## All four are the same
#
# Equinox keeps weights transposed and maps over single images, so that its sums may be
# rounded differently. Two runs agree where their losses differ by no more than rounding
# that 330 steps have carried on: we ask for four digits, and print what there is. The
# four curves lie on each other, so each is drawn thinner than the one below it.

# %%
figure, panel = plt.subplots(figsize=(8, 3), layout="constrained")
drawn = ((9, "#D5DCE4"), (6, "#56B4E9"), (3.5, "#0072B2"), (1, "#FFB000"))
for (name, losses), (width, color) in zip(minibatch.items(), drawn, strict=True):
    panel.semilogy(losses, linewidth=width, color=color, label=name)
panel.set(xlabel="step", ylabel="minibatch loss [nats]")
panel.set_title("four frameworks, one curve")
panel.legend()
plt.show()

# %%
columns = list(final["plain JAX"])
print(f"{'':10}", *(f"{column:>11}" for column in columns), f"{'deviation':>11}")
for name, losses in final.items():
    deviation = max(abs(losses[c] / final["plain JAX"][c] - 1) for c in columns)
    print(f"{name:10}", *(f"{losses[c]:11.6f}" for c in columns), f"{deviation:11.1e}")
    assert deviation < 1e-4
    assert jnp.allclose(minibatch[name], minibatch["plain JAX"], rtol=1e-4)

# %% [markdown]
# Which point is the better one depends on the run. In this one, short as it is, $y$ is
# ahead on the training set and $x$ on the test set: by little, and with one seed. The
# [quickstart](quickstart.ipynb) compares them over ten.

# %%
losses = final["plain JAX"]
assert losses["train at y"] < losses["train at x"]
assert losses["test at x"] < losses["test at y"]
