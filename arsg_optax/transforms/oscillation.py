"""Oscillation: how far parameters travel for what they get, watched in passing."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._hyperparameters import default_float, increment
from arsg_optax._moments import moments_like
from arsg_optax._trees import check_real, check_updates

_LONGEST_WINDOW = int(np.iinfo(np.int32).max)


class TrackOscillationState(NamedTuple):
    """State of :func:`track_oscillation`; its methods can be jitted and vmapped."""

    count: jax.Array  # () int32, updates in this window so far.
    path: optax.Updates  # l, the sum of |update|, shaped as the parameters.
    displacement: optax.Updates  # Signed d, the sum of the updates, likewise.

    changes_nothing = True  # So it may stand behind an optimizer that is evaluated.

    def oscillation(self) -> jax.Array:
        """Q: the mean of q over all parameters that moved.

        Returns:
          () array of the default float dtype, at least 1; 0 if nothing moved yet.
        """
        return _mean_of_moved(jax.tree.leaves(self.oscillation_by_parameter()))

    def oscillation_by_leaf(self) -> dict[str, jax.Array]:
        """The mean of q over the parameters that moved, for each array apart.

        Returns:
          () arrays as :meth:`oscillation` gives, by the array's path in the
          parameters, as in ``layers/0/kernel``; "" where these are one array.
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

        Returns:
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

    over the updates :math:`u_t` of a window. :math:`Q = 1` is a straight way, twice
    the number is twice the travel. Place it last in the chain, where the updates are
    what the parameters move by: ``optax.chain(adarem(0.1), track_oscillation())``;
    read it with :func:`arsg_optax.metrics` or from the state.

    A parameter that came back to where it was has no displacement. Our choice is to
    bound :math:`q` by the resolution of float32, :math:`1/\delta` = 8.4e6 with
    :math:`\delta` = 1.2e-7, in float64 as well, so that :math:`Q` stays finite and
    does not depend on the dtype. It is heavy tailed even so: where a displacement is
    as likely to be near 0 as not, :math:`q` exceeds x with a probability of about
    1/x, so that its mean grows with the logarithm of the bound and is carried by a
    few parameters. Compare means over several runs, and look at the median of
    ``oscillation_by_parameter()`` beside them. The longer the window, the larger
    :math:`Q`: a random walk of T updates has a :math:`q` of about :math:`\sqrt T`.

    State: two arrays per parameter. In 16 bits the parameters themselves move by
    rounded updates; what is measured here are the updates before that rounding.

    Args:
      window: number of updates, in [1, 2147483647], after which tracking restarts, so
        that right after update k * window the state holds a whole window; None never
        restarts. Sums are kept in float32 at least and lose the small updates of a
        window of millions.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs` that returns the updates it
      gets, the very same arrays.

    Raises:
      ValueError: if the window is not such a number, or if updates are not real
        floating point or do not fit the state.

    Examples:
      >>> import arsg_optax, jax.numpy as jnp
      >>> tracker = arsg_optax.track_oscillation()
      >>> state = tracker.init(jnp.zeros(2))
      >>> for updates in jnp.array([[3., 1.], [-1., 1.]]):
      ...     _, state = tracker.update(updates, state)
      >>> print(state.oscillation_by_parameter(), state.oscillation())
      [2. 1.] 1.5

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

    def update_fn(updates, state, params=None, **extra_args):
        del params, extra_args
        check_updates("updates", updates, state.path)
        held = state if window is None else _restart_if_full(state, window)
        new_state = TrackOscillationState(
            count=increment(held.count),
            path=jax.tree.map(_add_length, held.path, updates),
            displacement=jax.tree.map(_add, held.displacement, updates),
        )
        return updates, new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check_window(window: Any) -> None:
    whole = isinstance(window, (int, np.integer)) and not isinstance(window, bool)
    if window is None or (whole and 1 <= window <= _LONGEST_WINDOW):
        return
    raise ValueError(
        f"window must be None or a whole number in [1, {_LONGEST_WINDOW}], got "
        f"{window!r}; pass the number of updates of an epoch, for example, and name "
        "window in static_args if hyper-parameters are injected."
    )


def _add(total: jax.Array, update: jax.typing.ArrayLike) -> jax.Array:
    return total + jnp.asarray(update, total.dtype)


def _add_length(total: jax.Array, update: jax.typing.ArrayLike) -> jax.Array:
    return total + jnp.abs(jnp.asarray(update, total.dtype))


def _restart_if_full(
    state: TrackOscillationState, window: int
) -> TrackOscillationState:
    """The state as the next update finds it: all zeros after a whole window."""
    full = state.count >= window
    return jax.tree.map(lambda x: jnp.where(full, jnp.zeros_like(x), x), state)


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
