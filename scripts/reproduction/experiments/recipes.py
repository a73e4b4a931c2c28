"""Methods that only reproductions use: today's, as their authors recommend, and SWNTS1.

They stand beside the demos' `OPTIMIZERS`, as what they take depends on a run's length
or on the network.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from optax.contrib import MuonDimensionNumbers

import arsg_optax
from arsg_optax.demos.errors import find_named
from arsg_optax.demos.training.optimizers import (
    ITERATE,
    OPTIMIZERS,
    Optimizer,
    Params,
    Points,
)

_COLORS = 3  # Input channels of a convolution that sees pixels, at most.
# Of the demo networks: the last layer, and the language model's two ends.
_OUTER = ("['last']", "['embedding']", "['kernel']")


def ademamix(
    learning_rate: optax.ScalarOrSchedule,
    *,
    warmup: int,
    b3: float = 0.999,
    alpha: float = 8.0,
    weight_decay: float = 0.1,
) -> optax.GradientTransformation:
    """AdEMAMix with its authors' warm-ups of `alpha` and `b3`.

    Args:
        learning_rate: step size.
        warmup: steps until `alpha` and `b3` have their values; the authors take all.
        b3: decay of the slow average; 0.999 for few steps (their appendix C.1.5).
        alpha: weight of the slow average.
        weight_decay: decoupled.

    References:
        Pagliardini et al., `The AdEMAMix Optimizer: Better, Faster, Older
        <https://arxiv.org/abs/2409.03137>`_, algorithm 1 and equation 2.
    """
    fast = 0.9

    def share(count: Any) -> Any:
        return jnp.minimum(count / jnp.float32(warmup), 1.0)

    def slow(count: Any) -> Any:
        # Linear in the time after which a gradient counts half.
        inverse = (1 - share(count)) / math.log(fast) + share(count) / math.log(b3)
        return jnp.exp(1 / inverse)

    return optax.contrib.ademamix(
        learning_rate,
        b1=fast,
        b3=slow,
        alpha=lambda count: alpha * share(count),
        weight_decay=weight_decay,
    )


def muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    adam_share: float = 0.015,
    weight_decay: float = 0.01,
) -> optax.GradientTransformation:
    """Muon on hidden matrices and convolutions, AdamW on all else.

    Args:
        learning_rate: of what is orthogonalized; the README has 0.02.
        adam_share: of it, what AdamW gets; the README has 3e-4.
        weight_decay: decoupled, of both.

    References:
        Jordan et al., `Muon <https://kellerjordan.github.io/posts/muon/>`_, and the
        settings of its repository's README.
    """
    share: Any = adam_share
    rest = (
        (lambda count: share * learning_rate(count))
        if callable(learning_rate)
        else share * learning_rate
    )
    hidden = optax.contrib.muon(
        learning_rate,
        weight_decay=weight_decay,
        muon_weight_dimension_numbers=hidden_weights,
    )
    # Optax's own AdamW inside `muon` takes Nesterov's momentum with it.
    others = optax.adamw(rest, b1=0.9, b2=0.95, weight_decay=weight_decay)
    return optax.partition({True: hidden, False: others}, _is_hidden)


def averaged_adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 0.1,
    mask: Any = None,
) -> optax.GradientTransformation:
    """AdamW, averaged remotely."""
    inner = optax.adamw(
        learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask
    )
    return arsg_optax.average_remotely(inner)


def averaged_orsg(
    learning_rate: optax.ScalarOrSchedule, **options: Any
) -> optax.GradientTransformation:
    """ORSG, averaged remotely."""
    return arsg_optax.average_remotely(arsg_optax.orsg(learning_rate, **options))


def hidden_weights(params: Params) -> Any:
    """Which arrays Muon takes, and how it reads them as matrices; None for others.

    Matrices and convolutions, but for a convolution that sees pixels, the embedding
    and the last layer.
    """
    return jax.tree_util.tree_map_with_path(_dimensions, params)


def _is_hidden(params: Params) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _dimensions(path, leaf) is not None, params
    )


def _dimensions(path: tuple[Any, ...], leaf: Any) -> MuonDimensionNumbers | None:
    rank = jnp.ndim(leaf)
    if rank not in (2, 4) or jax.tree_util.keystr(path).startswith(_OUTER):
        return None
    if rank == 4 and jnp.shape(leaf)[2] <= _COLORS:
        return None
    return MuonDimensionNumbers(tuple(range(rank - 1)), rank - 1)


class AverageState(NamedTuple):
    """Mean of the parameters so far, in their dtype, and the number of updates."""

    count: jax.Array
    average: Params


def average_params(decay: float) -> optax.GradientTransformation:
    """Passes updates on and keeps an exponential moving average of the parameters.

    Args:
        decay: of the average, reached as `(1 + t) / (10 + t)` grows, so that the
            initial values are soon forgotten.
    """

    def init(params: Params) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(
        updates: optax.Updates, state: Any, params: Params | None = None
    ) -> tuple[optax.Updates, AverageState]:
        if params is None:
            raise ValueError("params must be given to update, got None")
        step = state.count + 1
        kept = jnp.minimum(decay, (1 + step) / (10 + step))
        moved = optax.apply_updates(params, updates)
        average = jax.tree.map(
            lambda old, new: (kept * old + (1 - kept) * new).astype(new.dtype),
            state.average,
            moved,
        )
        return updates, AverageState(step, average)

    return optax.GradientTransformation(init, update)


def swnts1(
    learning_rate: optax.ScalarOrSchedule, *, average: float = 0.999, **options: Any
) -> optax.GradientTransformation:
    """SWNTS, evaluated at an exponential moving average of its parameters.

    The paper gives no decay for the average; 0.999 forgets in four epochs of its tasks.

    Args:
        learning_rate: of SWNTS.
        average: decay of the average.
        **options: of :func:`arsg_optax.swnts`.

    References:
        Chen et al., NAMSG, section 5.2.
    """
    return optax.chain(
        arsg_optax.swnts(learning_rate, **options), average_params(average)
    )


def _mean(state: optax.OptState, params: Params) -> Params:
    del params
    return optax.tree_utils.tree_get(state, "AverageState").average


_SMOOTHED = Points("average", lambda p: p, lambda p: p, _mean)

RECIPES: Mapping[str, Optimizer] = {
    recipe.name: recipe
    for recipe in (
        Optimizer("ademamix", ademamix),
        Optimizer("prodigy", optax.contrib.prodigy),
        Optimizer("nadamw", optax.nadamw),
        Optimizer("averaged_adamw", averaged_adamw, ITERATE, baseline=False),
        Optimizer("averaged_orsg", averaged_orsg, ITERATE, baseline=False),
        Optimizer("hidden_muon", muon, needs_rank=2),
        Optimizer("swnts1", swnts1, _SMOOTHED, baseline=False),
    )
}


def find_method(name: str) -> Optimizer:
    """The optimizer or recipe of that name.

    Raises:
        UsageError: if there is none; it lists those that there are.
    """
    return find_named({**OPTIMIZERS, **RECIPES}, "optimizer", name)
