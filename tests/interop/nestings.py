"""Wrappings of Optax around an optimizer, and what the optimizer inside then sees."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from tests.interop.row import Row

Trees = list[Any]


def _as_they_are(trees: Trees) -> Trees:
    return trees


def _clipped(trees: Trees) -> Trees:
    return [jax.tree.map(lambda g: np.clip(g, -0.5, 0.5), each) for each in trees]


class Nesting(NamedTuple):
    """A way to wrap an optimizer of the table."""

    name: str
    wrap: Callable[[Row], optax.GradientTransformation]
    # Which gradients the optimizer inside is given.
    seen: Callable[[Trees], Trees] = _as_they_are
    # Leaf -> its learning rate in units of the row's; leaves left out see no optimizer.
    rates: Mapping[str, float] = {"b": 1.0, "w": 1.0}
    # Its lax.cond would compile anew at every call outside of jit.
    branches: bool = False


def _two_different(row: Row) -> optax.GradientTransformation:
    """Partitioned, each part with a step size of its own."""
    return optax.partition(
        {"one": row.make(), "two": row.make(learning_rate=3 * row.learning_rate)},
        {"b": "two", "w": "one"},
    )


def _everything(row: Row) -> optax.GradientTransformation:
    frozen = optax.partition(
        {"train": optax.chain(optax.clip(0.5), row.make()), "freeze": optax.sgd(0.0)},
        {"b": "freeze", "w": "train"},
    )
    return optax.chain(optax.identity(), optax.apply_if_finite(frozen, 3))


def _injected(row: Row) -> optax.GradientTransformation:
    factory = optax.inject_hyperparams(row.factory, static_args=row.static)
    return factory(**row.hyperparameters())


BARE = Nesting("bare", lambda row: row.make())
# Those around which `test_wrappers.py` looks at the iterate are not among them.
NESTINGS = (
    Nesting(
        "chain in chain",
        lambda row: optax.chain(
            optax.identity(), optax.chain(optax.identity(), row.make())
        ),
    ),
    Nesting(
        "named_chain",
        lambda row: optax.named_chain(
            ("nothing", optax.identity()), ("optimizer", row.make())
        ),
    ),
    Nesting("inject_hyperparams", _injected),
    Nesting(
        "masked",
        lambda row: optax.masked(row.make(), {"b": False, "w": True}),
        rates={"w": 1.0},
    ),
    Nesting("partition", _two_different, rates={"b": 3.0, "w": 1.0}),
    Nesting(
        "after clip",
        lambda row: optax.chain(optax.clip(0.5), row.make()),
        seen=_clipped,
    ),
    Nesting("everything", _everything, _clipped, {"w": 1.0}, branches=True),
)
