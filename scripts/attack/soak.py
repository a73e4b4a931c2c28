"""Long runs in float32 and bfloat16 beside a twin: drift, memory, the end of counts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from scripts.attack.lab import Lab, Random, require
from tests.interop.row import Row
from tests.interop.table import TABLE

_FIRST, _MOST = 20_000, 1_000_000
_CHUNKS = 10  # Of a soak; live arrays are counted between them.
_LAST = int(np.iinfo(np.int32).max)
_SHAPES = {"w": (4, 3), "b": (3,)}
# How far the mean loss of the last half may be from the twin's, as a share of it.
ALLOWED = {"float32": 0.01, "bfloat16": 0.25}


def trial(lab: Lab, random: Random) -> str:
    """Soaks the next optimizer in the next dtype; each round ten times as long."""
    del random  # Every optimizer has its turn.
    number = lab.once("turns", lambda folder: [0])
    turn, number[0] = number[0], number[0] + 1
    # What runs the same code with other values comes last.
    rows = sorted(TABLE, key=lambda row: bool(row.like))
    rows = [row for row in rows if not row.stores_bfloat16()]
    pairs = [(row, dtype) for row in rows for dtype in ALLOWED]
    row, dtype = pairs[turn % len(pairs)]
    steps = min(_MOST, _FIRST * 10 ** (turn // len(pairs)))
    steps = lab.soak_steps or steps
    narrow, drift = soak(row, dtype, steps)
    check(f"{row.name} in {dtype}", narrow, ALLOWED[dtype])
    counted = end_of_count(row)
    lab.facts[f"{row.name}, {dtype}"] = (
        f"{steps:,} steps, loss {narrow:+.2%} of the twin's, parameters {drift:.1e} "
        f"apart; {counted} counts at 2**31 - 1"
    )
    return f"{dtype}, {steps:,} steps"


def check(name: str, difference: float, allowed: float) -> None:
    """Requires a mean loss that is finite and near the twin's."""
    require(np.isfinite(difference), f"{name}: the loss is not finite")
    require(abs(difference) <= allowed, f"{name}: the loss is {difference:+.2%} off")


def soak(row: Row, dtype: str, steps: int) -> tuple[float, float]:
    """The relative difference of the mean losses, and of the last parameters.

    float32 has a twin in float64. bfloat16, as the dtype of what is stored where the
    optimizer takes one and else of the parameters, has a twin in float32.
    """
    wide = "float64" if dtype == "float32" else "float32"
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", wide == "float64")
    try:
        loss, params = _train(row, dtype, steps)
        twin_loss, twin = _train(row, wide, steps)
    finally:
        jax.config.update("jax_enable_x64", before)
    apart = max(float(np.max(np.abs(params[k] - twin[k]))) for k in params)
    return loss / twin_loss - 1, apart


def _train(row: Row, dtype: str, steps: int) -> tuple[float, dict[str, np.ndarray]]:
    """The mean loss of the last half, and the parameters in float64."""
    optimizer, held = _made(row, dtype)
    curvature = {
        k: np.linspace(0.1, 1, int(np.prod(s))).reshape(s) for k, s in _SHAPES.items()
    }

    def step(carry: Any, key: Any) -> tuple[Any, Any]:
        params, state = carry
        # The twins' noise has the same bits: it is drawn in float32.
        noise = {
            k: jax.random.normal(jax.random.fold_in(key, len(k)), s, jnp.float32)
            for k, s in _SHAPES.items()
        }
        wide = jax.tree.map(
            lambda p: p.astype(jnp.promote_types(p.dtype, jnp.float32)), params
        )
        loss = sum(
            jnp.sum(curvature[k].astype(wide[k].dtype) * wide[k] ** 2) for k in wide
        )
        gradients = {
            k: (
                curvature[k].astype(wide[k].dtype) * wide[k]
                + wide[k].dtype.type(0.1) * noise[k].astype(wide[k].dtype)
            ).astype(params[k].dtype)
            for k in wide
        }
        updates, state = optimizer.update(
            gradients, state, params, **row.extra_args(loss)
        )
        return (optax.apply_updates(params, updates), state), loss

    @jax.jit
    def chunk(carry: Any, keys: Any) -> Any:
        carry, losses = jax.lax.scan(step, carry, keys)
        return carry, jnp.mean(losses)

    params: Any = {k: jnp.ones(s, held) for k, s in _SHAPES.items()}
    carry, losses, live = (params, optimizer.init(params)), [], []
    for number in range(_CHUNKS):
        keys = jax.random.split(jax.random.key(number), max(1, steps // _CHUNKS))
        carry, loss = chunk(carry, keys)
        losses.append(float(loss))
        live.append(len(jax.live_arrays()))
    require(len(set(live[1:])) == 1, f"{row.name}: live arrays grow: {live}")
    last = {k: np.asarray(leaf, np.float64) for k, leaf in carry[0].items()}
    return float(np.mean(losses[_CHUNKS // 2 :])), last


def _made(row: Row, dtype: str) -> tuple[Any, Any]:
    """The optimizer, and the dtype of its parameters."""
    if dtype != "bfloat16":
        return row.make(), jnp.dtype(dtype)
    for stored in ({"mu_dtype": dtype, "nu_dtype": dtype}, {"mu_dtype": dtype}):
        try:
            return row.make(**stored), jnp.float32
        except TypeError:  # It takes no such argument.
            continue
    return row.make(), jnp.bfloat16


def end_of_count(row: Row) -> int:
    """Steps over the end of int32's range; returns how many counts there are."""
    optimizer = row.make()
    params: Any = {k: jnp.ones(s) for k, s in _SHAPES.items()}

    def late(path: Any, leaf: Any) -> Any:
        counts = jnp.ndim(leaf) == 0 and jnp.asarray(leaf).dtype == jnp.int32
        counts = counts and "count" in jax.tree_util.keystr(path)
        return jnp.asarray(_LAST - 2, jnp.int32) if counts else leaf

    state = jax.tree_util.tree_map_with_path(late, optimizer.init(params))
    counts = sum(
        int(leaf) == _LAST - 2 for leaf in jax.tree.leaves(state) if jnp.ndim(leaf) == 0
    )
    update = jax.jit(optimizer.update)
    for _ in range(6):
        updates, state = update(
            params, state, params, **row.extra_args(jnp.float32(1.0))
        )
        params = optax.apply_updates(params, updates)
    for leaf in jax.tree.leaves((params, state)):
        require(
            bool(jnp.isfinite(leaf).all()),
            f"{row.name}: not finite at the end of its count",
        )
        require(
            leaf.dtype != jnp.int32 or bool((leaf >= 0).all()),
            f"{row.name}: a count turned negative",
        )
    return counts
