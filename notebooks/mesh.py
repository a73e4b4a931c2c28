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
# # TPU: from one device to a mesh
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/mesh.ipynb)
#
# The optimizers know no devices. Parameters and state carry a `jax.sharding`; an update
# works on each element where it lies, so the same training loop runs on one device and
# on many. This notebook trains a small network on a mesh with a data axis and a model
# axis, and checks that the state lies as the parameters do, that the losses are those
# of one device, and that an update moves nothing between devices. It uses the TPU or
# GPU devices that there are, and else simulates eight devices on the CPU.

# %%
import sys

if "google.colab" in sys.modules:
    # %pip install -q "arsg_optax @ git+https://github.com/arsg-optax/arsg_optax"
    pass

# %%
import os
import re

# Of no effect on a TPU or GPU. It must be set before JAX starts.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

from arsg_optax import adarem, arsg, eval_params, tuning

# So that one device and many differ by the order of sums only, on a TPU too.
jax.config.update("jax_default_matmul_precision", "float32")
print(f"{jax.device_count()} devices: {jax.devices()[0].device_kind}")

# %% [markdown]
# ## A mesh
#
# Batches are split over the axis `data`, the hidden layer over the axis `model`: its
# weights by columns, those of the output layer by rows. With an odd number of devices,
# or a single one, the model axis has length 1.

# %%
model_length = 2 if jax.device_count() % 2 == 0 else 1
mesh = jax.make_mesh(
    (jax.device_count() // model_length, model_length),
    ("data", "model"),
    axis_types=(AxisType.Auto, AxisType.Auto),
)


def on_mesh(*axes):
    return NamedSharding(mesh, PartitionSpec(*axes))


shardings = {
    "hidden": on_mesh(None, "model"),
    "bias": on_mesh("model"),
    "out": on_mesh("model", None),
}
print(mesh)

# %% [markdown]
# ## Parameters and state, made where they lie
#
# Compiled with `out_shardings`, parameters never exist whole on any device. `init` then
# makes the state by `zeros_like` and the like, which keep the sharding.


# %%
def init_params(key):
    of_hidden, of_out = jax.random.split(key)
    return {
        "hidden": jax.random.normal(of_hidden, (64, 256)) / 32**0.5,
        "bias": jnp.zeros(256),
        "out": jax.random.normal(of_out, (256, 10)) / 128**0.5,
    }


def assert_lies_as_parameters(tree):
    """Every array named as a parameter lies as that parameter."""
    checked = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if leaf.ndim:
            expected = shardings[path[-1].key]
            assert leaf.sharding.is_equivalent_to(expected, leaf.ndim), path
            checked += 1
    return checked


optimizer = arsg(0.02)
params = jax.jit(init_params, out_shardings=shardings)(jax.random.key(0))
state = optimizer.init(params)
print(assert_lies_as_parameters(params), "arrays of parameters")
print(assert_lies_as_parameters(state), "arrays of the state, which lie as they do")

# %% [markdown]
# A compiled `init` needs to be told: its result does not depend on the values of the
# parameters, so the compiler does not see where they lie and would put the whole state
# on one device. `optax.tree.map_params` makes the shardings from the state's shapes.

# %%
state_shardings = optax.tree.map_params(
    optimizer,
    lambda _, sharding: sharding,
    jax.eval_shape(optimizer.init, params),
    shardings,
    transform_non_params=lambda _: on_mesh(),
)
state = jax.jit(optimizer.init, out_shardings=state_shardings)(params)
assert assert_lies_as_parameters(state) == 9

untold = optax.tree.get(jax.jit(optimizer.init)(params), "mu")["hidden"]
print("without out_shardings on", untold.devices())
assert len(untold.devices()) == 1

# %%
total = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if leaf.ndim)
held = sum(
    leaf.addressable_shards[0].data.nbytes
    for leaf in jax.tree.leaves(state)
    if leaf.ndim
)
print(f"state: {total:,} bytes, of which a device holds {held:,}")
assert held * model_length == total

# %% [markdown]
# ## Batches
#
# `jax.make_array_from_process_local_data` takes what this process has read. With one
# process that is the whole batch; with several, each gives its part.

# %%
STEPS, BATCH = 100, 32 * mesh.shape["data"]
digits = load_digits()
rows = np.random.default_rng(0).integers(0, len(digits.target), (STEPS, BATCH))
read = (digits.data[rows] / 16).astype(np.float32), digits.target[rows].astype(np.int32)
batches = jax.tree.map(
    lambda a: jax.make_array_from_process_local_data(on_mesh(None, "data"), a), read
)
print(f"{STEPS} batches of {BATCH}, {BATCH // mesh.shape['data']} images a device")

# %% [markdown]
# The numbers in the picture are the devices that hold a part. A batch is split by rows
# over `data`, the weights and their momentum by columns over `model`, with a copy for
# each part of the data.

# %%
arrays = {
    "images of a batch": batches[0][0],
    "hidden weights": params["hidden"],
    "their momentum": optax.tree.get(state, "mu")["hidden"],
}
figure, panels = plt.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
for panel, (name, array) in zip(panels, arrays.items(), strict=True):
    parts = {}
    for device, (rows, columns) in array.sharding.devices_indices_map(
        array.shape
    ).items():
        begin = rows.start or 0, columns.start or 0
        parts.setdefault(begin, []).append(device.id)
    height, width = array.sharding.shard_shape(array.shape)
    for number, ((row, column), ids) in enumerate(sorted(parts.items())):
        corner, color = (column, row), plt.cm.Blues(0.25 + 0.15 * number)
        box = plt.Rectangle(corner, width, height, facecolor=color, edgecolor="white")
        panel.add_patch(box)
        middle = column + width / 2, row + height / 2
        panel.text(*middle, f"{ids}", ha="center", va="center")
    rows, columns = array.shape
    panel.set(title=f"{name}, {rows} x {columns}", xlim=(0, columns), ylim=(rows, 0))
plt.show()

# %% [markdown]
# ## The same loop
#
# Nothing in it knows of the mesh. Donated arguments come back in the order in which
# they came, so that they are overwritten in place.


# %%
def loss_fn(params, batch):
    x, y = batch
    logits = jax.nn.relu(x @ params["hidden"] + params["bias"]) @ params["out"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def train(params, state, batches):
    def step(carry, batch):
        params, state = carry
        loss, gradients = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), loss

    (params, state), losses = jax.lax.scan(step, (params, state), batches)
    return params, state, losses


compiled_train = jax.jit(train, donate_argnums=(0, 1))
params, state, losses = compiled_train(params, state, batches)
print(f"loss {losses[0]:.3f} to {losses[-1]:.3f} on {jax.device_count()} devices")
assert assert_lies_as_parameters((params, state)) == 12

# %% [markdown]
# On one device, from the same parameters and with the same batches:

# %%
one = jax.local_devices()[0]
alone = jax.device_put(jax.jit(init_params)(jax.random.key(0)), one)
alone, alone_state, alone_losses = compiled_train(
    alone, optimizer.init(alone), jax.device_put(read, one)
)
difference = np.max(np.abs(np.asarray(losses) / np.asarray(alone_losses) - 1))
print(f"losses differ by {difference:.1e} at most, relative to the loss")
assert difference < 1e-3

# %% [markdown]
# The iterate, at which to evaluate, lies as the parameters do.

# %%
iterate = eval_params(state, params)
assert assert_lies_as_parameters(iterate) == 3

# %% [markdown]
# ## What moves between devices
#
# In a step the loss does: partial sums of the output layer over `model`, gradients over
# `data`. The update does not. The compiled programs name their collectives.

# %%
COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)


def collectives(function, *args):
    text = jax.jit(function).lower(*args).compile().as_text()
    # Asynchronous ones are in two parts, of which the first counts.
    found = {
        name: len(re.findall(rf" {name}(-start)?\(", text)) for name in COLLECTIVES
    }
    return {name: count for name, count in found.items() if count}


def update(gradients, state, params):
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state


batch = jax.tree.map(lambda a: a[0], batches)
moved = {
    "loss and gradient": collectives(jax.value_and_grad(loss_fn), params, batch),
    "update": collectives(update, params, state, params),
    "iterate": collectives(eval_params, state, params),
}
print(moved)
assert not moved["update"] and not moved["iterate"]
assert bool(moved["loss and gradient"]) == (jax.device_count() > 1)

# %% [markdown]
# Moments in bfloat16 are rounded by a hash of each element's position in the whole
# array, not in the part that a device holds. So under `jit` their bits do not depend on
# the mesh.

# %%
narrow = arsg(0.02, mu_dtype=jnp.bfloat16, nu_dtype=jnp.bfloat16)


@jax.jit
def moments(params, state):
    def step(state, scale):
        gradients = jax.tree.map(lambda p: scale * p, params)
        return narrow.update(gradients, state, params)[1], None

    state, _ = jax.lax.scan(step, state, jnp.linspace(0.5, 1.5, 50))
    return [optax.tree.get(state, name) for name in ("mu", "nu", "nu_max")]


on_many = moments(params, narrow.init(params))
copy = jax.device_put(params, one)
on_one = moments(copy, narrow.init(copy))
assert assert_lies_as_parameters(on_many) == 9
for a, b in zip(jax.tree.leaves(on_many), jax.tree.leaves(on_one), strict=True):
    assert a.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
print(f"the same bits on {jax.device_count()} devices and on one")

# %% [markdown]
# ## Inside `shard_map`
#
# Under `jit` a program sees whole arrays, however they lie. Inside `jax.shard_map` it
# sees one device's parts. `arsg`, `rsg` and `namsg` work element by element and need
# nothing there. (With a bfloat16 state they refuse split parameters, because a part
# does not know its position in the whole array.)


# %%
def in_parts(optimizer, tree):
    """Two updates inside `shard_map`, with the tree as gradient and parameters."""

    def two_updates(part):
        _, state = optimizer.update(part, optimizer.init(part), part)
        return optimizer.update(part, state, part)[0]

    specs = {name: sharding.spec for name, sharding in shardings.items()}
    mapped = jax.shard_map(two_updates, mesh=mesh, in_specs=(specs,), out_specs=specs)
    return jax.jit(mapped)(tree)


def in_whole(optimizer, tree):
    _, state = optimizer.update(tree, optimizer.init(tree), tree)
    return optimizer.update(tree, state, tree)[0]


def assert_close(tree, other):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5)


scaled = jax.tree.map(lambda p: 0.1 * p + 0.01, params)
whole = jax.device_put(scaled, one)
assert_close(in_parts(optimizer, scaled), in_whole(optimizer, whole))

# %% [markdown]
# Optimizers that reduce over whole arrays must be told which axes split them:
# `axis_name` of `adarem`, `adarem_s`, `swnts`, `switch_to_sgd`, `project` and the
# spheres. Each array is then reduced over those of these axes that split it. Without a
# name they refuse.

# %%
assert_close(
    in_parts(adarem(0.1, axis_name=("data", "model")), scaled),
    in_whole(adarem(0.1), whole),
)
try:
    in_parts(adarem(0.1), scaled)
    raise AssertionError
except ValueError as error:
    message = str(error)
print(message)
assert "axis_name" in message

# %% [markdown]
# ## Sweeps
#
# A sweep has a better axis to split: the candidates. `tuning.search_learning_rate`
# spreads them over all devices of a mesh, whatever its axes; each device trains its own
# and nothing passes between them. Parameters and data are copied to each, so this is
# for models that fit on one device.

# %%
RATES = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]


def sweep(**options):
    return tuning.search_learning_rate(
        arsg,
        loss_fn,
        lambda seed: init_params(jax.random.key(seed)),
        read,
        RATES,
        steps=STEPS,
        **options,
    )


spread, single = sweep(mesh=mesh), sweep()
print(spread)
print(f"candidates a device: {spread.group // jax.device_count()}")
np.testing.assert_allclose(spread.losses, single.losses, rtol=1e-3)
assert spread.learning_rate == single.learning_rate
assert spread.group % jax.device_count() == 0

# %%
figure, panel = plt.subplots(figsize=(8, 3), layout="constrained")
for rate, curve in zip(RATES, spread.losses, strict=True):
    panel.semilogy(curve, label=f"{rate:g}")
panel.set(xlabel="step", ylabel="cross entropy [nats]")
panel.legend(title="learning rate", loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# Simulated devices share the cores of one CPU, so nothing is gained here but the test.
#
# ## Many hosts
#
# On several hosts, such as a slice of a TPU pod, the same program runs once on each.
# It begins with `jax.distributed.initialize()`, which on Cloud TPU takes no arguments
# and must come before anything else of JAX. `jax.devices()` then lists the devices of
# all hosts, and the mesh above spans them; nothing in the optimizer or the training
# loop changes. Three things around it do (this notebook does not run them):
#
# - each process reads its own part of every batch, as under "Batches";
# - printing and writing files is for one of them, `if jax.process_index() == 0`;
# - checkpoints are written together by all of them, with Orbax for example, and
#   restored to the shardings made above.
#
# `arsg train`, the command line's trainer, reproduces the papers' protocols. It runs as
# one process on one device and knows no mesh: for more, use a loop as above.
