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
# # One momentum, many names
#
# [![Open in Colab](images/open-in-colab.svg)](https://colab.research.google.com/github/arsg-optax/arsg_optax/blob/main/notebooks/one_momentum.ipynb)
#
# Most momentum methods that people train with today take the same step. They average
# gradients, and they mix that average with the newest gradient:
#
# $$
# m \leftarrow \beta\, m + (1-\beta)\, g, \qquad
# y \leftarrow y - \alpha\,\bigl((1-\mu)\, m + \mu\, g\bigr).
# $$
#
# This is RSG, with the learning rate $\alpha$, the momentum decay $\beta$ (`b1`) and
# the observation factor $\mu$. The methods differ in the values, and in what they do to
# the direction afterwards. This notebook has the map between them, runs each method
# beside RSG, and shows what the values do to each curvature of the loss.

# %%
import sys

if "google.colab" in sys.modules:
    # %pip install -q "arsg_optax @ git+https://github.com/arsg-optax/arsg_optax"
    pass

# %%
import io

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Image
from PIL import Image as Pillow

import arsg_optax
from arsg_optax import dynamics, hyperparams
from arsg_optax.dynamics import plot

jax.config.update("jax_enable_x64", True)  # to tell rounding from a difference

# %% [markdown]
# ## The map
#
# $t$ is the number of updates so far, and the other symbols are those of each source,
# with $p$ for a momentum and $\gamma$ or $\eta$ for a learning rate. The rows marked *
# divide the direction by Adam's rms. Lion takes the sign of the direction and Muon
# orthogonalizes it, so that its length doesn't matter. Schedule-free is RSG's exact
# form, which keeps the iterate apart.
#
# | method | $\beta$ | $\mu$ | $\alpha$ |
# |---|---|---|---|
# | heavy ball | $p$ | 0 | $\gamma/(1-p)$ |
# | Nesterov | $p$ | $1-p$ | $\gamma/(1-p)$ |
# | [GPA] | $\mu_x$ | $1-\mu_y$ | $\gamma$ |
# | [schedule-free], $t\ge1$ | $1-2/(t+1)$ | distance $(1-\beta_1)\,t$ | $\gamma/2$ |
# | [ADana] * | $(t+1)/(t+1+\delta)$ | $1/(1+(t+2)^{1-\kappa})$ | $\gamma/\mu$ |
# | [DANA] | $t/(t+1+\delta)$ | $\gamma_2/\alpha$ | $\gamma_2+\gamma_3/(1-\beta)$ |
# | [AdEMAMix], one average * | $\beta_3$ | $1/(1+a)$ | $\gamma(1+a)$ |
# | [Simplified AdEMAMix] * | $\beta$ | $a\gamma/\alpha$ | $\gamma(a+1/(1-\beta))$ |
# | [MARS]-approx, unclipped | $\beta$ | $\gamma$ | $\eta$ |
# | [Lion] | $\beta_2$ | $1-\beta_1/\beta_2$ | |
# | [Muon] | $p$ | $1-p$ | |
# | [DiLoCo], one inner step | $p$ | $1-p$ | inner · outer$/(1-p)$ |
# | [EMA-Nesterov] | $\gamma+(1-\gamma)\beta$ | $1-\beta$ | $\eta/(1-\beta)$ |
# | [MaSS] | $\gamma$ | $\eta_1/\alpha$ | $(\eta_1-\eta_2)/(1-\gamma)$ |
#
# [GPA]: https://arxiv.org/abs/2512.17131
# [schedule-free]: https://arxiv.org/abs/2405.15682
# [ADana]: https://arxiv.org/abs/2602.05298
# [DANA]: https://arxiv.org/abs/2505.16098
# [AdEMAMix]: https://arxiv.org/abs/2409.03137
# [Simplified AdEMAMix]: https://arxiv.org/abs/2502.02431
# [MARS]: https://arxiv.org/abs/2411.10438
# [Lion]: https://arxiv.org/abs/2302.06675
# [Muon]: https://kellerjordan.github.io/posts/muon/
# [DiLoCo]: https://arxiv.org/abs/2311.08105
# [EMA-Nesterov]: https://arxiv.org/abs/2605.25395
# [MaSS]: https://arxiv.org/abs/1810.13395
#
# Each row is a function of `arsg_optax.hyperparams`, and
# `arsg_optax.rsg(**params._asdict())` is the method, or its direction where something
# follows. Here are the published settings as numbers, early and late in a run. The
# distance says how many momentum steps ahead of the iterate gradients are taken.

# %%
published = {
    "GPA (0.9967, 0.7)": hyperparams.from_gpa(1.0),
    "schedule-free (0.9)": hyperparams.from_schedule_free(1.0, 0.9),
    "ADana (8, 0.85)": hyperparams.from_adana(1.0),
    "AdEMAMix (0.9999, 8)": hyperparams.from_ademamix_without_fast(1.0),
    "MARS (0.95, 0.025)": hyperparams.from_mars_approx(1.0),
    "Lion (0.9, 0.99)": hyperparams.from_lion(),
    "Muon (0.95)": hyperparams.from_muon_momentum(),
    "DiLoCo (0.9)": hyperparams.from_outer_nesterov(1.0),
}


def at(value, count):
    return float(value(count)) if callable(value) else value


print(f"{'':21}  after 100 updates              after 10,000")
print(f"{'method':21}" + 2 * "      b1  observation  distance")
for name, params in published.items():
    row = f"{name:21}"
    for count in (100, 10_000):
        b1 = at(params.b1, count)
        if params.distance is None:
            factor = at(params.observation, count)
            distance = hyperparams.distance_from_observation(factor, b1)
        else:
            distance = at(params.distance, count)
            factor = hyperparams.observation_from_distance(distance, b1)
        row += f"  {b1:.4f}  {factor:11.3f}  {distance:8.1f}"
    print(row)
    assert 0.02 < factor < 0.31

# %% [markdown]
# So the published observation factors lie between 0.025 and 0.3. Two of the newest
# methods let $\beta$ grow like $1-\delta/(t+\delta)$: the momentum is short while the
# loss falls fast, and long later. That schedule is `arsg_optax.log_time_momentum`;
# schedule-free has $\delta=2$ and ADana $\delta=8$.
#
# ## Each method beside RSG
#
# Each generator below writes a method down with the names of its source and yields the
# points at which it takes gradients. All of them descend the same small quadratic, with
# the same gradient noise at each step. The last column of the table is the largest
# difference to RSG's points, over the largest distance from the start.

# %%
STEPS = 300
curvature = np.array([1.0, 0.3, 0.05, 0.01])
start = np.array([1.0, -2.0, 3.0, -1.0])
noise = 0.3 * np.random.default_rng(0).normal(size=(STEPS, 4))


def gradient(t, y):
    return curvature * y + noise[t]


def gpa(gamma, mu_x, mu_y):
    x = z = y = start
    for t in range(STEPS):
        z = z - gamma * gradient(t, y)
        x = mu_x * x + (1 - mu_x) * z
        y = mu_y * x + (1 - mu_y) * z
        yield y


def schedule_free(gamma, beta):
    x = z = y = start
    for t in range(STEPS):
        z = z - gamma * gradient(t, y)
        c = 1 / (t + 1)
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x
        yield y


def adana(gamma, delta, kappa, eps=1e-8):
    theta, m, v = start, 0.0, 0.0
    for t in range(1, STEPS + 1):
        g = gradient(t - 1, theta)
        beta = 1 - delta / (delta + t)
        m = beta * m + (1 - beta) * g
        v = beta * v + (1 - beta) * g**2
        alpha = (1 + t) ** (1 - kappa)
        theta = theta - gamma * (g + alpha * m) / (np.sqrt(v) + eps)
        yield theta


def dana(gamma2, gamma3, delta):
    theta, s = start, 0.0
    for t in range(STEPS):
        g = gradient(t, theta)
        s = (1 - delta / (delta + t)) * s + g
        theta = theta - gamma2 * g - gamma3 * s
        yield theta


def ademamix(eta, beta3, alpha, beta2=0.99, eps=1e-8):
    theta, m2, nu = start, 0.0, 0.0
    for t in range(STEPS):
        g = gradient(t, theta)
        m2 = beta3 * m2 + (1 - beta3) * g
        nu = beta2 * nu + (1 - beta2) * g**2
        rms = np.sqrt(nu / (1 - beta2 ** (t + 1))) + eps
        theta = theta - eta * (g + alpha * m2) / rms
        yield theta


def simplified_ademamix(eta, beta, alpha, beta2=0.99, eps=1e-8):
    theta, m, nu = start, 0.0, 0.0
    for t in range(STEPS):
        g = gradient(t, theta)
        m = beta * m + g
        nu = beta2 * nu + (1 - beta2) * g**2
        rms = np.sqrt(nu / (1 - beta2 ** (t + 1))) + eps
        theta = theta - eta * (m + alpha * g) / rms
        yield theta


def mars(eta, beta, gamma):
    theta, m, last = start, 0.0, 0.0
    for t in range(STEPS):
        g = gradient(t, theta)
        c = g + gamma * beta / (1 - beta) * (g - last)
        m, last = beta * m + (1 - beta) * c, g
        theta = theta - eta * m
        yield theta


def lion(eta, beta1, beta2):
    theta, m = start, 0.0
    for t in range(STEPS):
        g = gradient(t, theta)
        theta = theta - eta * np.sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        yield theta


def muon_without_newton_schulz(eta, momentum):
    theta, m = start, 0.0
    for t in range(STEPS):
        g = gradient(t, theta)
        m = momentum * m + (1 - momentum) * g
        theta = theta - eta * (momentum * m + (1 - momentum) * g)
        yield theta


def diloco(inner, outer, momentum):
    theta, buffer = start, 0.0
    for t in range(STEPS):
        step = inner * gradient(t, theta)
        buffer = momentum * buffer + step
        theta = theta - outer * (momentum * buffer + step)
        yield theta


def ema_nesterov(alpha, beta, gamma):
    theta, m, y = start, 0.0, start
    for t in range(STEPS):
        new = y - alpha * gradient(t, y)
        m = gamma * m + (1 - gamma) * (new - theta)
        theta = new
        y = theta + beta * m
        yield y


def mass(eta1, eta2, gamma):
    w = u = start
    for t in range(STEPS):
        g = gradient(t, u)
        new = u - eta1 * g
        u, w = (1 + gamma) * new - gamma * w + eta2 * g, new
        yield u


# %%
def rms(b2=0.99, debias=True):
    return arsg_optax.scale_by_adam_rms(b2, 1e-8, debias=debias)


def lion_of(rate, params):
    return optax.chain(
        arsg_optax.remote_observation(params.b1, params.observation),
        optax.scale_by_sign(),
        optax.scale_by_learning_rate(rate),
    )


def points(optimizer):
    """Where the optimizer takes gradients, after each update: (STEPS, 4)."""

    def step(carry, error):
        y, state = carry
        updates, state = optimizer.update(curvature * y + error, state, y)
        y = optax.apply_updates(y, updates)
        return (y, state), y

    begin = jnp.asarray(start)
    run = jax.jit(lambda y: jax.lax.scan(step, (y, optimizer.init(y)), noise)[1])
    return run(begin)


def beside(name, source, params, *links, optimizer=None):
    theirs = np.stack(list(source))
    if optimizer is None:
        optimizer = arsg_optax.remote_chain(*links, **params._asdict())
    difference = np.abs(points(optimizer) - theirs).max()
    deviation = difference / np.abs(theirs - start).max()
    form = "exact" if params.exact else "concise"
    print(f"{name:24} {form:8} {deviation:.0e}")
    assert deviation < 1e-12
    assert np.abs(theirs[-1] - start).max() > 0.5


h = hyperparams
print("method                   form     deviation")
beside("GPA", gpa(0.5, 0.95, 0.7), h.from_gpa(0.5, 0.95, 0.7))
beside("schedule-free", schedule_free(0.5, 0.9), h.from_schedule_free(0.5, 0.9))
beside(
    "ADana",
    adana(0.01, 8.0, 0.85),
    h.from_adana(0.01, 8.0, 0.85),
    rms(arsg_optax.log_time_momentum(8.0), debias=False),
)
beside("DANA", dana(0.1, 0.01, 6.0), h.from_dana(0.1, 0.01, 6.0))
beside(
    "AdEMAMix, one average",
    ademamix(0.003, 0.99, 8.0),
    h.from_ademamix_without_fast(0.003, 0.99, 8.0),
    rms(),
)
beside(
    "Simplified AdEMAMix",
    simplified_ademamix(3e-4, 0.99, 20.0),
    h.from_simplified_ademamix(3e-4, 0.99, 20.0),
    rms(),
)
beside("MARS-approx", mars(0.5, 0.95, 0.025), h.from_mars_approx(0.5, 0.95, 0.025))
sign = h.from_lion(0.9, 0.99)
beside("Lion", lion(0.01, 0.9, 0.99), sign, optimizer=lion_of(0.01, sign))
beside(
    "Muon, not orthogonalized",
    muon_without_newton_schulz(0.5, 0.95),
    h.from_muon_momentum(0.95)._replace(learning_rate=0.5),
)
beside("DiLoCo, one inner step", diloco(0.1, 0.7, 0.9), h.from_outer_nesterov(0.1))
beside(
    "EMA-Nesterov", ema_nesterov(0.2, 0.6, 0.95), h.from_ema_nesterov(0.2, 0.6, 0.95)
)
beside("MaSS", mass(0.1, 0.02, 0.9), h.from_mass(0.1, 0.02, 0.9))

# %% [markdown]
# ## What they do to a spectrum of curvatures
#
# With coefficients that move, no eigenvalue says how fast an error shrinks.
# `dynamics.gain_and_noise` multiplies the matrices of the single updates instead: it
# returns which share of the start is left after each number of updates, and which
# share of the gradient noise, for a whole spectrum at once. It takes the same arguments
# as `rsg`. `plot.gain_and_noise_along_time` draws several methods; here they are at
# their iterate, with a learning rate that lets all of them but ADana move equally far
# in the long run. ADana's learning rate grows.

# %%
falling = arsg_optax.falling_observation()
log_time = arsg_optax.log_time_momentum()
family = {
    "heavy ball (0.9)": hyperparams.from_heavy_ball(0.1, 0.9),
    "schedule-free (0.9)": hyperparams.from_schedule_free(2.0, 0.9),
    "GPA (0.99, 0.7)": hyperparams.from_gpa(1.0, 0.99, 0.7),
    "ADana (8, 0.85)": hyperparams.from_adana(0.3),
    "δ = 8, μ = 0.2": hyperparams.RSGParams(1.0, log_time, 0.2),
    "δ = 8, falling μ": hyperparams.RSGParams(1.0, log_time, falling),
}
methods = {name: params._asdict() for name, params in family.items()}


def show(figure):
    """Displays a figure in 32 colours, which keeps this notebook small."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Pillow.open(drawn).convert("RGB").quantize(32).save(small, "PNG", optimize=True)
    return Image(small.getvalue())


show(plot.gain_and_noise_along_time(methods, (1e-4, 1.0), steps=2000))

# %% [markdown]
# - **At small curvatures** all agree: there the learning rate decides what is left
#   after 2,000 updates.
# - **Schedule-free** averages a third of the run, which is what $\delta=2$ means. It is
#   the quietest at large curvatures and rings longest.
# - **GPA** has a memory of fixed length, so its noise stays where it is. With log-time
#   momentum the noise of a curvature rises first and then falls.
# - **Heavy ball** evaluates where it takes gradients. The iterates of the others lie
#   behind that point, and the noise of large curvatures is twenty to two hundred times
#   smaller there.

# %%
last = np.array([2000])
noise_of, gain_of = {}, {}
for name, method in methods.items():
    found = dynamics.gain_and_noise(np.array([0.01, 1.0]), **method, counts=last)
    noise_of[name], gain_of[name] = found.iterate_noise[0], abs(found.iterate_gain[0])
assert min(noise_of, key=lambda name: noise_of[name][1]) == "schedule-free (0.9)"
assert max(gain_of, key=lambda name: gain_of[name][0]) == "schedule-free (0.9)"
ratios = [noise_of["heavy ball (0.9)"][1] / noise[1] for noise in noise_of.values()]
print("noise of heavy ball at curvature 1 over that of each:", np.round(ratios))
assert min(ratios[1:]) > 20 and max(ratios) < 200

# %% [markdown]
# ### What δ and μ do
#
# The upper row changes the memory at $\mu=0.2$, the lower row changes the observation
# at $\delta=8$, at the held parameters after 2,000 updates with a learning rate of 1.

# %%
across = np.geomspace(1e-4, 1.0, 300)
settings = {
    "δ": [(2.0, 0.2), (8.0, 0.2), (32.0, 0.2)],
    "μ": [(8.0, 0.05), (8.0, 0.2), (8.0, 0.8)],
}
left = {}
figure, panels = plt.subplots(
    2, 2, figsize=(9, 6), sharex=True, sharey="col", layout="constrained"
)
for row, (symbol, pairs) in enumerate(settings.items()):
    for (delta, mu), color in zip(
        pairs, ("#0072B2", "#E69F00", "#666666"), strict=True
    ):
        b1 = arsg_optax.log_time_momentum(delta)
        found = dynamics.gain_and_noise(across, 1.0, b1, mu, counts=last)
        label = f"{symbol} = {delta if row == 0 else mu:g}"
        left[symbol, delta if row == 0 else mu] = found
        for panel, values in zip(panels[row], found[:2], strict=True):
            panel.loglog(across, np.abs(values[0]), color=color, label=label)
            panel.grid(linewidth=0.4, alpha=0.6)
    panels[row, 0].legend(fontsize="small")
    panels[row, 0].set(ylabel="|error| / |error at the start|", ylim=(1e-6, 2))
    panels[row, 1].set(ylabel="Var(error) / Var(noise)")
for panel in panels[1]:
    panel.set_xlabel("curvature [loss / parameter²]")
plt.close(figure)
assert left["δ", 2.0].noise[0, 200] < left["δ", 32.0].noise[0, 200]
assert left["μ", 0.05].noise[0, -1] < left["μ", 0.2].noise[0, -1]
show(figure)

# %% [markdown]
# A smaller $\delta$ is a longer memory: less noise, and errors that ring longer. A
# smaller $\mu$ lets less noise of the *large* curvatures through, because the newest
# gradient weighs less, but it also damps less.
#
# ## Should the observation fall with the length of the run?
#
# `falling_observation` lets it fall like $t^{-1/4}$. Here is what theory says. Take a
# power-law problem: the $i$-th curvature is $i^{-a}$, the noise of its gradient has the
# variance $\sigma^2\lambda$, and the start is such that gradient descent without noise
# has a loss of order $t^{-p}$. With log-time momentum and a constant learning rate, the
# loss at the held parameters has three parts after $T$ updates:
#
# - The start leaves $(\alpha T)^{-p}$, whatever $\mu$ is.
# - The large curvatures pass on noise of order $\alpha\mu$.
# - Curvatures below about $\delta/(\mu\alpha T)$ are too slow for the average to quiet
#   them. They pass on noise of order $\alpha\,(\delta/(\mu\alpha T))^{1-1/a}$.
#
# The best $\mu$ balances the two noises, and the best learning rate then balances both
# with what the start leaves:
#
# $$
# \mu^\star \propto (\alpha T)^{-e} \quad\text{with}\quad e = \frac{a-1}{2a-1},
# \qquad\text{and so}\qquad \mu^\star \propto T^{-e/(p+1-e)}.
# $$
#
# For $a=2$ and $p=2/3$ that is exactly $T^{-1/4}$. Now we measure it. For each length
# of the run we take the best constant $\mu$, each at its own best learning rate, and
# compare the falling rule at its best learning rate.

# %%
lengths = np.array([300, 1000, 3000, 10_000])
spectrum = np.geomspace(1e-6, 1.0, 28)
rates = np.geomspace(0.01, 60.0, 18)
factors = np.geomspace(0.01, 0.9, 16)
logs = np.log(factors)


def run(observation, schedule=1.0, counts=lengths):
    # A learning rate is a factor of all curvatures.
    products = rates[:, None] * spectrum
    found = dynamics.gain_and_noise(
        products, schedule, log_time, observation, counts=counts
    )
    return jax.tree.map(np.asarray, found)


def losses(gain, noise, a, p, sigma):
    """The loss of each length, factor and rate: the last axis are curvatures."""
    start = spectrum**p / np.sum(spectrum**p)
    curvatures = np.log(spectrum[1] / spectrum[0]) * spectrum ** (-1 / a) / a
    loss = np.sum(start * gain**2 + sigma**2 * curvatures * noise, axis=-1)
    # Where a start grows before it shrinks, rounding is all that is left of the noise.
    return np.where(np.isfinite(loss) & (np.min(noise, axis=-1) > 0), loss, np.inf)


def best(loss):
    """The best factor for each length, refined by a parabola, and its loss."""
    found = []
    for row in np.log(loss.min(axis=-1)):
        i = row.argmin()
        if 0 < i < len(row) - 1:
            fit = np.polyfit(logs[i - 1 : i + 2], row[i - 1 : i + 2], 2)
            found.append(np.exp(-fit[1] / fit[0] / 2))
        else:
            found.append(factors[i])
    return np.array(found), loss.min(axis=(1, 2))


with np.errstate(all="ignore"):
    constant, rule = run(factors[:, None, None]), run(falling)
    print("  a    p     σ     best μ of 300 to 10,000     exponent  theory  rule/best")
    for sigma in (0.3, 0.03):
        for a, p in ((1.3, 0.6), (2.0, 0.3), (2.0, 0.6), (2.0, 1.0), (4.0, 0.6)):
            found, least = best(losses(constant.gain, constant.noise, a, p, sigma))
            other = losses(rule.gain, rule.noise, a, p, sigma).min(axis=-1)
            exponent = np.polyfit(np.log(lengths), np.log(found), 1)[0]
            e = (a - 1) / (2 * a - 1)
            theory = -e / (p + 1 - e)
            shown = "  ".join(f"{mu:.3f}" for mu in found)
            print(
                f"{a:3g} {p:4g} {sigma:5g}    {shown}   "
                f"{exponent:8.2f} {theory:7.2f} {np.max(other / least):9.2f}"
            )
            if sigma == 0.3:
                assert abs(exponent - theory) < 0.1
                assert np.all(other < 1.1 * least)

# %% [markdown]
# With noise that matters ($\sigma=0.3$) the exponents lie within 0.1 of the theory, and
# the rule, which doesn't know the length of the run, loses little to the best constant
# of each length. With little noise ($\sigma=0.03$) the best learning rate can be the
# largest that is stable. There a smaller $\mu$ buys longer steps, so that the balance
# above is not reached, and the rule loses up to a factor of three and a half.
#
# But all this depends on where and how one trains:

# %%
with np.errstate(all="ignore"):
    problem = (2.0, 0.6, 0.3)
    at_iterate, _ = best(losses(*constant[2:], *problem))
    print("at the iterate, best constant:", np.round(at_iterate, 2))
    decayed = []
    for count in (1000, 10_000):
        cosine = optax.cosine_decay_schedule(1.0, count)
        each = np.array([count])
        (mu,), (least,) = best(
            losses(*run(factors[:, None, None], cosine, each)[:2], *problem)
        )
        other = losses(*run(falling, cosine, each)[:2], *problem).min()
        print(
            f"learning rate falls by a cosine in {count:6}: best constant {mu:.2f}, "
            f"rule/best {other / least:.2f}"
        )
        decayed.append(mu)
assert np.all(at_iterate > 0.5) and np.all(np.array(decayed) > 0.5)

# %% [markdown]
# - **At the iterate** the best observation is the largest of our grid at every length:
#   the iterate doesn't see the noise that a large $\mu$ lets through.
# - **With a learning rate that decays to zero** the best observation doesn't fall with
#   the length either. The decay quiets the large curvatures, so that the best lies near
#   or at the end of our grid, next to plain gradient descent, which is $\mu=1$.
#
# So on a noisy quadratic a falling observation is right for a constant learning rate,
# the held parameters, and noise that matters. A small transformer preferred a smaller
# $\mu$ in a longer run although its learning rate fell by a cosine. This theory doesn't
# explain that: a network's curvatures and noise change while it learns.
#
# [The dynamics notebook](dynamics.ipynb) has the theory of constant values. The guide
# "Coming from other optimizers" has the calls for each method of the map.
