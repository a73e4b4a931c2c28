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
# # Compose your own optimizer from the transforms
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/composing.ipynb)
#
# Most optimizers of this package are one call of `remote_chain`:
#
#     gradient -> momentum and observation -> your links -> decay -> learning rate
#
# Each link is an Optax transform. This notebook builds `arsg` from its link, then
# exchanges links, adds others, wraps Optax's Adam, and writes a link of its own.
# `eval_params` finds the iterate in all of them. At the end all of them are compared on
# one small problem.

# %%
import sys

if "google.colab" in sys.modules:
    # %pip install -q "arsg_optax @ git+https://github.com/arsg-optax/arsg_optax"
    pass

# %%
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

from arsg_optax import (
    Box,
    arsg,
    declare_elementwise,
    eval_params,
    metrics,
    observe_remotely,
    project,
    remote_chain,
    remote_observation,
    scale_by_adam_rms,
    scale_by_learning_rate,
    scale_by_nonincreasing_rms,
    scale_by_rectified_rms,
    scale_by_resilience,
    track_oscillation,
)

# %% [markdown]
# ## The problem
#
# Logistic regression on scikit-learn's 1,797 digits, from weights of zero, with small
# batches. A constant pixel stands for the bias, so that the parameters are one array.
# The problem is convex, and the seeds differ in the order of the batches only:
# runs end close together and small differences show.

# %%
BATCH, EPOCHS, SEEDS = 16, 10, 16
rng = np.random.default_rng(0)
digits = load_digits()
rows = rng.permutation(len(digits.target))
pixels = jnp.asarray(digits.data[rows] / 16, jnp.float32)
images = jnp.pad(pixels, ((0, 0), (0, 1)), constant_values=1.0)
labels = jnp.asarray(digits.target[rows], jnp.int32)
held_out = len(labels) // 5
test, train = (
    (images[:held_out], labels[:held_out]),
    (images[held_out:], labels[held_out:]),
)
STEPS = len(train[1]) // BATCH

# Rows of every batch, of shape (SEEDS, EPOCHS, STEPS, BATCH).
orders = np.tile(np.arange(len(train[1]), dtype=np.int32), (SEEDS, EPOCHS, 1))
orders = rng.permuted(orders, axis=-1)[..., : STEPS * BATCH]
orders = jnp.asarray(orders.reshape(SEEDS, EPOCHS, STEPS, BATCH))
start = jnp.zeros((65, 10))


def loss(params, batch):
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(x @ params, y).mean()


# %% [markdown]
# A run is two nested scans, over epochs and batches, all seeds at once under `vmap`.
# The loop ends at the observation point $y$ and hands it to `eval_params`, which
# returns the iterate $x$. After each epoch it notes what `metrics` reads from the
# optimizer's state.


# %%
class Run(NamedTuple):
    """What a run leaves; each array has a leading axis of seeds."""

    y: jax.Array  # (SEEDS, 65, 10)
    x: jax.Array
    state: optax.OptState
    history: dict[str, jax.Array]  # (SEEDS, EPOCHS)


def trained(optimizer, evaluate=eval_params):
    def step(carry, rows):
        params, state = carry
        gradients = jax.grad(loss)(params, jax.tree.map(lambda a: a[rows], train))
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    def epoch(carry, orders):
        carry, _ = jax.lax.scan(step, carry, orders)
        return carry, metrics(carry[1])

    def run(orders):
        carry = start, optimizer.init(start)
        (y, state), history = jax.lax.scan(epoch, carry, orders)
        return Run(y, evaluate(state, y), state, history)

    return jax.jit(jax.vmap(run))(orders)


@jax.jit
@jax.vmap
def whole_losses(params):
    return {"train": loss(params, train), "test": loss(params, test)}


# %% [markdown]
# ## ARSG is one call
#
# `remote_chain` averages the gradient, observes remotely, and makes a step of the
# learning rate. In between come the links, here `scale_by_nonincreasing_rms`, which
# divides. The state keeps what `eval_params` needs:
#
# $$x = y + \eta\,\alpha\,m / \sqrt{\hat v}, \qquad \eta = \mu\beta / (1-\beta)$$
#
# with the momentum's decay $\beta$, the observation factor $\mu$ = 0.1 and the learning
# rate $\alpha$. A decay of 0.99 suits these 890 steps; the default of 0.999 averages a
# thousand gradients.

# %%
RATE, B1 = 0.05, 0.99
runs = {}


def stepped(*links, **options):
    """The links between the momentum and a step of constant rate."""
    return remote_chain(*links, learning_rate=RATE, **{"b1": B1, **options})


runs["arsg"] = trained(arsg(RATE, b1=B1))
by_hand = trained(stepped(scale_by_nonincreasing_rms()))

pairs = zip(jax.tree.leaves(runs["arsg"]), jax.tree.leaves(by_hand), strict=True)
same = [bool((a == b).all()) for a, b in pairs]
print(f"{sum(same)} of {len(same)} arrays are equal, bit for bit")
assert all(same)

# %% [markdown]
# ## Why not `optax.chain`
#
# `remote_observation` and `scale_by_learning_rate` are the parts of `remote_chain` as
# single transforms, and `optax.chain` takes them. But there a link sees only what the
# link before it returns: the preconditioner squares the direction, most of which is
# momentum. `remote_chain` also passes the gradient, as the extra argument
# `raw_gradient`. The second moments of the two show the difference.
#
# And nothing records what the steps of the plain chain were. It trains, but
# `eval_params` refuses, and prints the call to write; so this one is evaluated at $y$.

# %%
plain_chain = optax.chain(
    remote_observation(b1=B1),
    scale_by_nonincreasing_rms(),
    scale_by_learning_rate(RATE),
)
try:
    eval_params(plain_chain.init(start), start)
    raise AssertionError
except ValueError as error:
    message = str(error)
print(message)
assert "remote_chain(scale_by_nonincreasing_rms(...)" in message

runs["optax.chain"] = trained(plain_chain, evaluate=lambda state, y: y)


def median_root(run):
    return jnp.median(jnp.sqrt(optax.tree.get(run.state, "nu_max")))


of_gradient, of_direction = map(median_root, (runs["arsg"], runs["optax.chain"]))
print(f"median divisor: gradient {of_gradient:.4f}, direction {of_direction:.4f}")
assert of_direction < of_gradient / 4

# %% [markdown]
# Divided by less, it takes larger steps: another algorithm, at another step size.
#
# ## Another preconditioner
#
# `scale_by_adam_rms`, `scale_by_rectified_rms` (RAdam's) and `scale_by_softplus_rms`
# (SAdam's) fit the same place; `arsg(preconditioner=...)` is short for it. With Adam's,
# the authors also correct the momentum for its start at zero, `debias=True`. Without
# observation this is Adam itself. (Optax's own preconditioners are refused: they would
# square the momentum.)

# %%
runs["Adam's rms"] = trained(stepped(scale_by_adam_rms(), debias=True))
runs["rectified rms"] = trained(stepped(scale_by_rectified_rms(), debias=True))

runs["optax.adam"] = trained(optax.adam(RATE))
adam = trained(stepped(scale_by_adam_rms(), b1=0.9, observation=0.0, debias=True))

deviation = jnp.abs(adam.y - runs["optax.adam"].y).max()
largest = jnp.abs(adam.y).max()
print(f"this Adam deviates by {deviation / largest:.1e} of the largest weight")
assert deviation < 1e-3 * largest

# %% [markdown]
# ## A further link: resilience
#
# AdaRem's factors, between 0 and 2, lengthen a step where gradient and momentum agree
# and shorten it where they do not. The link also takes them from the raw gradient. No
# paper has this mixture. The factors are in no state: the iterate is defined without.
# (With `exact=True` it includes them, and the state holds one more array.)

# %%
runs["resilience"] = trained(
    stepped(scale_by_nonincreasing_rms(), scale_by_resilience())
)

# %% [markdown]
# ## Clipping, decay, schedules, and what the state records
#
# - Clip in front, so that the moments see what the direction sees. Behind the optimizer
#   a clip would rescale its steps, and `eval_params` would refuse.
# - Decoupled decay is an argument. (L2 decay goes in front.)
# - `learning_rate`, `b1`, `observation` and the other hyper-parameters that change in
#   the papers take an Optax schedule. Where one moves, `exact=True` keeps the iterate
#   right; [the next notebook](observation_point.ipynb) shows the difference.
# - `track_oscillation` comes last, where the updates are what the parameters move by.
#   It changes nothing, and measures AdaRem's $Q$: the path that a parameter travels,
#   divided by its displacement, here within an epoch. 1 is a straight way.
#
# The table shows medians over the seeds. In every epoch parameters travel five to
# twenty times as far as they get.

# %%
CLIP = 0.25
runs["full recipe"] = trained(
    optax.chain(
        optax.clip_by_global_norm(CLIP),
        remote_chain(
            scale_by_nonincreasing_rms(),
            learning_rate=optax.cosine_decay_schedule(2 * RATE, EPOCHS * STEPS),
            b1=B1,
            observation=optax.linear_schedule(0.05, 0.2, 2 * STEPS),
            exact=True,
            weight_decay=1e-3,
        ),
        track_oscillation(window=STEPS),
    )
)

norm = optax.tree.norm(jax.grad(loss)(start, train))
print(f"norm of the first gradient {norm:.2f}, clipped at {CLIP}")
assert norm > CLIP

history = jax.tree.map(lambda a: np.median(a, axis=0), runs["full recipe"].history)
names = ("learning_rate", "observation", "distance", "oscillation")
print("epoch", *(f"{name:>14}" for name in names))
for i in range(EPOCHS):
    print(f"{i + 1:5}", *(f"{history[name][i]:14.4f}" for name in names))
assert np.all((history["oscillation"] > 5) & (history["oscillation"] < 20))

# %% [markdown]
# At the end the learning rate is almost 0, and with it the distance between the iterate
# and the observation point. Under a constant rate the two stay apart.


# %%
def gap(run):
    """Largest distance between x and y in any weight of any seed."""
    return jnp.abs(run.x - run.y).max()


scheduled, constant = gap(runs["full recipe"]), gap(runs["arsg"])
print(f"largest distance: cosine schedule {scheduled:.1e}, constant {constant:.1e}")
assert scheduled < 1e-4 < 1e-2 < constant


# %% [markdown]
# ## Around any optimizer
#
# `observe_remotely` takes the gradients ahead of any Optax optimizer's iterate, here
# three updates of Adam ahead. It stores the last update, so that `eval_params` returns
# Adam's own parameters.

# %%
runs["adam, remotely"] = trained(observe_remotely(optax.adam(RATE), distance=3.0))

# %% [markdown]
# `project` keeps the parameters in a set, in the norm of the preconditioner inside. The
# iterate is mapped onto the same set. In a `Box` this is exact.

# %%
BOUND = 2.0
runs["in a box"] = trained(project(arsg(RATE, b1=B1), Box(-BOUND, BOUND)))

free, boxed = runs["arsg"], runs["in a box"]
for name, weights in (("free", free.y), ("box, y", boxed.y), ("box, x", boxed.x)):
    size = jnp.abs(weights)
    print(f"{name:6} largest {size.max():.2f}, at bound {(size == BOUND).mean():.1%}")
assert jnp.abs(free.y).max() > 2 * BOUND
assert jnp.abs(boxed.y).max() <= BOUND and jnp.abs(boxed.x).max() <= BOUND

# %% [markdown]
# ## A link of your own
#
# A link that wants the gradient takes `raw_gradient` as a keyword, and ignores the
# extra arguments it does not know. This one is the mask of
# [cautious optimizers](https://arxiv.org/abs/2411.16085): an element moves only where
# its update has the gradient's sign, and the others take longer steps instead, so that
# the factors of an array average to 1. Its state records the share that moved.


# %%
class CautionState(NamedTuple):
    moved: jax.Array  # () float32, share of the elements that the last update moved.


def scale_by_caution():
    def init_fn(params):
        del params
        return CautionState(moved=jnp.zeros([], jnp.float32))

    def update_fn(updates, state, params=None, *, raw_gradient=None, **extra_args):
        del state, params, extra_args
        agrees = jax.tree.map(
            lambda u, g: (u * g > 0).astype(u.dtype), updates, raw_gradient
        )
        # The bound only keeps an array without any agreement from 0 / 0.
        scaled = jax.tree.map(
            lambda u, a: u * a / jnp.maximum(a.mean(), 1e-3), updates, agrees
        )
        share = optax.tree.sum(agrees) / optax.tree.size(agrees)
        return scaled, CautionState(moved=share)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


# %% [markdown]
# `remote_chain` does not recognise this state. The link may hide a preconditioner, and
# then the iterate would be wrong, so it refuses:

# %%
rms = scale_by_nonincreasing_rms()
try:
    stepped(rms, scale_by_caution()).init(start)
    raise AssertionError
except ValueError as error:
    message = str(error)
print(message)
assert "CautionState" in message and "declare_elementwise" in message

# %% [markdown]
# It says what to do. These factors average to 1, so the iterate may be defined without
# them, as it is for resilience: `declare_elementwise`. (The state of a true
# preconditioner has a method `denominator()` instead, which returns its divisors.)

# %%
runs["own link"] = trained(stepped(rms, declare_elementwise(scale_by_caution())))

share = optax.tree.get(runs["own link"].state, "moved")
print(f"the last update moved {share.mean():.0%} of the weights")
assert jnp.all((share > 0.2) & (share < 1))

# %% [markdown]
# ## All of them
#
# One step size for all, none of them searched: this shows that the compositions train,
# and what a link changes. It is no ranking. Dots are the losses over the whole sets at
# the end, means of 16 seeds with their standard deviation.

# %%
losses = {
    name: {point: whole_losses(getattr(run, point)) for point in ("y", "x")}
    for name, run in runs.items()
}

figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True, layout="constrained")
for panel, split in zip(panels, ("train", "test"), strict=True):
    for point, shift, color in (("y", -0.15, "C0"), ("x", 0.15, "C1")):
        ends = np.stack([losses[name][point][split] for name in runs])
        panel.errorbar(
            ends.mean(1),
            np.arange(len(runs)) + shift,
            xerr=ends.std(1, ddof=1),
            fmt="o",
            markersize=4,
            color=color,
            label=f"at {point}",
        )
    panel.set(xlabel="cross entropy [nats]", title=f"{split} loss")
    panel.grid(axis="y", alpha=0.3)
panels[0].set_yticks(range(len(runs)), list(runs))
panels[0].invert_yaxis()
panels[1].legend(loc="lower right")
plt.show()


# %% [markdown]
# - The iterate is the less noisy point: in each of the seven runs with an iterate and a
#   constant rate the training loss scatters less over the seeds at $x$ than at $y$. The
#   digits are learned almost without error, so little noise is left at the end and the
#   means are close.
# - Adam's second moment, resilience and caution each lower the training loss of `arsg`.
#   On the test set caution changes nothing that sixteen seeds could tell.
# - Without the raw gradient the training loss is the lowest and the test loss the
#   highest of all: its steps are several times as large.
# - The full recipe, which starts at twice the step size, has the lowest test loss.
# - Observed remotely, Adam ends lower on both sets.


# %%
def standard_errors_below(lower, higher):
    """By how many standard errors the mean of paired losses is lower."""
    gain = np.asarray(higher - lower)
    return gain.mean() / (gain.std(ddof=1) / SEEDS**0.5)


def at_x(split, name):
    return losses[name]["x"][split]


def gains(new, old):
    return [
        standard_errors_below(at_x(s, new), at_x(s, old)) for s in ("train", "test")
    ]


without = ("optax.adam", "optax.chain", "full recipe")
observed = [name for name in runs if name not in without]
assert len(observed) == 7
for name in observed:
    y, x = (losses[name][point]["train"] for point in ("y", "x"))
    print(f"{name:14} scatter at x over that at y {x.std() / y.std():.2f}")
    assert x.std() < 0.95 * y.std()

for new, old in (
    ("Adam's rms", "arsg"),
    ("resilience", "arsg"),
    ("own link", "arsg"),
    ("adam, remotely", "optax.adam"),
):
    on_train, on_test = gains(new, old)
    print(
        f"{new} below {old}: train {on_train:.1f}, test {on_test:.1f} standard errors"
    )
    assert on_train > 5
    assert on_test < 2 if new == "own link" else on_test > 2

others = set(runs) - {"optax.chain"}
assert all(gains("optax.chain", name)[0] > 5 for name in others)
assert all(gains(name, "optax.chain")[1] > 2 for name in others)
assert all(gains("full recipe", name)[1] > 2 for name in set(runs) - {"full recipe"})
