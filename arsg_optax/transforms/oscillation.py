"""Oscillation: how far parameters travel, compared with how far they get."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._hyperparameters import default_float, increment
from arsg_optax._moments import moments_like
from arsg_optax._trees import check_real, check_updates


class TrackOscillationState(NamedTuple):
    """State of :func:`track_oscillation`; its methods can be jitted and vmapped."""

    count: jax.Array  # () int32, updates in this window so far.
    path: optax.Updates  # l, the sum of |update|, shaped as the parameters.
    displacement: optax.Updates  # Signed d, the sum of the updates, likewise.

    changes_nothing = True  # So it may stand behind an optimizer that is evaluated.

    def oscillation(self) -> jax.Array:
        """Q, the mean of q over all parameters that moved.

        () array of the default float dtype, at least 1; 0 if nothing moved yet.
        """
        return _mean_of_moved(jax.tree.leaves(self.oscillation_by_parameter()))

    def oscillation_by_leaf(self) -> dict[str, jax.Array]:
        """The mean of q for each array apart, () arrays as :meth:`oscillation` gives.

        Keys are the arrays' paths in the parameters, as in ``layers/0/kernel``; ""
        where these are one array.
        """
        ratios = jax.tree_util.tree_leaves_with_path(self.oscillation_by_parameter())
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): _mean_of_moved([q])
            for path, q in ratios
        }

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        by_leaf = self.oscillation_by_leaf().items()
        return {
            "oscillation": self.oscillation(),
            **{f"oscillation/{leaf}": value for leaf, value in by_leaf},
        }

    def oscillation_by_parameter(self) -> optax.Updates:
        """q of each parameter, for medians and histograms.

        Tree shaped as the parameters, in the dtypes of the sums: at least 1, and 0
        where a parameter did not move.
        """
        return jax.tree.map(_path_per_displacement, self.path, self.displacement)


def track_oscillation(
    *, window: int | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Measures how much the parameters oscillate, and changes nothing.

    AdaRem's index: the length of the path that a parameter travels per displacement,
    and its mean over the :math:`n` parameters that moved,

    .. math::

      \begin{align*}
        l_i &\leftarrow \textstyle\sum_t |u_{t,i}| \\
        d_i &\leftarrow \textstyle\sum_t u_{t,i} \\
        q_i &\leftarrow l_i / \max(|d_i|, \delta l_i) \\
        Q &\leftarrow \textstyle\frac{1}{n} \sum_i q_i
      \end{align*}

    over the updates :math:`u_t` of a window. :math:`Q = 1` is a straight way, twice the
    number is twice the travel. Place it last in the chain, where the updates are what
    the parameters move by: ``optax.chain(adarem(0.1), track_oscillation())``; read it
    with :func:`arsg_optax.metrics` or from the state, two arrays per parameter.

    Our choice is to bound :math:`q` by the resolution of float32, :math:`1/\delta` =
    8.4e6. Where a displacement is as likely to be near 0 as not, :math:`q` exceeds x
    with a probability of about 1/x, so its mean is carried by a few parameters: compare
    means over several runs, and look at the median of ``oscillation_by_parameter()``.
    The longer the window, the larger :math:`Q`: a random walk of T updates has about
    :math:`\sqrt T`.

    Args:
      window: number of updates, in [1, 2147483647], after which tracking restarts, so
        that right after update k * window the state holds a whole window; None never
        restarts. Sums are kept in float32 at least and lose the small updates of a
        window of millions.

    Raises:
      ValueError: if the window is not such a number, or if updates are not real
        floating point or do not fit the state.

    References:
      Adaptive Gradient Method with Resilience and Momentum, section 3.2.2.
    """
    _check_window(window)

    def init_fn(params):
        check_real("params", params)
        return TrackOscillationState(
            count=jnp.zeros([], jnp.int32),
            path=moments_like(params, None),
            displacement=moments_like(params, None),
        )

    def update_fn(updates, state, params=None, **_):
        del params
        check_updates("updates", updates, state.path)
        held = state
        if window is not None:  # All zeros after a whole window.
            full = state.count >= window
            held = jax.tree.map(lambda x: jnp.where(full, jnp.zeros_like(x), x), state)
        moved = jax.tree.map(
            lambda old, u: jnp.asarray(u, old.dtype), held.path, updates
        )
        new_state = TrackOscillationState(
            count=increment(held.count),
            path=jax.tree.map(lambda old, u: old + jnp.abs(u), held.path, moved),
            displacement=jax.tree.map(jnp.add, held.displacement, moved),
        )
        return updates, new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check_window(window: Any) -> None:
    whole = isinstance(window, (int, np.integer)) and not isinstance(window, bool)
    longest = int(np.iinfo(np.int32).max)
    if window is None or (whole and 1 <= window <= longest):
        return
    raise ValueError(
        f"window must be None or a whole number in [1, {longest}], got {window!r}; "
        "pass the number of updates of an epoch, for example, and name window in "
        "static_args if hyper-parameters are injected."
    )


def _path_per_displacement(path: jax.Array, displacement: jax.Array) -> jax.Array:
    """q, and 0 where there is no path.

    As 1 / (|d| / l): bounding the quotient does not underflow, as bounding |d| by a
    share of l would. Rounding is monotone, so |d| <= l holds for sums in floating
    point too, and q >= 1 exactly.
    """
    # Denormal paths count as none, because XLA may flush them to 0 when it divides.
    moved = path >= jnp.finfo(path.dtype).tiny
    straightness = jnp.abs(displacement) / jnp.where(moved, path, jnp.ones_like(path))
    resolution = jnp.asarray(jnp.finfo(jnp.float32).eps, path.dtype)
    q = 1 / jnp.maximum(straightness, resolution)
    # Not path > 0 here: a NaN is to be seen.
    return jnp.where(path < jnp.finfo(path.dtype).tiny, jnp.zeros_like(q), q)


def _mean_of_moved(ratios: list[jax.Array]) -> jax.Array:
    """Mean of the ratios that are not 0; 0 if there are none."""
    dtype = default_float()
    total, moved = jnp.zeros([], dtype), jnp.zeros([], dtype)
    for q in ratios:
        total = total + jnp.sum(q).astype(dtype)
        # Counted in integers, since float32 cannot count beyond 16.8 million.
        moved = moved + jnp.sum(q != 0, dtype=jnp.int32).astype(dtype)
    return total / jnp.maximum(moved, jnp.ones_like(moved))
