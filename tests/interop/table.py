"""The optimizers that every interoperability test runs: one row an optimizer.

A new optimizer is tested by adding a row. Whatever a test must know about it stands in
the row: step sizes, extra arguments, expected values, and reasons to skip a check.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax

# Takes the gradients of one leaf that an optimizer got, and its learning rate; returns
# the iterate minus the parameters.
Offset = Callable[[list[np.ndarray], float], np.ndarray]


class Row(NamedTuple):
    """An optimizer, how to call it and what to expect of it."""

    name: str
    factory: Callable[..., optax.GradientTransformationExtraArgs]
    # Every argument but the learning rate.
    arguments: Mapping[str, Any]
    # For a few steps on the arrays of `steps.py` and on the small networks.
    learning_rate: float
    # Target of `targets.py` -> learning rate that reaches it within its steps.
    targets: Mapping[str, float]
    # Arguments that the papers index by t: each takes a schedule.
    scheduled: tuple[str, ...]
    offset: Offset
    # Of a moment or an update against float64, relative.
    rounding: float = 1e-5
    # Arguments that inject_hyperparams must leave alone.
    static: tuple[str, ...] = ()
    # Arguments that switch on a weight decay.
    decay: Mapping[str, Any] = {}
    # What the update needs beside the gradient, from the value of the loss.
    extra_args: Callable[[Any], dict[str, Any]] = lambda value: {}
    # Check, as in `rows(check)` -> why it does not apply.
    skip: Mapping[str, str] = {}

    def make(self, **changes: Any) -> optax.GradientTransformationExtraArgs:
        """The optimizer, with some arguments changed."""
        return self.factory(**{**self.hyperparameters(), **changes})

    def stores_bfloat16(self) -> bool:
        state = self.make().init({"w": jnp.zeros(1)})
        return any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(state))

    def hyperparameters(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, **self.arguments}


def remote(
    b1: float,
    observation: float,
    b2: float = 0.0,
    eps: float | None = None,
    clip: float = np.inf,
) -> Offset:
    """eta alpha m / sqrt(v̂) in float64; without an eps nothing is divided."""

    def offset(gradients, learning_rate):
        m, v, largest = 0.0, 0.0, 1.0 if eps is None else eps
        for gradient in gradients:
            g = np.clip(np.asarray(gradient, np.float64), -clip, clip)
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g**2
            largest = largest if eps is None else np.maximum(largest, v)
        distance = observation * b1 / (1 - b1)
        return distance * learning_rate * m / np.sqrt(largest)

    return offset


def held(gradients: list[np.ndarray], learning_rate: float) -> np.ndarray:
    """No observation point: the iterate is what the loop holds."""
    del learning_rate
    return np.zeros_like(gradients[0])


def resilient_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    observation: optax.ScalarOrSchedule = 0.1,
    resilience: optax.ScalarOrSchedule = 0.5,
) -> optax.GradientTransformationExtraArgs:
    """A user's own chain of all the links."""
    return optax.chain(
        arsg_optax.chain_on_gradient(
            arsg_optax.remote_observation(b1, observation),
            arsg_optax.scale_by_nonincreasing_rms(0.99),
            arsg_optax.scale_by_resilience(0.9, resilience),
        ),
        arsg_optax.scale_by_learning_rate(learning_rate),
    )


def clipped_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    observation: optax.ScalarOrSchedule = 0.1,
    weight_decay: optax.ScalarOrSchedule = 1e-3,
) -> optax.GradientTransformationExtraArgs:
    """Clipping in front, decoupled decay of matrices only."""
    return optax.chain(
        optax.clip(1.0),
        arsg_optax.arsg(
            learning_rate,
            b1,
            observation=observation,
            weight_decay=weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        ),
    )


_DECAY = {"weight_decay": 0.1}
_OBSERVED = ("learning_rate", "b1", "observation")
_RESILIENT = ("learning_rate", "b1", "resilience")

TABLE = (
    Row(
        name="rsg",
        factory=arsg_optax.rsg,
        arguments={"b1": 0.999, "observation": 0.1},
        learning_rate=0.5,
        targets={"parabola": 0.5, "rosenbrock": 2e-3, "matrix": 0.5, "mixed": 0.5},
        scheduled=_OBSERVED,
        offset=remote(0.999, 0.1),
        decay=_DECAY,
    ),
    Row(
        name="rsg-debias",
        factory=arsg_optax.rsg,
        arguments={"b1": 0.99, "observation": 0.1, "debias": True},
        learning_rate=0.1,
        targets={"parabola": 0.1, "rosenbrock": 1e-3, "matrix": 0.1, "mixed": 0.1},
        scheduled=_OBSERVED,
        offset=remote(0.99, 0.1),
        decay=_DECAY,
    ),
    Row(
        name="arsg",
        factory=arsg_optax.arsg,
        arguments={"b1": 0.999, "b2": 0.99, "eps": 1e-8, "observation": 0.1},
        learning_rate=0.05,
        targets={"parabola": 0.5, "rosenbrock": 0.02, "matrix": 0.5, "mixed": 0.5},
        scheduled=_OBSERVED,
        offset=remote(0.999, 0.1, 0.99, 1e-8),
        decay=_DECAY,
    ),
    Row(
        name="arsg-fine",
        factory=arsg_optax.arsg,
        arguments={"b1": 0.999, "b2": 0.99, "eps": 1e-3, "observation": 0.1},
        learning_rate=0.05,
        targets={"parabola": 0.5, "rosenbrock": 0.02, "matrix": 0.5, "mixed": 0.5},
        scheduled=_OBSERVED,
        offset=remote(0.999, 0.1, 0.99, 1e-3),
        decay=_DECAY,
    ),
    Row(
        name="arsg-bfloat16",
        factory=arsg_optax.arsg,
        arguments={
            "b1": 0.99,
            "observation": 0.1,
            "mu_dtype": jnp.bfloat16,
            "nu_dtype": jnp.bfloat16,
        },
        learning_rate=0.05,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "matrix": 0.1, "mixed": 0.1},
        scheduled=_OBSERVED,
        offset=remote(0.99, 0.1, 0.99, 1e-8),
        rounding=0.05,  # A few roundings to 8 bits.
        static=("mu_dtype", "nu_dtype"),  # A dtype is callable: not a schedule.
        decay=_DECAY,
    ),
    Row(
        name="namsg",
        factory=arsg_optax.namsg,
        arguments={"b1": 0.9, "b2": 0.99, "eps": 1e-8, "distance": 2.0},
        learning_rate=0.02,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "matrix": 0.1, "mixed": 0.1},
        scheduled=("learning_rate", "b1", "distance"),
        offset=remote(0.9, 2.0 * 0.1 / 0.9, 0.99, 1e-8),
        decay=_DECAY,
    ),
    Row(
        name="adarem",
        factory=arsg_optax.adarem,
        arguments={"b1": 0.9, "resilience": 0.999},
        learning_rate=0.1,
        targets={"parabola": 0.1, "rosenbrock": 5e-4, "matrix": 0.1, "mixed": 0.1},
        scheduled=_RESILIENT,
        offset=held,
        decay=_DECAY,
    ),
    Row(
        name="adarem-leaf",
        factory=arsg_optax.adarem,
        arguments={"b1": 0.9, "resilience": 0.9, "scope": "leaf"},
        learning_rate=0.1,
        targets={"parabola": 0.1, "rosenbrock": 5e-4, "matrix": 0.1, "mixed": 0.1},
        scheduled=_RESILIENT,
        offset=held,
        decay=_DECAY,
    ),
    Row(
        name="resilient-arsg",
        factory=resilient_arsg,
        arguments={"b1": 0.99, "observation": 0.1, "resilience": 0.5},
        learning_rate=0.05,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "matrix": 0.1, "mixed": 0.1},
        scheduled=(*_OBSERVED, "resilience"),
        offset=remote(0.99, 0.1, 0.99, 1e-8),
        skip={"decay": "the chain has no decay link"},
    ),
    Row(
        name="clipped-arsg",
        factory=clipped_arsg,
        arguments={"b1": 0.99, "observation": 0.1, "weight_decay": 1e-3},
        learning_rate=0.05,
        targets={"parabola": 0.1, "rosenbrock": 0.005, "matrix": 0.1, "mixed": 0.1},
        scheduled=_OBSERVED,
        offset=remote(0.99, 0.1, 0.99, 1e-8, clip=1.0),
        skip={
            "decay": "the decay is always on, and only for matrices",
            "errors_updates": "optax.clip comes first and has errors of its own",
        },
    ),
)


def rows(
    check: str, among: Callable[[Row], bool] = lambda row: True
) -> pytest.MarkDecorator:
    """Parametrises a test over the table, as `row`.

    Args:
      check: the name under which a row may give a reason to skip the test.
      among: which rows the check is about at all.
    """

    def marks(row: Row) -> list[pytest.MarkDecorator]:
        reason = row.skip.get(check)
        return [] if reason is None else [pytest.mark.skip(reason=reason)]

    params = [
        pytest.param(row, id=row.name, marks=marks(row)) for row in TABLE if among(row)
    ]
    return pytest.mark.parametrize("row", params)
