"""Second moments in eight bits.

A moment is a code times a scale of its block of 256 elements. The codes are steps on a
logarithmic grid, eight to an octave, so that a scale can grow by whole steps and the
codes shrink by the same number: what is stored so keeps its value exactly until it
falls out of the 32 octaves below the block's largest, where it stays at the lowest. A
running maximum on such a grid never falls. The average of squares is rounded
stochastically between neighbours of the grid, which lie nine per cent apart.

A block has one scale, which never falls, so what one element does concerns the other
255: below a 2^-32 of the block's largest v̂ every divisor is that of the lowest code,
too large. An element whose square overflows, or a NaN, so stops its block for good;
clip gradients, or leave such updates out with `optax.apply_if_finite`.
"""

import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import increment, value_at
from arsg_optax._precision import cast_updates
from arsg_optax._rounding import (
    SECOND_MOMENT,
    leaf_salt,
    random_bits,
    stochastic_round,
)
from arsg_optax._trees import check_real
from arsg_optax._validation import check
from arsg_optax.transforms._second_moment import divide
from arsg_optax.transforms.combining import gradient_for_statistics

BLOCK, STEPS_PER_OCTAVE, LARGEST = 256, 8, 255


class Codes(NamedTuple):
    """An array in eight bits: values 2 ** ((code + offset) / STEPS_PER_OCTAVE)."""

    code: jax.Array  # uint8 [blocks, BLOCK], the last block padded.
    offset: jax.Array  # int16 [blocks, 1], in steps of the grid.


class EightBitState(NamedTuple):
    """State of :func:`scale_by_eight_bit_rms`."""

    count: jax.Array
    nu: Any  # v_t: Codes, or bfloat16 arrays.
    nu_max: Any  # The running maximum: Codes.
    widths: Any  # Empty arrays of the parameters' shapes, (0, *shape).

    def denominator(self) -> Any:
        """What the last update was divided by, shaped as the parameters."""

        def root(codes: Codes, width: jax.Array) -> jax.Array:
            return jnp.sqrt(_unblocked(decode(codes), width.shape[1:]))

        is_codes = lambda leaf: isinstance(leaf, Codes)  # noqa: E731
        return jax.tree.map(root, self.nu_max, self.widths, is_leaf=is_codes)


def decode(codes: Codes) -> jax.Array:
    """float32 [blocks, BLOCK]."""
    steps = codes.code.astype(jnp.float32) + codes.offset.astype(jnp.float32)
    return jnp.exp2(steps / STEPS_PER_OCTAVE)


def encode(values: jax.Array, offset: jax.Array, dither: jax.Array | None) -> Codes:
    """Nearest codes, or with a dither in [0, 1) unbiased ones.

    Args:
      values: float32 [blocks, BLOCK], at least 0; NaN counts as an overflow.
      offset: of the codes before; it only grows.
      dither: of the values' shape, or None.
    """
    held = jnp.where(jnp.isnan(values), jnp.inf, values)
    held = jnp.clip(held, 1e-37, jnp.finfo(jnp.float32).max)
    steps = STEPS_PER_OCTAVE * jnp.log2(held)
    needed = jnp.ceil(jnp.max(steps, axis=1, keepdims=True)) - LARGEST
    offset = jnp.maximum(offset, needed.astype(jnp.int16))
    steps = steps - offset.astype(jnp.float32)
    low = jnp.floor(steps)
    if dither is None:
        code = jnp.round(steps)
    else:
        # The share of the way between two neighbours, in the value, not its logarithm.
        ratio = jnp.exp2(1 / STEPS_PER_OCTAVE)
        share = (jnp.exp2((steps - low) / STEPS_PER_OCTAVE) - 1) / (ratio - 1)
        code = low + (dither < share).astype(jnp.float32)
    return Codes(jnp.clip(code, 0, LARGEST).astype(jnp.uint8), offset)


def larger(codes: Codes, values: jax.Array) -> Codes:
    """The running maximum: no element's value falls."""
    fresh = encode(values, codes.offset, None)
    shift = codes.offset.astype(jnp.int32) - fresh.offset.astype(jnp.int32)
    moved = codes.code.astype(jnp.int32) + shift
    code = jnp.maximum(jnp.maximum(moved, 0), fresh.code.astype(jnp.int32))
    return Codes(code.astype(jnp.uint8), fresh.offset)


def scale_by_eight_bit_rms(
    b2: chex.Numeric = 0.99,
    eps: chex.Numeric = 1e-8,
    *,
    average_in_eight_bits: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """:func:`arsg_optax.scale_by_nonincreasing_rms` with its maximum in eight bits.

    An experiment: `arsg(preconditioner=scale_by_eight_bit_rms(), mu_dtype=bfloat16)`
    holds 5 bytes a parameter, or 4 with the average in eight bits too. The maximum
    never falls. A divisor is within 2.2 % of what the stored averages so far ask for
    where v̂ lies within 31 octaves of the largest in its block of 256, and too large
    below. Blocks run across rows, so an array that is split over devices is gathered.

    Args:
      b2: decay rate of the second moment, in [0, 1).
      eps: initial value of the maximum, in units of the squared gradient.
      average_in_eight_bits: whether the average is so stored too, else in bfloat16.
        Both are rounded stochastically.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`. Updates come out in the
      parameters' dtypes, or where ``update`` gets no params in those they came in.

    Raises:
      ValueError: if an argument is out of range, or if gradients are not real floating
        point or do not fit the state.
    """
    check("b2", b2)
    check("eps", eps)

    def init_fn(params: Any) -> EightBitState:
        check_real("params", params)

        def start(param: jax.Array, value: chex.Numeric) -> Codes:
            filled = _blocked(jnp.full(jnp.shape(param), value, jnp.float32))
            lowest = jnp.full((len(filled), 1), -(2**14), jnp.int16)
            return encode(filled, lowest, None)

        def average(param: jax.Array) -> Any:
            if not average_in_eight_bits:
                return jnp.zeros(jnp.shape(param), jnp.bfloat16)
            return start(param, 0.0)

        return EightBitState(
            count=jnp.zeros([], jnp.int32),
            nu=jax.tree.map(average, params),
            nu_max=jax.tree.map(lambda p: start(p, eps), params),
            widths=jax.tree.map(
                lambda p: jnp.zeros((0, *jnp.shape(p)), jnp.float32), params
            ),
        )

    def update_fn(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        raw_gradient: Any = None,
        shared_step: Any = None,
        **extra: Any,
    ) -> tuple[Any, Any]:
        del extra
        gradient = gradient_for_statistics(updates, raw_gradient, state.denominator())
        beta = jnp.asarray(value_at("b2", b2, state.count), jnp.float32)
        step = state.count if shared_step is None else shared_step

        def average(path: Any, g: jax.Array, old: Any) -> Any:
            salt = leaf_salt(path, SECOND_MOMENT.salt)
            square = jnp.asarray(g, jnp.float32) ** 2
            if not average_in_eight_bits:
                fresh = beta * old.astype(jnp.float32) + (1 - beta) * square
                return stochastic_round(fresh, step, salt, SECOND_MOMENT.shift)
            fresh = beta * decode(old) + (1 - beta) * _blocked(square)
            # The half of the hash that the momentum does not take, in [0, 1).
            half = random_bits(jnp.shape(g), step, salt) & jnp.uint32(0xFFFF)
            dither = half.astype(jnp.float32) / 2**16
            return encode(fresh, old.offset, _blocked(dither))

        nu = jax.tree_util.tree_map_with_path(average, gradient, state.nu)

        def largest(g: jax.Array, v: Any, held: Codes) -> Codes:
            del g
            wide = decode(v) if average_in_eight_bits else _blocked(v)
            return larger(held, wide.astype(jnp.float32))

        new_state = state._replace(
            count=increment(state.count),
            nu=nu,
            nu_max=jax.tree.map(largest, gradient, nu, state.nu_max),
        )
        scaled = divide(updates, new_state.denominator())
        return cast_updates(scaled, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _blocked(array: jax.Array) -> jax.Array:
    line = array.reshape(-1)
    return jnp.pad(line, (0, -line.size % BLOCK)).reshape(-1, BLOCK)


def _unblocked(blocks: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return blocks.reshape(-1)[: math.prod(shape)].reshape(shape)
