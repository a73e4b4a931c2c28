"""The optimizers that the demonstrations know by name, each with its evaluation point.

Every entry takes its learning rate as the function that it names does: `sgd` is
`optax.sgd(learning_rate, momentum)`, in which a step is `learning_rate` times a *sum*
of gradients, and `rsg` takes the step times their *mean*.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

import arsg_optax
from arsg_optax.demos.errors import UsageError, find_named
from arsg_optax.transforms.orthogonalization import is_axes

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

    def evaluation_point(self, opt_state: optax.OptState, held: Held) -> Params:
        """x, or y where there is no other point."""
        if self.own_point is None:
            return self.gradient_point(held)
        return self.own_point(opt_state, held)


def _same(params: Params) -> Params:
    return params


def _fast(pair: optax.LookaheadParams) -> Params:
    return pair.fast


def _slow(state: optax.OptState, pair: optax.LookaheadParams) -> Params:
    del state
    return pair.slow


def _average(state: optax.OptState, params: Params) -> Params:
    # Optax's own does not look into a chain.
    found = optax.tree_utils.tree_get(state, "ScheduleFreeState")
    return optax.contrib.schedule_free_eval_params(found, params)


HELD = Points("held", _same, _same)
ITERATE = Points("iterate", _same, _same, arsg_optax.eval_params)
AVERAGE = Points("average", _same, _same, _average)
SLOW = Points("slow", optax.LookaheadParams.init_synced, _fast, _slow)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer by name.

    Attributes:
        name: on the command line.
        make: `make(learning_rate, **options)` returns the gradient transformation.
        points: where it is evaluated.
        baseline: whether it is one of Optax's own, with which ours are compared.
        needs_rank: the number of axes that an array among the weights must have for
            it to make sense: 2 for a matrix, 4 for a convolution.
    """

    name: str
    make: Callable[..., optax.GradientTransformation]
    points: Points = HELD
    baseline: bool = True
    needs_rank: int = 0

    def check(self, options: Iterable[str]) -> None:
        """Raises `UsageError` if it has no keyword argument of a name."""
        for name in options:
            if not self.takes(name):
                known = list(inspect.signature(self.make).parameters)[1:]
                raise UsageError(
                    f"{self.name} has no hyper-parameter {name!r}; it has "
                    f"{', '.join(known)}"
                )

    def takes(self, name: str) -> bool:
        """Whether it has a keyword argument of that name."""
        first, *rest = inspect.signature(self.make).parameters.values()
        del first  # the learning rate
        return any(each.name == name or each.kind is each.VAR_KEYWORD for each in rest)

    def applies(self, params: Params) -> bool:
        """Whether the optimizer is meant for these parameters."""
        ranks = {jnp.ndim(leaf) for leaf in jax.tree.leaves(params)}
        return not self.needs_rank or self.needs_rank in ranks

    def behind(
        self,
        before: Sequence[optax.GradientTransformation],
        learning_rate: Any,
        **options: Any,
    ) -> optax.GradientTransformation:
        """The optimizer on gradients that pass other transformations first."""
        if not before:
            return self.make(learning_rate, **options)
        if self.points is SLOW:
            # Lookahead holds a pair of parameters, which those must not meet.
            return self.make(learning_rate, before=before, **options)
        return optax.chain(*before, self.make(learning_rate, **options))


def ranger(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    *,
    sync_period: int = 6,
    slow_step_size: float = 0.5,
    before: Sequence[optax.GradientTransformation] = (),
) -> optax.GradientTransformation:
    """RAdam inside lookahead, with the defaults of the Ranger optimizer."""
    fast = optax.chain(*before, optax.radam(learning_rate, b1=b1, b2=b2))
    return optax.lookahead(fast, sync_period, slow_step_size)


def sgd(
    learning_rate: optax.ScalarOrSchedule, *, momentum: float = 0.9
) -> optax.GradientTransformation:
    """`optax.sgd` with momentum."""
    return optax.sgd(learning_rate, momentum=momentum)


def schedule_free_adamw(
    learning_rate: Any,
    warmup_steps: int | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    weight_lr_power: float = 2.0,
    mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The one of `optax.contrib`, which cannot leave weights out of the decay."""
    rate = learning_rate
    if warmup_steps is not None:
        rate = optax.warmup_constant_schedule(0.0, learning_rate, warmup_steps)
    inner = optax.chain(
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(rate),
    )
    return optax.contrib.schedule_free(inner, rate, b1, weight_lr_power)


def adarem_s(
    learning_rate: optax.ScalarOrSchedule, **options: Any
) -> optax.GradientTransformation:
    """`adarem_s` with the convolutions on spheres: batch normalization follows each."""
    options.setdefault("sphere_mask", _convolutions)
    return arsg_optax.adarem_s(learning_rate, **options)


def orsg(
    learning_rate: optax.ScalarOrSchedule, **options: Any
) -> optax.GradientTransformation:
    """`arsg_optax.orsg` with the kernels of convolutions among its matrices."""
    return arsg_optax.orsg(learning_rate, matrices=hidden_matrices, **options)


def inner_muon(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.95,
    b2: float = 0.99,
    weight_decay: float = 0.0,
    mask: Any = None,
) -> optax.GradientTransformation:
    """`optax.contrib.muon` on the matrices that `orsg` orthogonalizes, and no others.

    What it leaves to Adam has the same step size, as in `orsg`.
    """

    def dimensions(params: Params) -> Any:
        return jax.tree.map(
            lambda axes: axes and optax.contrib.MuonDimensionNumbers(*axes),
            hidden_matrices(params),
            is_leaf=is_axes,
        )

    return optax.contrib.muon(
        learning_rate,
        beta=b1,
        adam_b2=b2,
        weight_decay=weight_decay,
        weight_decay_mask=mask,
        muon_weight_dimension_numbers=dimensions,
    )


def hidden_matrices(params: Params) -> Any:
    """As `arsg_optax`'s, where more axes are a convolution or a stack of matrices.

    Four are a convolution's (height, width, in, out), three a stack's (layer, in, out).
    """

    def flattened(leaf: Any) -> Any:
        if jnp.ndim(leaf) not in (3, 4):
            return leaf
        first = 1 if jnp.ndim(leaf) == 3 else 0
        *inputs, outputs = leaf.shape[first:]
        return jax.ShapeDtypeStruct((math.prod(inputs), outputs), leaf.dtype)

    def unflattened(axes: Any, leaf: Any) -> Any:
        several = {
            3: arsg_optax.MatrixAxes(1, 2),
            4: arsg_optax.MatrixAxes((0, 1, 2), 3),
        }
        return axes and several.get(jnp.ndim(leaf), axes)

    found = arsg_optax.hidden_matrices(jax.tree.map(flattened, params))
    return jax.tree.map(unflattened, found, params, is_leaf=is_axes)


def _convolutions(params: Params) -> Any:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) == 4, params)


OPTIMIZERS: Mapping[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("arsg", arsg_optax.arsg, ITERATE, baseline=False),
        Optimizer("arsgb", arsg_optax.arsgb, ITERATE, baseline=False),
        Optimizer("rsg", arsg_optax.rsg, ITERATE, baseline=False),
        Optimizer("namsg", arsg_optax.namsg, ITERATE, baseline=False),
        Optimizer("swnts", arsg_optax.swnts, ITERATE, baseline=False),
        Optimizer("adarem", arsg_optax.adarem, baseline=False),
        Optimizer("adarem_s", adarem_s, baseline=False, needs_rank=4),
        Optimizer("orsg", orsg, ITERATE, baseline=False, needs_rank=2),
        Optimizer("arsgw", arsg_optax.arsgw, ITERATE, baseline=False),
        Optimizer("sgd", sgd),
        Optimizer("adam", optax.adam),
        Optimizer("adamw", optax.adamw),
        Optimizer("nadam", optax.nadam),
        Optimizer("amsgrad", optax.amsgrad),
        Optimizer("ranger", ranger, SLOW),
        Optimizer("schedule_free_adamw", schedule_free_adamw, AVERAGE),
        Optimizer("muon", optax.contrib.muon, needs_rank=2),
        Optimizer("inner_muon", inner_muon, needs_rank=2),
    )
}


def find_optimizer(name: str) -> Optimizer:
    """The optimizer of that name.

    Raises:
        UsageError: if there is none; it lists those that there are.
    """
    return find_named(OPTIMIZERS, "optimizer", name)
