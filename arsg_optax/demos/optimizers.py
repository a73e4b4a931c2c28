"""The optimizers that the demonstrations know by name, each with its evaluation point.

Every entry takes its learning rate as the function that it names does: `sgd` is
`optax.sgd(learning_rate, momentum)`, in which a step is `learning_rate` times a *sum*
of gradients, and `rsg` takes the step times their *mean*.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

import arsg_optax

Params = Any
Held = Any  # what the training loop keeps: the parameters, or lookahead's pair of them


@dataclass(frozen=True)
class Points:
    """Where an optimizer takes gradients (y) and where it is meant to be evaluated (x).

    Attributes:
        name: what x is, in a word or two; `"held"` if x is y.
        hold: makes what the training loop keeps from the initial parameters.
        gradient_point: y, from what the loop keeps.
        own_point: x, from the optimizer's state and what the loop keeps; None if x
            is y.
    """

    name: str
    hold: Callable[[Params], Held]
    gradient_point: Callable[[Held], Params]
    own_point: Callable[[optax.OptState, Held], Params] | None = None


def _same(params: Params) -> Params:
    return params


def _fast(pair: optax.LookaheadParams) -> Params:
    return pair.fast


def _slow(state: optax.OptState, pair: optax.LookaheadParams) -> Params:
    del state
    return pair.slow


HELD = Points("held", _same, _same)
ITERATE = Points("iterate", _same, _same, arsg_optax.eval_params)
AVERAGE = Points("average", _same, _same, optax.contrib.schedule_free_eval_params)
SLOW = Points("slow", optax.LookaheadParams.init_synced, _fast, _slow)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer by name.

    Attributes:
        name: on the command line.
        make: `make(learning_rate, **options)` returns the gradient transformation.
        points: where it is evaluated.
        baseline: whether it is one of Optax's own, with which ours are compared.
        needs_matrix: whether it is meant for models with a matrix among the weights.
    """

    name: str
    make: Callable[..., optax.GradientTransformation]
    points: Points = HELD
    baseline: bool = True
    needs_matrix: bool = False

    def applies(self, params: Params) -> bool:
        """Whether the optimizer is meant for these parameters."""
        leaves = jax.tree.leaves(params)
        return not self.needs_matrix or any(jnp.ndim(leaf) == 2 for leaf in leaves)


def ranger(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    *,
    sync_period: int = 6,
    slow_step_size: float = 0.5,
) -> optax.GradientTransformation:
    """RAdam inside lookahead, with the defaults of the Ranger optimizer."""
    fast = optax.radam(learning_rate, b1=b1, b2=b2)
    return optax.lookahead(fast, sync_period, slow_step_size)


def sgd(
    learning_rate: optax.ScalarOrSchedule, *, momentum: float = 0.9
) -> optax.GradientTransformation:
    """`optax.sgd` with momentum."""
    return optax.sgd(learning_rate, momentum=momentum)


OPTIMIZERS: Mapping[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("arsg", arsg_optax.arsg, ITERATE, baseline=False),
        Optimizer("arsgb", arsg_optax.arsgb, ITERATE, baseline=False),
        Optimizer("rsg", arsg_optax.rsg, ITERATE, baseline=False),
        Optimizer("namsg", arsg_optax.namsg, ITERATE, baseline=False),
        Optimizer("swnts", arsg_optax.swnts, ITERATE, baseline=False),
        Optimizer("adarem", arsg_optax.adarem, baseline=False),
        Optimizer("sgd", sgd),
        Optimizer("adam", optax.adam),
        Optimizer("adamw", optax.adamw),
        Optimizer("nadam", optax.nadam),
        Optimizer("amsgrad", optax.amsgrad),
        Optimizer("ranger", ranger, SLOW),
        Optimizer("schedule_free_adamw", optax.contrib.schedule_free_adamw, AVERAGE),
        Optimizer("muon", optax.contrib.muon, needs_matrix=True),
    )
}
