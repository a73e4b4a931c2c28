"""Finds the arrays whose length a loss does not notice, by scaling each one."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import default_float
from arsg_optax._precision import compute_dtype
from arsg_optax._trees import leaf_dtype
from arsg_optax._validation import check_number, is_number
from arsg_optax.tuning._losses import real_scalar

Loss = Callable[[optax.Params], Any]
Arrays = list[jax.Array]

# Of the loss, in units of its resolution: what a sum over a batch may lose.
_LOSS_ROUNDING = 32


def scale_invariant_leaves(
    loss_fn: Loss,
    params: optax.Params,
    *,
    factor: float = 2.0,
    tolerance: float = 0.05,
    fill_zeros: bool = True,
) -> Any:
    r"""Finds the arrays whose length does not matter, such as weights before a norm.

    They are what a sphere is for: the result is the mask that ``adarem_s`` takes as
    ``sphere_mask`` and ``scale_by_sphere_learning_rate`` as ``mask``. With the loss
    :math:`L`, the array :math:`\theta_i` and c = ``factor``, an array is a member if

    .. math::

      \begin{align*}
        |L(c\theta_i) - L(\theta_i)|
          &\leq \tau \|\nabla_i L(\theta_i)\| \|\theta_i\| + \text{rounding} \\
        \|c \nabla_i L(c\theta_i) - \nabla_i L(\theta_i)\|
          &< \tau \|\nabla_i L(\theta_i)\|
      \end{align*}

    with :math:`\tau` = ``tolerance``, all other arrays left as they are. The first
    line alone would let in layers that hardly matter: in front of saturated units a
    loss changes by as little as 1e-4 of :math:`\|\nabla_i L\| \|\theta_i\|`. The
    second tells them apart: in small networks with batch, layer, RMS and weight norm
    the deviation was at most 6e-4 for members (0.03 with activations so small that
    batch norm's epsilon, which breaks the invariance, begins to count) and at least 0.2
    for others. A few numbers may meet it at one factor by coincidence (a gain did to
    0.07 at 1/2), so both have to hold for 1/factor as well.

    Never members, by our choice:

    - arrays of zeros, which lie on no sphere, and leaves that are not floating point;
    - arrays without a gradient, such as a bias in front of batch norm: the loss depends
      on no part of it, and a sphere would keep a meaningless length;
    - arrays that are invariant only as long as another one is 0, such as a kernel whose
      bias is added before layer norm, or a batch norm's scale whose bias is still 0.
      For this, arrays of zeros are filled with fixed random numbers of magnitude 0.5 to
      1.5 (divided by the root of the fan-in) while the others are tested; so arrays in
      front of a last layer that starts at zero are found, too.

    The loss is compiled once; it and its gradient are evaluated once per array, twice
    per member, and once more. It must be deterministic, see the same data at each call,
    normalise by the statistics of the batch as in training (running averages are not
    scale invariant), and not be at a minimum, where gradients are rounding errors.

    Args:
      loss_fn: takes the parameters and returns the loss, a real scalar.
      params: tree of arrays; leaves that are not floating point are passed on.
      factor: what each array is multiplied and divided by, in [1 + 4 tolerance, 1e4];
        a power of two adds no rounding.
      tolerance: relative, in (0, 0.25].
      fill_zeros: whether arrays of zeros are filled for the test. False tests at
        ``params`` as they are.

    Returns:
      Tree of Python bools with the structure of ``params``.

    Raises:
      ValueError: if an argument is out of range, if a leaf is complex, if the loss is
        not a real scalar or not finite, or if a gradient is not finite.

    Examples:
      >>> import arsg_optax, jax.numpy as jnp
      >>> def loss(params):
      ...     direction = params["v"] / jnp.linalg.norm(params["v"])
      ...     return (jnp.sum(direction) * params["gain"] - 3.0) ** 2
      >>> params = {"gain": jnp.float32(1.0), "v": jnp.array([1.0, 2.0])}
      >>> print(arsg_optax.tuning.scale_invariant_leaves(loss, params))
      {'gain': False, 'v': True}

    References:
      Adaptive Gradient Method with Resilience and Momentum, section 3.4.
    """
    _check_arguments(factor, tolerance)
    _check_no_complex(params)
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    leaves = [leaf for _, leaf in paths]
    floating = [i for i, leaf in enumerate(leaves) if _is_floating(leaf)]
    if not floating:
        return jax.tree.unflatten(structure, [False] * len(leaves))
    point = [jnp.asarray(leaves[i]) for i in floating]
    zero = [not bool(jnp.any(value != 0)) for value in point]
    if fill_zeros:
        point = [_fill(x, i) if zero[i] else x for i, x in enumerate(point)]

    def loss_of(values: Sequence[Any]) -> jax.Array:
        whole = list(leaves)
        for i, value in zip(floating, values, strict=True):
            whole[i] = value
        return real_scalar(loss_fn(jax.tree.unflatten(structure, whole)))

    names = [jax.tree_util.keystr(paths[i][0]) for i in floating]
    found = [False] * len(leaves)
    members = _members(loss_of, point, zero, names, factor, tolerance)
    for i, member in zip(floating, members, strict=True):
        found[i] = member
    return jax.tree.unflatten(structure, found)


class _Probe(NamedTuple):
    """The loss and its gradient with one array scaled, and what is compared."""

    loss: jax.Array  # ()
    gradient: Arrays
    # ||factor * gradient - reference|| for each array; the factor is 1 for the others.
    deviations: Arrays


def _members(
    loss_of: Callable[[Sequence[Any]], jax.Array],
    point: Arrays,
    zero: list[bool],
    names: list[str],
    factor: float,
    tolerance: float,
) -> list[bool]:
    """Whether each array of a point is a member."""
    probe = _make_probe(loss_of)
    nothing = _placed(jax.tree.map(jnp.zeros_like, point), point)
    base = probe(point, nothing, jnp.int32(-1), jnp.float32(1))
    slopes = [float(norm) for norm in base.deviations]
    _check_finite(float(base.loss), slopes, names)
    reference = _placed(base.gradient, point)
    loss, eps = float(base.loss), float(jnp.finfo(base.loss.dtype).eps)

    def unchanged(i: int, by: float) -> bool:
        scaled = probe(point, reference, jnp.int32(i), jnp.float32(by))
        change = abs(float(scaled.loss) - loss)
        noticeable = tolerance * slopes[i] * float(_norm(point[i]))
        same_loss = change <= noticeable + _LOSS_ROUNDING * eps * abs(loss)
        return same_loss and float(scaled.deviations[i]) < tolerance * slopes[i]

    return [
        not zero[i]
        and slopes[i] > 0
        and unchanged(i, factor)
        and unchanged(i, 1 / factor)
        for i in range(len(point))
    ]


def _placed(arrays: Arrays, point: Arrays) -> Arrays:
    """Arrays where those of a point lie.

    All that a compiled function is given must lie alike at each call, and all of it by
    request or none, or it is compiled anew.
    """
    pairs = zip(arrays, point, strict=True)
    return [jax.device_put(array, x.sharding) for array, x in pairs]


def _make_probe(
    loss_of: Callable[[Sequence[Any]], jax.Array],
) -> Callable[[Arrays, Arrays, jax.Array, jax.Array], _Probe]:
    """Makes the compiled `probe(point, reference, index, factor)`.

    Index and factor are traced: a loop over the arrays in Python compiles once, and
    unlike one in the compiled program does not slow down convolutions (XLA on CPU).
    """

    @jax.jit
    def probe(
        point: Arrays, reference: Arrays, index: jax.Array, factor: jax.Array
    ) -> _Probe:
        factors = [
            jnp.where(index == i, factor.astype(x.dtype), jnp.ones([], x.dtype))
            for i, x in enumerate(point)
        ]
        scaled = [f * x for f, x in zip(factors, point, strict=True)]
        loss, gradient = jax.value_and_grad(loss_of)(scaled)
        parts = zip(factors, gradient, reference, strict=True)
        return _Probe(loss, gradient, [_norm(f * g - r) for f, g, r in parts])

    return probe


def _norm(x: jax.Array) -> jax.Array:
    """Euclidean, () of the default float dtype, for an array sharded in any way."""
    wide = x.astype(compute_dtype(x))
    return jnp.sqrt(jnp.sum(wide * wide)).astype(default_float())


def _fill(zeros: jax.Array, leaf: int) -> jax.Array:
    """Fixed random numbers in place of zeros, about as large as trained weights.

    None is small, so that a single one is noticed, and no two are equal, since layer
    norm does not see a constant.
    """
    key = jax.random.fold_in(jax.random.key(0), leaf)
    uniform = jax.random.uniform(key, zeros.shape, minval=-1.0, maxval=1.0)
    spread = uniform + 0.5 * jnp.sign(uniform)
    fan_in = math.prod(zeros.shape[:-1])  # 1 for vectors.
    return zeros + (spread / math.sqrt(max(fan_in, 1))).astype(zeros.dtype)


def _is_floating(leaf: Any) -> bool:
    known = hasattr(leaf, "dtype") or isinstance(leaf, float)
    return known and jnp.issubdtype(leaf_dtype(leaf), jnp.floating)


def _check_arguments(factor: Any, tolerance: Any) -> None:
    for name, value in (("tolerance", tolerance), ("factor", factor)):
        if not is_number(value):
            raise ValueError(f"{name} must be a number, got {value!r}; pass a float.")
    remedy = "batch norm's epsilon needs a few percent; 0.05 is the default."
    check_number("tolerance", tolerance, 0.0, "(]", 0.25, remedy)
    remedy = "a smaller one would not separate members from others; 2.0 is the default."
    check_number("factor", factor, 1 + 4 * tolerance, "[]", 1e4, remedy)


def _check_no_complex(params: optax.Params) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None) or type(leaf)
        if dtype is complex or jnp.issubdtype(dtype, jnp.complexfloating):
            raise ValueError(
                f"params must be real, got dtype {dtype} at "
                f"'{jax.tree_util.keystr(path)}'; give real and imaginary part as two "
                "arrays."
            )


def _check_finite(loss: float, slopes: list[float], names: list[str]) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"loss_fn must return a finite loss, got {loss}; pass params at which it "
            "is finite, or fill_zeros=False if it is so only where arrays are 0."
        )
    for name, norm in zip(names, slopes, strict=True):
        if not math.isfinite(norm):
            raise ValueError(
                f"loss_fn must have finite gradients, got a norm of {norm} at "
                f"'{name}'; pass params at which they are, and guard roots of 0."
            )
