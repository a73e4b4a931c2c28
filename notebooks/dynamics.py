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
# # Dynamics: what a setting of RSG does to each curvature
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/dynamics.ipynb)
#
# Before you train anything, theory already says how RSG treats a given curvature of the
# loss: how fast an error there shrinks, how much gradient noise stays in it, and where
# the method diverges. `arsg_optax.dynamics` holds the formulas. This notebook reads
# them, checks them against the optimizer itself, and uses them to choose values.

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

import arsg_optax
from arsg_optax import dynamics, hyperparams

# %% [markdown]
# ## One curvature, two numbers, one matrix
#
# Close to a minimum the loss is a quadratic, and along each eigenvector of its Hessian
# the optimizer runs on its own. Let $\lambda$ be the curvature there, $\alpha$ the
# learning rate and $\tau = \alpha\lambda$. RSG's state is the scaled momentum $v$ and
# the deviation $s$ of the held parameters from the minimum, and a step is
#
# $$
# \begin{pmatrix} v \\ s \end{pmatrix} \leftarrow
# A \begin{pmatrix} v \\ s \end{pmatrix} + \tau\delta\, b,
# $$
#
# where $\delta$ is the error of the gradient divided by $\lambda$. The matrix $A$
# depends on $\tau$, `b1` and `observation` only. From it follow
#
# - the **gain factor**, its largest eigenvalue: what a step leaves of an error in the
#   long run (`gain_factor`);
# - the **noise that stays**, the variance of $s$ over that of $\delta$ after many steps
#   (`variance_limit`);
# - the **convergence bound**, the $\tau$ at which the gain reaches 1
#   (`convergence_bound`), and the **fastest** $\tau$ (`fastest_tau`).
#
# Here they are for the default momentum and a learning rate of 0.1.

# %%
ALPHA, B1, MU = 0.1, 0.999, 0.1

bound = dynamics.convergence_bound(B1, MU) / ALPHA
fastest = dynamics.fastest_tau(B1, MU) / ALPHA
print(f"converges for curvatures from 0 to {bound:.4g}, fastest at {fastest:.3g}\n")

curvature = jnp.array([0.01, 0.1, 1.0, fastest, 10.0, 100.0, 300.0])
gain = dynamics.gain_factor(ALPHA * curvature, B1, MU)
noise = dynamics.variance_limit(ALPHA * curvature, B1, MU)


def steps_to_a_tenth(gain):
    """Steps in which an error shrinks to a tenth; infinite where it does not."""
    return jnp.where(gain < 1, jnp.log(0.1) / jnp.log(gain), jnp.inf)


print("curvature     tau   gain factor   steps to a tenth   noise that stays")
for row in zip(
    curvature, ALPHA * curvature, gain, steps_to_a_tenth(gain), noise, strict=True
):
    print("{:9.3g} {:7.3g} {:13.5f} {:18.0f} {:18.3g}".format(*map(float, row)))

edge = ALPHA * bound * jnp.array([0.999, 1.001])
assert dynamics.gain_factor(edge[0], B1, MU) < 1 < dynamics.gain_factor(edge[1], B1, MU)
# It has a kink there, at which rounding shows.
assert abs(dynamics.gain_factor(ALPHA * fastest, B1, MU) / gain.min() - 1) < 1e-5

# %% [markdown]
# `arsg dynamics --html` writes these curves as one page with a slider for each value;
# it works offline. Without `--html` the command prints a table for your values and
# draws the papers' figures.
#
# ## What each value does
#
# Each column changes one value and leaves the others as above. A curve ends at its
# convergence bound; the dot is the fastest curvature. The upper row counts the steps
# after which a tenth of an error is left.


# %%
def steps(tau, b1, mu):
    return steps_to_a_tenth(dynamics.gain_factor(tau, b1, mu))


across = np.geomspace(1e-3, 3e3, 600)
columns = {
    "learning rate": [(0.01, B1, MU), (0.1, B1, MU), (1.0, B1, MU)],
    "b1": [(ALPHA, 0.9, MU), (ALPHA, 0.99, MU), (ALPHA, 0.999, MU)],
    "observation": [(ALPHA, B1, 0.001), (ALPHA, B1, 0.05), (ALPHA, B1, 0.4)],
}
figure, panels = plt.subplots(
    2, 3, figsize=(9, 5), sharex=True, sharey="row", layout="constrained"
)
for place, (name, settings) in enumerate(columns.items()):
    for setting, color in zip(settings, ("#0072B2", "#E69F00", "#666666"), strict=True):
        alpha, b1, mu = setting
        tau = alpha * across[alpha * across < dynamics.convergence_bound(b1, mu)]
        best = dynamics.fastest_tau(b1, mu)
        for row, curve in enumerate((steps, dynamics.variance_limit)):
            panel = panels[row, place]
            label = f"{setting[place]:g}"
            panel.loglog(tau / alpha, curve(tau, b1, mu), color=color, label=label)
            if best / alpha < across[-1]:
                panel.plot(best / alpha, curve(best, b1, mu), "o", color=color)
            panel.grid(linewidth=0.4, alpha=0.6)
    panels[0, place].legend(title=name, fontsize="small", title_fontsize="small")
    panels[1, place].set_xlabel("curvature [loss / parameter²]")
panels[0, 0].set(ylabel="steps to a tenth", ylim=(0.5, 1e5))
panels[1, 0].set(ylabel="Var(error) / Var(noise)", ylim=(1e-5, 1e2))
plt.show()

# %% [markdown]
# - The **learning rate** shifts the curves sideways and changes nothing else: only
#   $\tau$ counts.
# - A **larger `b1`** slows the large curvatures down and lets less of their noise
#   through.
# - A **larger `observation`** moves the fastest curvature to the left and the
#   convergence bound with it. Where it is tiny, the whole flat stretch takes the
#   $2\ln 10/(1-b_1)$ steps of an undamped oscillation.

# %%
b1 = jnp.array([0.9, 0.99, 0.999])
mu = jnp.array([0.001, 0.05, 0.4])
at_ten = ALPHA * 10.0
assert jnp.all(jnp.diff(steps(at_ten, b1, MU)) > 0)
assert jnp.all(jnp.diff(dynamics.variance_limit(at_ten, b1, MU)) < 0)
assert jnp.all(jnp.diff(dynamics.fastest_tau(B1, mu)) < 0)
assert jnp.all(jnp.diff(dynamics.convergence_bound(B1, mu)) < 0)
undamped = 2 * np.log(10) / (1 - B1)
print(f"undamped {undamped:.0f} steps, found {steps(0.05, B1, 0.001):.0f}")
assert abs(steps(0.05, B1, 0.001) / undamped - 1) < 0.05

# %% [markdown]
# ## The formulas against the optimizer
#
# `dynamics.simulate` runs the linear system; here the optimizer itself runs, `rsg` in
# one compiled `lax.scan`. The parameters are a table, one row for each of seven
# curvatures, one column for each of 256 independent runs with their own noise. Noise
# first: after the start has died away, the mean square over runs and steps must be
# `variance_limit`.

# %%
tau = jnp.array([0.03, 0.1, 0.3, 1.0, 4.0, 12.0, 18.0])[:, None]
RUNS, STEPS, SKIPPED = 256, 6000, 2000


def train(optimizer, start, noise, steps):
    """Deviations y after each step: shape (steps, *start.shape)."""

    def step(carry, key):
        y, state = carry
        error = noise * jax.random.normal(key, y.shape)
        # With a learning rate of 1 the curvature is tau.
        updates, state = optimizer.update(tau * (y + error), state, y)
        y = optax.apply_updates(y, updates)
        return (y, state), y

    keys = jax.random.split(jax.random.key(0), steps)
    run = jax.jit(lambda y: jax.lax.scan(step, (y, optimizer.init(y)), keys)[1])
    return run(start)


optimizer = arsg_optax.rsg(learning_rate=1.0, b1=B1, observation=MU)
noisy = train(optimizer, jnp.zeros((len(tau), RUNS)), 1.0, STEPS)
measured = jnp.mean(noisy[SKIPPED:] ** 2, axis=(0, 2))
expected = dynamics.variance_limit(tau[:, 0], B1, MU)
for t, found, theory in zip(tau[:, 0], measured, expected, strict=True):
    print(f"tau {t:5.2f}: variance {found:.4f}, theory {theory:.4f}")
assert jnp.all(jnp.abs(measured / expected - 1) < 0.02)

# %% [markdown]
# Without noise the error must shrink by the gain factor. Oscillations hide it in single
# steps, so we fit a line through the logarithm of the state's length over many. We make
# the same run once more with `simulate`, which also returns the momentum, and so see
# that `rsg` is this linear system.

# %%
FIT = slice(1000, 4000)
path = dynamics.simulate(tau[:, 0], B1, MU, steps=FIT.stop)
exact = train(optimizer, jnp.ones((len(tau), 1)), 0.0, FIT.stop)
difference = jnp.max(jnp.abs(exact[:, :, 0] - path.deviation[1:]))
print(f"largest difference of rsg and simulate: {difference:.1e}")
assert difference < 5e-5

length = jnp.log(jnp.hypot(path.momentum, path.deviation))[FIT]
fitted = np.exp(np.polyfit(np.arange(FIT.start, FIT.stop), length, 1)[0])
gain = dynamics.gain_factor(tau[:, 0], B1, MU)
for t, found, theory in zip(tau[:, 0], fitted, gain, strict=True):
    print(f"tau {t:5.2f}: gain {found:.5f}, theory {theory:.5f}")
assert np.all(np.abs(fitted - gain) < 2e-4)

# %% [markdown]
# ## Choosing values
#
# ### When the observation changes
#
# A larger observation needs shorter steps. `boost_ratio` is what the learning rate is
# multiplied by when the observation factor doubles, so that the fastest curvature stays
# where it was; less noise stays there. ARSGB does this once the loss is flat.

# %%
ratio = dynamics.boost_ratio(B1, 0.05)
before = dynamics.fastest_tau(B1, 0.05) / ALPHA
after = dynamics.fastest_tau(B1, 0.1) / (ALPHA * ratio)
print(f"boost ratio {ratio:.4f}; fastest curvature {before:.3f}, then {after:.3f}")
assert abs(ratio - 0.2483) < 1e-4
assert abs(after / before - 1) < 1e-5

noise_before = dynamics.variance_limit(ALPHA * before, B1, 0.05)
noise_after = dynamics.variance_limit(ALPHA * ratio * before, B1, 0.1)
print(f"noise that stays there: {noise_before:.4f}, then {noise_after:.4f}")
assert noise_after < noise_before

# %% [markdown]
# ### When the curvatures are known
#
# `optimal_hyperparams` solves for the learning rate and `b1` whose slowest curvature
# in a given range is as fast as possible. With exact gradients the best observation is
# none: heavy ball, in Polyak's classical values. These lie close to the convergence
# bound, where noise at the largest curvature is amplified ten thousand times. An
# observation factor of 0.1 takes about twice the steps and cuts that by more than a
# hundred.

# %%
LOW, HIGH = 1e-3, 1.0
inside = jnp.geomspace(LOW, HIGH, 300)
print("observation   learning rate       b1   steps to a tenth   noise at the top")
noises, lengths = [], []
for mu in (0.0, 0.01, 0.05, 0.1, 0.2):
    best = dynamics.optimal_hyperparams(LOW, HIGH, observation=mu)
    alpha, b1 = best.learning_rate, best.b1
    noises.append(dynamics.variance_limit(alpha * HIGH, b1, mu))
    lengths.append(steps_to_a_tenth(best.gain))
    print(f"{mu:11g} {alpha:15.4g} {b1:8.4f} {lengths[-1]:18.0f} {noises[-1]:18.3g}")
    # Where two eigenvalues meet, rounding b1 shows in the gain.
    worst = jnp.max(dynamics.gain_factor(alpha * inside, b1, mu))
    assert abs(worst - best.gain) < 1e-3

polyak = dynamics.optimal_hyperparams(LOW, HIGH, observation=0.0)
root = (HIGH / LOW) ** 0.5
assert abs(polyak.b1 - ((root - 1) / (root + 1)) ** 2) < 1e-5
assert noises[0] > 1e4 and noises[0] > 100 * noises[3]
assert 2 < lengths[3] / lengths[0] < 2.5

# %% [markdown]
# ### When you know the values of another method
#
# Heavy ball, Nesterov's momentum and QHM are RSG with other numbers, and
# `hyperparams` converts. We run the first two as `optax.sgd` and QHM as printed in its
# paper, each beside the converted `rsg`, on noisy gradients of a function that is no
# quadratic.


# %%
def rosenbrock(y):
    return jnp.sum(100 * (y[1:] - y[:-1] ** 2) ** 2 + (1 - y[:-1]) ** 2)


def path_of(optimizer):
    """Parameters after each of 500 steps."""

    def step(carry, key):
        y, state = carry
        gradient = jax.grad(rosenbrock)(y) + jax.random.normal(key, y.shape)
        updates, state = optimizer.update(gradient, state, y)
        y = optax.apply_updates(y, updates)
        return (y, state), y

    start = jnp.array([-1.0, 1.0, 0.5, 0.0])
    keys = jax.random.split(jax.random.key(1), 500)
    return jax.jit(
        lambda: jax.lax.scan(step, (start, optimizer.init(start)), keys)[1]
    )()


def qhm(learning_rate, nu, b1):
    """Ma & Yarats 2019: a step along a mean of gradient and average."""

    def update(gradient, g, params=None):
        g = b1 * g + (1 - b1) * gradient
        return -learning_rate * ((1 - nu) * gradient + nu * g), g

    return optax.GradientTransformation(jnp.zeros_like, update)


RATE, MOMENTUM = 1e-4, 0.9
pairs = {
    "heavy ball": (
        optax.sgd(RATE, momentum=MOMENTUM),
        hyperparams.from_heavy_ball(RATE, MOMENTUM),
    ),
    "Nesterov": (
        optax.sgd(RATE, momentum=MOMENTUM, nesterov=True),
        hyperparams.from_nesterov(RATE, MOMENTUM),
    ),
    "QHM": (qhm(1e-3, 0.7, 0.99), hyperparams.from_qhm(1e-3, 0.7, 0.99)),
}
for name, (source, converted) in pairs.items():
    rsg = arsg_optax.rsg(**converted._asdict())
    theirs, ours = path_of(source), path_of(rsg)
    difference = jnp.max(jnp.abs(theirs - ours))
    values = ", ".join(f"{value:.3g}" for value in converted[:3])
    print(f"{name}: rsg({values}), largest difference {difference:.1e}")
    assert difference < 1e-5
    assert jnp.max(jnp.abs(theirs - theirs[0])) > 0.1

# %% [markdown]
# So every curve above holds for these methods too. What an observation far ahead
# means for the two points that RSG has is in
# [the next notebook](observation_point.ipynb).
