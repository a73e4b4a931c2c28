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
# # Precision and memory
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/precision_and_memory.ipynb)
#
# ARSG holds three arrays per parameter: momentum, second moment and its running
# maximum. With `mu_dtype=jnp.bfloat16, nu_dtype=jnp.bfloat16` these take 6 bytes per
# parameter instead of 12, which is less than Adam's 8. This notebook counts the bytes,
# shows why the moments are rounded stochastically and what goes wrong with
# hyper-parameters and parameters of 16 bits, and reads off the compiled program what
# donation saves.

# %%
import sys

if "google.colab" in sys.modules:
    # %pip install -q "arsg_optax @ git+https://github.com/arsg-optax/arsg_optax"
    pass

# %%
import pickle

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from arsg_optax import arsg, rsg

BFLOAT16 = {"mu_dtype": jnp.bfloat16, "nu_dtype": jnp.bfloat16}

# %% [markdown]
# ## Bytes per parameter
#
# `init` works on shapes alone, so the state of a billion parameters can be counted
# without being made. Scalars, such as the count of updates, are left out.

# %%
BILLION = jax.ShapeDtypeStruct((2**15, 2**15), jnp.float32)


def bytes_a_parameter(optimizer):
    state = jax.eval_shape(optimizer.init, BILLION)
    arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays) / BILLION.size


counted = {
    "optax.adam": bytes_a_parameter(optax.adam(0.1)),
    "optax.amsgrad": bytes_a_parameter(optax.amsgrad(0.1)),
    "arsg": bytes_a_parameter(arsg(0.1)),
    "arsg, momentum in bfloat16": bytes_a_parameter(arsg(0.1, mu_dtype=jnp.bfloat16)),
    "arsg, all in bfloat16": bytes_a_parameter(arsg(0.1, **BFLOAT16)),
    "rsg": bytes_a_parameter(rsg(0.1)),
    "rsg in bfloat16": bytes_a_parameter(rsg(0.1, mu_dtype=jnp.bfloat16)),
}
for name, count in counted.items():
    print(f"{name:27} {count:2.0f}")
assert list(counted.values()) == [8, 12, 12, 10, 6, 4, 2]

# %% [markdown]
# float16 is refused: it cannot hold squared gradients, and an `eps` of 1e-8 is 0 in it.

# %%
assert jnp.float16(1e-8) == 0
try:
    arsg(0.1, nu_dtype=jnp.float16)
except ValueError as error:
    print(error)
else:
    raise AssertionError("float16 must be refused")

# %% [markdown]
# ## Why the rounding is stochastic
#
# bfloat16 holds eight significant bits. A momentum with `b1=0.999` moves by a
# thousandth of its distance to the gradient, which soon is less than half the spacing
# of these numbers: rounded to nearest, it stands still. Rounded up or down at random,
# with the probability of the distance, it is right in the mean. Here the gradient is
# always 1.


# %%
def stored_to_nearest(optimizer):
    """The optimizer with the arrays of its state in bfloat16, rounded to nearest."""

    def cast(tree, before, after):
        def cast_moment(leaf):
            moment = leaf.ndim and leaf.dtype == before
            return leaf.astype(after) if moment else leaf

        return jax.tree.map(cast_moment, tree)

    def init(params):
        return cast(optimizer.init(params), jnp.float32, jnp.bfloat16)

    def update(updates, state, params=None):
        wide = cast(state, jnp.bfloat16, jnp.float32)
        updates, wide = optimizer.update(updates, wide, params)
        return updates, cast(wide, jnp.float32, jnp.bfloat16)

    return optax.GradientTransformation(init, update)


STORAGES = {
    "float32": rsg(0.1),
    "bfloat16, stochastic": rsg(0.1, mu_dtype=jnp.bfloat16),
    "bfloat16, to nearest": stored_to_nearest(rsg(0.1)),
}
SIZE, STEPS = 4096, 3000


def momentum(optimizer):
    """Mean and standard deviation of the momentum's elements, by step."""

    def step(state, _):
        _, state = optimizer.update(jnp.ones(SIZE), state)
        mu = optax.tree.get(state, "mu").astype(jnp.float32)
        return state, (mu.mean(), mu.std())

    return jax.lax.scan(step, optimizer.init(jnp.zeros(SIZE)), length=STEPS)[1]


moments = {name: momentum(optimizer) for name, optimizer in STORAGES.items()}
for name, (mean, deviation) in moments.items():
    print(f"{name:21} {mean[-1]:.4f}, standard deviation {deviation[-1]:.4f}")

# %%
exact, stochastic, nearest = (mean for mean, _ in moments.values())
error = moments["bfloat16, stochastic"][1][-1] / SIZE**0.5
assert abs(stochastic[-1] - exact[-1]) < 4.5 * error
assert np.all(nearest[400:] == 0.25)

# %% [markdown]
# To nearest, it stops at 0.25 and never moves again. Training is worse for it where
# gradients have little noise, as on this quadratic with curvatures from 0.01 to 1.
# Strong noise hides it, because noise keeps any average moving.

# %%
curvature = jnp.geomspace(0.01, 1, 256)


def losses(optimizer):
    def step(carry, key):
        params, state = carry
        gradients = curvature * params + 1e-4 * jax.random.normal(key, params.shape)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), jnp.sum(curvature * params**2) / 2

    start = jnp.ones(256)
    keys = jax.random.split(jax.random.key(0), STEPS)
    return jax.lax.scan(step, (start, optimizer.init(start)), keys)[1]


trained = {name: losses(optimizer) for name, optimizer in STORAGES.items()}
late = {name: float(loss[-600:].mean()) for name, loss in trained.items()}
for name, loss in late.items():
    print(f"{name:21} loss {loss:.3g}, {loss / late['float32']:.2f} of float32's")
assert abs(late["bfloat16, stochastic"] / late["float32"] - 1) < 0.05
assert late["bfloat16, to nearest"] > 1.5 * late["float32"]

# %%
figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
styles = (
    {"color": "C0", "linewidth": 3},
    {"color": "black", "linestyle": "--"},
    {"color": "C3"},
)
for name, style in zip(STORAGES, styles, strict=True):
    panels[0].plot(moments[name][0], label=name, **style)
    panels[1].semilogy(trained[name], **style)
panels[0].set(xlabel="step", title="momentum of gradients that are 1")
panels[1].set(xlabel="step", title="loss of the quadratic")
panels[0].legend()
plt.show()

# %% [markdown]
# ## The same bits after a restart
#
# The random bits are a hash of step, leaf and position. The state holds no key, and a
# run that was saved and resumed goes on with the same bits. Under `jit` they are also
# the same on any sharding ([the notebook on meshes](mesh.ipynb) shows it). Inside
# `shard_map`, split parameters with a bfloat16 state are refused.

# %%
optimizer = arsg(0.05, **BFLOAT16)
start = {"w": jnp.ones((16, 8)), "b": jnp.ones(8)}


@jax.jit
def train(params, state, keys):
    def step(carry, key):
        params, state = carry
        noise = {name: jax.random.normal(key, p.shape) for name, p in params.items()}
        gradients = jax.tree.map(jnp.add, params, noise)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), keys)[0]


keys = jax.random.split(jax.random.key(1), 200)
whole = train(start, optimizer.init(start), keys)

halfway = train(start, optimizer.init(start), keys[:100])
saved = pickle.dumps(jax.device_get(halfway))
resumed = train(*pickle.loads(saved), keys[100:])

pairs = list(zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True))
assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
print(f"{len(pairs)} arrays of parameters and state: the same bits")

# %% [markdown]
# ## Hyper-parameters in 16 bits
#
# `optax.inject_hyperparams` casts numbers to the dtype of the parameters. In bfloat16
# 0.999 is 1, and the momentum would never move. The update raises rather than train
# wrongly, and the message names the remedy.

# %%
narrow = {"w": jnp.ones((16, 8), jnp.bfloat16)}
assert jnp.bfloat16(0.999) == 1
injected = optax.inject_hyperparams(arsg)(learning_rate=0.01)
try:
    injected.update(narrow, injected.init(narrow), narrow)
except ValueError as error:
    print(error)
else:
    raise AssertionError("hyper-parameters of 16 bits must raise")

# %% [markdown]
# A dtype given as a class is a callable, which `inject_hyperparams` takes for a
# schedule: give its name.

# %%
injected = optax.inject_hyperparams(arsg, hyperparam_dtype=jnp.float32)(
    learning_rate=0.01, mu_dtype="bfloat16", nu_dtype="bfloat16"
)
updates, state = injected.update(narrow, injected.init(narrow), narrow)
print({name: f"{value:.4g}" for name, value in state.hyperparams.items()})
assert state.hyperparams["b1"] == jnp.float32(0.999)
assert optax.tree.get(state, "mu")["w"].dtype == jnp.bfloat16

# %% [markdown]
# ## Parameters in bfloat16
#
# Statistics of 16-bit parameters are float32 unless a dtype is given, and updates come
# in the parameters' dtype. What is lost is lost when they are added:
# `optax.apply_updates` rounds the sum to nearest, and next to 1 a step of 0.001 is less
# than half the spacing. Hold such parameters in float32 and cast them in the loss.


# %%
def walk(dtype):
    """A parameter that starts at 1, with the loss x²/2, after 500 steps."""
    start, optimizer = jnp.ones(1, dtype), arsg(0.001)

    def loss_fn(params):
        return jnp.sum(params.astype(jnp.bfloat16) ** 2) / 2

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss_fn)(params), state, params)
        assert updates.dtype == dtype
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=500)
    assert optax.tree.get(state, "mu").dtype == jnp.float32
    return float(params[0])


held_narrow, held_wide = walk(jnp.bfloat16), walk(jnp.float32)
print(f"held in bfloat16: {held_narrow:.3f}, held in float32: {held_wide:.3f}")
assert held_narrow == 1
assert held_wide < 0.9

# %% [markdown]
# ## Updates in place
#
# Donated arrays are overwritten, so that parameters and state exist once. But JAX pairs
# donated arguments with results of the same shape and dtype in the order in which they
# come. A step that takes `(state, params)` and returns `(params, state)` is told to
# write the parameters where the momentum lies, and must copy. The compiled program says
# so: `memory_analysis` counts what it holds, `cost_analysis` what it moves.

# %%
WEIGHTS = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)


def bytes_of_step(optimizer, donate=(0, 1), state_first=False):
    """What a compiled step holds and moves, in bytes a parameter."""

    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    def step_state_first(state, params, gradients):
        return step(params, state, gradients)

    state = jax.eval_shape(optimizer.init, WEIGHTS)
    chosen, given = step, (WEIGHTS, state)
    if state_first:
        chosen, given = step_state_first, (state, WEIGHTS)
    jitted = jax.jit(chosen, donate_argnums=donate)
    compiled = jitted.lower(*given, WEIGHTS).compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    found = {
        "given": memory.argument_size_in_bytes,
        "new": new,
        "temporary": memory.temp_size_in_bytes,
        "moved": cost["bytes accessed"],
    }
    return {kind: round(size / WEIGHTS.size, 1) for kind, size in found.items()}


steps = {
    "arsg, nothing donated": bytes_of_step(arsg(0.1), donate=()),
    "arsg, donated, state first": bytes_of_step(arsg(0.1), state_first=True),
    "arsg, donated in order": bytes_of_step(arsg(0.1)),
    "arsg in bfloat16, in order": bytes_of_step(arsg(0.1, **BFLOAT16)),
    "optax.adam, in order": bytes_of_step(optax.adam(0.1)),
}
for name, found in steps.items():
    print(f"{name:27}", "  ".join(f"{k} {v:5.1f}" for k, v in found.items()))

# %% [markdown]
# Given are parameters, gradients and state: 20 bytes per parameter with ARSG's state in
# float32, 14 with it in bfloat16. Without donation 16 new ones are added. Donated in
# another order, nothing is new, but on a CPU 12 bytes of temporary copies are, and
# nearly twice as much is moved.

# %%
assert steps["arsg, nothing donated"]["new"] == 16
for name, given in (
    ("arsg, donated in order", 20),
    ("arsg in bfloat16, in order", 14),
    ("optax.adam, in order", 16),
):
    assert (steps[name]["given"], steps[name]["new"]) == (given, 0)
if jax.default_backend() == "cpu":  # Other compilers schedule in their own way.
    in_order = steps["arsg, donated in order"]
    state_first = steps["arsg, donated, state first"]
    assert (in_order["temporary"], state_first["temporary"]) == (0, 12)
    assert state_first["moved"] > 1.8 * in_order["moved"]
    assert steps["arsg in bfloat16, in order"]["moved"] < in_order["moved"]
