"""Rounding to bfloat16 without bias.

An average kept in bfloat16 with round-to-nearest never moves once its steps fall
below half a unit in the last place: 0.999 m + 0.001 g rounds back to m. Rounding
up or down at random, with the probability of the distance, keeps the average
unbiased. The random bits are a hash of step, leaf and each element's position, so that
they need no key in the state and, under `jit`, do not depend on how an array is
sharded. Under `vmap` every member of a population gets the same bits.

A hash has 32 bits and a rounding uses 16, so the two moments of a chain share one:
written with the same step and leaf, it is one and the same expression to a compiler
that puts both moments into one loop.
"""

import functools
import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax._trees import per_leaf, varying_axes


class Draw(NamedTuple):
    """Which random bits a moment is rounded with."""

    salt: str  # Moments of one chain that share a salt share their hashes,
    shift: int  # and take different halves: bits from this one on, 0 or 16.


FIRST_MOMENT, SECOND_MOMENT = Draw("", 16), Draw("", 0)
RESILIENCE = Draw("resilience", 16)


def leaf_salt(path: tuple, salt: str) -> np.ndarray:
    """(2,) uint32 that tells apart the leaves of a tree; the first one is used."""
    return _salt(f"{salt}{jax.tree_util.keystr(path)}")


@functools.lru_cache(maxsize=65536)  # One constant for both moments of a leaf.
def _salt(name: str) -> np.ndarray:
    return np.array([zlib.crc32(name.encode()), 0], np.uint32)


def mix_bits(bits: jax.Array) -> jax.Array:
    """A hash, MurmurHash3's finalizer: each input bit flips half of the output bits."""
    bits = bits.astype(jnp.uint32)
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)


def random_bits(
    shape: tuple[int, ...], step: jax.Array, salt: jax.Array | np.ndarray
) -> jax.Array:
    """uint32 array: a hash of step, salt and each element's row-major position."""
    # XLA's CPU compiler compiles equal loops once, and a number of each leaf's own
    # would make all of them differ, which took a third longer to compile for
    # ResNet-50's arrays. So it is kept out of the loops, as an array, which is not put
    # in as a number is.
    bits: Any = jax.lax.optimization_barrier(jnp.asarray(salt))
    return mix_bits(_position(shape) + mix_bits(mix_bits(step) ^ bits[0]))


@functools.partial(per_leaf, static_argnums=3, inline=True)
def stochastic_round(
    x: jax.Array, step: jax.Array, salt: jax.Array | np.ndarray, shift: int
) -> jax.Array:
    """Rounds to bfloat16 so that the mean over steps and salts is x.

    The salt is that of :func:`leaf_salt`, and the shift, 0 or 16, says which half of
    the hashes decides. Infinities and NaNs stay; a finite value stays finite. The
    derivative is that of the mean, 1.

    Raises:
      ValueError: inside a `jax.shard_map`, of an array that it has split.
    """
    # Each part would count positions from 0, and get the random bits of the others.
    split = varying_axes(x)
    if split:
        raise ValueError(
            "mu_dtype and nu_dtype must not be bfloat16 for an array that shard_map "
            f"splits over {', '.join(map(repr, sorted(split)))}, got one with parts of "
            f"shape {x.shape}; keep a float32 state, or use jax.jit with shardings."
        )
    return _rounded(x, step, salt, shift)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _rounded(x, step, salt, shift):
    limit = jnp.asarray(jnp.finfo(jnp.bfloat16).max, x.dtype)
    finite = jnp.clip(x, -limit, limit).astype(jnp.float32)
    # The sixteen bits that bfloat16 drops decide by carrying into those it keeps.
    pattern = jax.lax.bitcast_convert_type(finite, jnp.uint32)
    bits = random_bits(x.shape, step, salt)
    carried = pattern + ((bits >> jnp.uint32(shift)) & jnp.uint32(0xFFFF))
    kept = carried & jnp.uint32(0xFFFF0000)
    rounded = jax.lax.bitcast_convert_type(kept, jnp.float32)
    result = jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.float32))
    return written(result.astype(jnp.bfloat16))


@_rounded.defjvp
def _straight_through(shift, primals, tangents):
    return _rounded(*primals, shift), tangents[0].astype(jnp.bfloat16)


def _position(shape: tuple[int, ...]) -> jax.Array:
    """uint32: each element's row-major position."""
    position = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = math.prod(shape[axis + 1 :]) % 2**32
        index = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        position = position + index * jnp.uint32(stride)
    return position


def written(x: jax.Array) -> jax.Array:
    """The array itself, which on a CPU is written to memory before it is read.

    There each output of an update is a loop of its own, and what several loops need
    would be computed several times. On accelerators all outputs of an array are one
    loop.
    """
    return jax.lax.platform_dependent(
        x, cpu=jax.lax.optimization_barrier, default=lambda x: x
    )
