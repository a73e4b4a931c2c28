"""Prints the losses at both points of RSG while its learning rate moves.

    python -m scripts.report_exact_iterate

The problem is a quadratic with curvatures 10 and 1 and normal gradient noise of
standard deviation 3, from the point (1, 4), where the loss is 13. Every number is the
mean over 400 runs. `exact=False` is the concise form and `exact=True` the two-point
form; y is where gradients are taken, x is what `eval_params` returns.
"""

import jax
import jax.numpy as jnp
import optax

import arsg_optax

PEAK, STEPS, RUNS, NOISE = 0.5, 4000, 400, 3.0
CURVATURE, START = (10.0, 1.0), (1.0, 4.0)
DROP, WARMUP = 2000, 1000

# Name -> the schedule, and the updates after which the losses are printed.
SCHEDULES: dict[str, tuple[optax.Schedule, tuple[int, ...]]] = {
    "constant": (optax.constant_schedule(PEAK), (100, 1000, 4000)),
    "warm-up": (
        optax.linear_schedule(0.0, PEAK, WARMUP),
        (20, 50, 100, 200, 500, 1000, 4000),
    ),
    "cosine": (
        optax.cosine_decay_schedule(PEAK, STEPS),
        (1000, 2000, 3000, 3600, 3900, 4000),
    ),
    "drop": (
        optax.piecewise_constant_schedule(PEAK, {DROP: 0.1}),
        (DROP, DROP + 1, DROP + 10, DROP + 100, DROP + 500, STEPS),
    ),
}


def loss(point: jax.Array) -> jax.Array:
    """The loss of points of shape (..., 2)."""
    return jnp.sum(jnp.asarray(CURVATURE) * point**2, axis=-1) / 2


def mean_losses(schedule: optax.Schedule, exact: bool) -> jax.Array:
    """The mean losses at y and x after each step, shape (STEPS, 2)."""
    optimizer = arsg_optax.rsg(schedule, exact=exact)
    y = jnp.broadcast_to(jnp.asarray(START), (RUNS, 2))

    def step(carry, key):
        y, state = carry
        errors = NOISE * jax.random.normal(key, y.shape)
        gradient = jnp.asarray(CURVATURE)[None] * y + errors
        updates, state = optimizer.update(gradient, state, y)
        y = jnp.asarray(optax.apply_updates(y, updates))
        points = jnp.stack([y, jnp.asarray(arsg_optax.eval_params(state, y))])
        return (y, state), jnp.mean(loss(points), axis=1)

    keys = jax.random.split(jax.random.key(0), STEPS)
    start = y, optimizer.init(y)
    return jax.jit(lambda start: jax.lax.scan(step, start, keys)[1])(start)


def main() -> None:
    """Prints one row per schedule and update."""
    print("| schedule | after update | y, concise | x, concise | y, exact | x, exact |")
    print("|---|---|---|---|---|---|")
    for name, (schedule, updates) in SCHEDULES.items():
        concise, exact = (mean_losses(schedule, form) for form in (False, True))
        for count in updates:
            values = *concise[count - 1], *exact[count - 1]
            cells = " | ".join(f"{float(value):.4g}" for value in values)
            print(f"| {name} | {count:,} | {cells} |")


if __name__ == "__main__":
    main()
