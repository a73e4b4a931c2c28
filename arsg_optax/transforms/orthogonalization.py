"""Orthogonalization by Newton and Schulz: the polar factor of every matrix."""

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._precision import cast_updates, check_storage_dtype, compute_dtype
from arsg_optax._trees import (
    check_real,
    chosen_of,
    per_leaf,
    spread,
    varying_axes,
)
from arsg_optax._validation import check

Scale = Literal["width", "rms"] | None
# Jordan's quintic. Five of it bring singular values above a three-hundredth of the norm
# to between 0.7 and 1.2, and make smaller ones at most 485 times as large.
MUON = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_RMS = 0.2  # Of Adam's updates, as Liu et al. measured it.


class MatrixAxes(NamedTuple):
    """Which axes of an array are a matrix's input and output; the rest are a batch.

    Several axes count as one, in the order given. Numbers may be negative. The default
    is a kernel of Flax or Haiku, (input, output); a stack of them is
    ``MatrixAxes(-2, -1)``, a convolution's kernel ``MatrixAxes((0, 1, 2), 3)``, Flax's
    attention has ``MatrixAxes(0, (1, 2))`` for query, key and value and
    ``MatrixAxes((0, 1), 2)`` for its output.
    """

    input: int | tuple[int, ...] = 0
    output: int | tuple[int, ...] = 1


class OrthogonalizeState(NamedTuple):
    """State of :func:`orthogonalize`, which holds nothing."""

    makes_direction = True  # What `remote_chain` asks of a link.


def orthogonalize(
    *,
    steps: int | None = _STEPS,
    coefficients: Sequence[float] | Sequence[Sequence[float]] = MUON,
    scale: Scale = "width",
    matrix_axes: MatrixAxes | Any | Callable[[optax.Params], Any] | None = None,
    eps: float = 1e-8,
    dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Replaces every matrix by one with its singular vectors, and values near 1.

    For an incoming matrix :math:`D` the iteration starts at :math:`X_0 = D / (\|D\|_F +
    \epsilon)`. With the coefficients :math:`a, b, c`, each of ``steps`` iterations
    computes

    .. math:: X \leftarrow a X + (b A + c A^2) X, \qquad A = X X^\top

    and the result is the last X times :math:`\sqrt{\max(1, \text{out} / \text{in})}`.
    That is Muon's iteration. As a link of :func:`arsg_optax.remote_chain` it is a
    direction: the concise form has no iterate then, the exact form stores one more
    array. :func:`arsg_optax.orsg` is the whole optimizer.

    An explicit mesh is left for this computation, and its shardings are restored.
    Inside ``shard_map`` a matrix that varies from device to device is refused, since it
    may be a part of one; map over whole models with ``vmap`` instead.

    Args:
      steps: iterations, at least 1. None is one for each row of ``coefficients``, or 5
        if these are three numbers.
      coefficients: three numbers, or three for each iteration.
      scale: what follows the iteration. ``"width"`` is the factor above. ``"rms"`` is
        :math:`0.2 \sqrt{\max(\text{in}, \text{out})}`, which makes the root mean square
        of an update about 0.2 (less where the rank is low), as large as Adam's: its
        learning rate and decay can be reused. None leaves it out.
      matrix_axes: which axes are input and output: a :class:`MatrixAxes`, a tree of
        them (or a prefix of one, with None for arrays of two axes, input first), or a
        callable that makes such a tree of the parameters. None is None everywhere. An
        array with more axes is refused until they are named.
      eps: added to the norm, in units of what comes in.
      dtype: dtype of the iteration. None is bfloat16 on accelerators; on CPUs, and for
        float64, it is the dtype of what comes in, float32 at least.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`. Updates come out in the
      parameters' dtypes, or where ``update`` gets no params in those they came in.

    Raises:
      ValueError: if an argument is out of range, or if an array is no matrix and
        ``matrix_axes`` does not say how to make one of it.

    Examples:
      >>> import arsg_optax, jax.numpy as jnp
      >>> link = arsg_optax.orthogonalize()
      >>> matrix = jnp.array([[3.0, 0.0], [0.0, -0.1]])
      >>> updates, _ = link.update(matrix, link.init(matrix))
      >>> print(updates.round(1))
      [[ 0.7  0. ]
       [ 0.  -1.1]]

    References:
      Jordan et al, `Muon: An optimizer for hidden layers in neural networks
      <https://kellerjordan.github.io/posts/muon/>`_, 2024; Liu et al, `Muon is Scalable
      for LLM Training <https://arxiv.org/abs/2502.16982>`_, 2025, for ``"rms"``.
    """
    check("steps", steps, low=1, optional=True, remedy="5 are usual.")
    check("eps", eps, remedy="1e-8 is the default.")
    if scale not in ("width", "rms", None):
        raise ValueError(
            f"scale must be 'width', 'rms' or None, got {scale!r}; 'width' is Muon's."
        )
    rounds = _rounds(steps, coefficients)
    dtype = check_storage_dtype("dtype", dtype)

    def init_fn(params):
        check_real("params", params)
        _every_axes(matrix_axes, params)
        return OrthogonalizeState()

    def update_fn(updates, state, params=None, **extra_args):
        del extra_args
        check_real("updates", updates)
        options = dict(rounds=rounds, scale=scale, eps=float(eps), dtype=dtype)
        leaves, structure = jax.tree.flatten(updates)
        pairs = zip(leaves, _every_axes(matrix_axes, updates), strict=True)
        made = [_orthogonal(leaf, axes=axes, **options) for leaf, axes in pairs]
        made = jax.tree.unflatten(structure, made)
        return cast_updates(made, params, updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _rounds(steps: int | None, coefficients: Any) -> tuple[tuple[float, ...], ...]:
    """The coefficients of each iteration."""
    rows = list(coefficients) if isinstance(coefficients, Sequence) else []
    if rows and not isinstance(rows[0], Sequence):
        rows = [rows] * int(_STEPS if steps is None else steps)
    count = len(rows) if steps is None else steps
    if not rows or len(rows) != count or any(len(row) != 3 for row in rows):
        raise ValueError(
            "coefficients must be three numbers, or three for each of the steps "
            f"iterations ({count}), got {coefficients!r}; (3.4445, -4.7750, 2.0315) "
            "are Muon's."
        )
    return tuple(tuple(float(each) for each in row) for row in rows)


def is_axes(node: Any) -> bool:
    """Whether a node says which matrix an array is, or that it is none."""
    return node is None or isinstance(node, MatrixAxes)


def as_matrix_axes(what: str, verdict: Any, where: str = "") -> MatrixAxes | None:
    """True is a matrix with its inputs first, False is none; `what` is to hold them."""
    if isinstance(verdict, (bool, np.bool_)):
        return MatrixAxes() if verdict else None
    if not is_axes(verdict):
        raise ValueError(
            f"{what} True, False or MatrixAxes, got {verdict!r}{where}; True is "
            "MatrixAxes(input=0, output=1)."
        )
    return verdict


def _every_axes(matrix_axes: Any, updates: optax.Updates) -> list[MatrixAxes]:
    """The non-negative axes of each array; refuses what is no matrix."""
    chosen = chosen_of(matrix_axes, updates)
    remedy = "give each array a MatrixAxes or None."
    named = spread("matrix_axes", chosen, updates, remedy, is_leaf=is_axes)
    found = []
    leaves = jax.tree_util.tree_leaves_with_path(updates)
    for (path, update), axes in zip(leaves, named, strict=True):
        name = jax.tree_util.keystr(path)
        if varying := varying_axes(update):
            raise ValueError(
                f"updates must be whole matrices on each device, got '{name}', which "
                f"varies along {tuple(sorted(varying))} inside shard_map; sum "
                "gradients over these axes first, or call update outside of shard_map."
            )
        found.append(_resolved(name, axes, update.shape))
    return found


def _resolved(path: str, axes: Any, shape: tuple[int, ...]) -> MatrixAxes:
    """Tuples of non-negative axes."""
    if axes is None and len(shape) == 2:
        axes = MatrixAxes()
    if axes is None:
        raise ValueError(
            f"matrix_axes must say what is input and output of '{path}', got None for "
            f"its shape {shape}; pass for example MatrixAxes(input=0, output=(1, 2)), "
            "or leave this array out with optax.masked or optax.partition."
        )
    if not isinstance(axes, MatrixAxes):
        raise ValueError(
            f"matrix_axes must hold MatrixAxes or None, got {axes!r} at '{path}'; "
            "pass MatrixAxes(input=0, output=1)."
        )
    sides = [(side,) if isinstance(side, int) else tuple(side) for side in axes]
    named = [axis for side in sides for axis in side]
    inside = all(-len(shape) <= axis < len(shape) for axis in named)
    sides = [tuple(axis % max(len(shape), 1) for axis in side) for side in sides]
    if not inside or not all(sides) or len(set(sum(sides, ()))) < len(named):
        raise ValueError(
            f"matrix_axes must name different axes of '{path}', whose shape is "
            f"{shape}, got {axes}; give input and output at least one axis each, or "
            "None (in orsg False) to what is no matrix."
        )
    return MatrixAxes(*sides)


@functools.partial(
    per_leaf, static_argnames=("axes", "rounds", "scale", "eps", "dtype")
)
def _orthogonal(update, *, axes, rounds, scale, eps, dtype):
    """One array, in float32 at least."""
    wide = compute_dtype(update)
    fan_in, fan_out = (math.prod(update.shape[a] for a in side) for side in axes)
    factor = {
        "width": max(1, fan_out / max(fan_in, 1)) ** 0.5,
        "rms": _RMS * max(fan_in, fan_out) ** 0.5,
        None: 1.0,
    }[scale]
    if update.size == 0:
        return update.astype(wide)

    def made(x, narrow):
        batch = tuple(a for a in range(x.ndim) if a not in axes.input + axes.output)
        order = batch + axes.input + axes.output
        x = x.transpose(order)
        shape = x.shape
        x = x.reshape((*shape[: len(batch)], fan_in, fan_out))
        x = _newton_schulz(x, rounds, eps, narrow).astype(wide)
        back = sorted(range(len(order)), key=lambda i: order[i])
        return factor * x.reshape(shape).transpose(back)

    def everywhere(x):
        if dtype is not None or wide != jnp.float32:
            return made(x, dtype or wide)
        return jax.lax.platform_dependent(
            x,
            cpu=lambda x: made(x, jnp.float32),
            default=lambda x: made(x, jnp.bfloat16),
        )

    return _off_explicit_mesh(everywhere, update.astype(wide))


def _newton_schulz(x, rounds, eps, dtype):
    """The iteration on a batch of matrices; its Gram matrices are the smaller ones."""
    # By the largest element first: the square of a large one overflows.
    largest = jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True)
    largest = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    x = x / largest
    norm = jnp.linalg.norm(x, axis=(-2, -1), keepdims=True)
    x = (x / (norm + eps / largest)).astype(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for a, b, c in rounds:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


def _off_explicit_mesh(function, x):
    """Calls it with all axes automatic: products of split arrays have no sharding."""
    sharding: Any = jax.typeof(x).sharding
    if not getattr(sharding.mesh, "explicit_axes", ()):
        return function(x)
    if hasattr(jax.sharding, "auto_axes"):
        return jax.sharding.auto_axes(function, out_sharding=sharding)(x)
    # JAX 0.6 has no such attribute.
    auto_axes: Any = importlib.import_module("jax.experimental.shard").auto_axes
    axes = sharding.mesh.explicit_axes
    return auto_axes(function, axes=axes, out_shardings=sharding)(x)
