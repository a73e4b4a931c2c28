"""The optimizers that every interoperability test runs: one row an optimizer.

A new optimizer is tested by adding a row. Whatever a test must know about it stands in
the row: step sizes, extra arguments, expected values, and reasons to skip a check.
"""

from collections.abc import Callable

import jax.numpy as jnp
import pytest

import arsg_optax
from tests.interop import offsets
from tests.interop.chains import (
    averaged_sgd,
    boxed_arsg,
    clipped_arsg,
    matrices,
    resilient_arsg,
    resilient_exact,
    sphered_arsg,
    two_point_arsg,
)
from tests.interop.generalized import adam_arsg
from tests.interop.offsets import held, remote, remote_over
from tests.interop.row import Row

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
        name="rsg-exact",
        like="arsg-exact",
        factory=arsg_optax.rsg,
        arguments={"b1": 0.99, "observation": 0.1, "exact": True},
        learning_rate=0.5,
        targets={"parabola": 0.1, "rosenbrock": 1e-3, "matrix": 0.1, "mixed": 0.1},
        scheduled=_OBSERVED,
        offset=remote(0.99, 0.1),
        decay=_DECAY,
    ),
    Row(
        name="arsg-exact",
        factory=arsg_optax.arsg,
        arguments={
            "b1": 0.99,
            "b2": 0.99,
            "eps": 1e-8,
            "observation": 0.1,
            "exact": True,
        },
        learning_rate=0.05,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "matrix": 0.1, "mixed": 0.1},
        scheduled=_OBSERVED,
        offset=remote(0.99, 0.1, 0.99, 1e-8),
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
        name="arsg-adam",
        like="arsg",
        factory=adam_arsg,
        arguments={"b1": 0.99, "observation": 0.1, "b2": 0.999, "eps": 1e-8},
        learning_rate=0.05,
        targets={"parabola": 0.05, "rosenbrock": 0.01, "matrix": 0.05, "mixed": 0.05},
        scheduled=_OBSERVED,
        offset=remote_over(0.99, 0.1, 0.999, offsets.adam(0.999, 1e-8)),
        decay=_DECAY,
    ),
    Row(
        name="namsg",
        like="arsg",
        factory=arsg_optax.namsg,
        arguments={"b1": 0.9, "b2": 0.99, "eps": 1e-8, "distance": 2.0},
        learning_rate=0.02,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "matrix": 0.1, "mixed": 0.1},
        scheduled=("learning_rate", "b1", "distance"),
        offset=remote(0.9, 2.0 * 0.1 / 0.9, 0.99, 1e-8),
        decay=_DECAY,
    ),
    Row(
        name="arsgb",
        factory=arsg_optax.arsgb,
        arguments={"b1": 0.99, "observation": 0.05},
        learning_rate=0.1,
        targets={"parabola": 0.1, "rosenbrock": 0.04, "matrix": 0.1, "mixed": 0.1},
        scheduled=_OBSERVED,
        offset=remote(0.99, 0.05, 0.99, 1e-8),
        decay=_DECAY,
        extra_args=lambda value: {"value": value},
        skip={
            "linen": "TrainState.apply_gradients does not forward value=",
            "lookahead": "optax.lookahead does not forward value=",
        },
    ),
    Row(
        name="arsgb-at",
        like="arsgb",
        factory=arsg_optax.arsgb,
        arguments={"b1": 0.99, "observation": 0.05, "boost_at": 3},
        learning_rate=0.1,
        targets={"parabola": 0.4, "rosenbrock": 0.1, "matrix": 0.4, "mixed": 0.4},
        scheduled=_OBSERVED,
        offset=offsets.boosted(0.99, 0.05, 0.99, 1e-8, boost_at=3),
        decay=_DECAY,
    ),
    Row(
        name="swnts",
        factory=arsg_optax.swnts,
        arguments={"b1": 0.9, "distance": 2.0, "switch_at": 6000},
        learning_rate=0.02,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "matrix": 0.1, "mixed": 0.1},
        scheduled=("learning_rate", "b1", "distance"),
        offset=remote(0.9, 2.0 * 0.1 / 0.9, 0.99, 1e-8),
        decay=_DECAY,
    ),
    Row(
        name="swnts-switched",
        factory=arsg_optax.swnts,
        arguments={"b1": 0.9, "distance": 2.0, "switch_at": 1},
        learning_rate=0.02,
        targets={"parabola": 0.1, "rosenbrock": 2e-4, "matrix": 0.1, "mixed": 0.1},
        scheduled=("learning_rate", "b1", "distance"),
        offset=remote(0.9, 2.0 * 0.1 / 0.9, 0.99, 1e-8),
        decay=_DECAY,
        skip={
            "eval_params": "its constant depends on all leaves, see test_switch.py",
            "lookahead": "for its iterate, as above",
        },
    ),
    Row(
        name="two-point-arsg",
        factory=two_point_arsg,
        arguments={"b1": 0.99, "distance": 9.9},
        learning_rate=0.05,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "matrix": 0.1, "mixed": 0.1},
        scheduled=("learning_rate", "b1", "distance"),
        offset=remote(0.99, 0.1, 0.99, 1e-8),
        decay=_DECAY,
    ),
    Row(
        name="resilient-exact",
        factory=resilient_exact,
        arguments={"b1": 0.99, "distance": 9.9},
        learning_rate=0.1,
        targets={"parabola": 0.1, "rosenbrock": 5e-4, "matrix": 0.1, "mixed": 0.1},
        scheduled=("learning_rate", "b1", "distance"),
        offset=held,  # Its u is in the state: tests/test_exact.py.
        decay=_DECAY,
        skip={
            "eval_params": "its factors depend on all leaves, see test_exact.py",
            "lookahead": "for its iterate, as above",
        },
    ),
    Row(
        name="orsg",
        factory=arsg_optax.orsg,
        arguments={"b1": 0.9, "observation": 0.2, "b2": 0.999, "eps": 1e-8},
        learning_rate=0.02,
        targets={"parabola": 0.05, "rosenbrock": 0.01, "matrix": 0.01, "mixed": 0.01},
        scheduled=_OBSERVED,
        offset=offsets.beside_matrices(
            remote_over(0.9, 0.2, 0.999, offsets.adam(0.999, 1e-8))
        ),
        decay=_DECAY,
        skip={
            "gathered": "the product of a split matrix with itself moves it",
            "metrics": "it is two optimizers, whose metrics have prefixes",
            "map_params": "Optax maps no state of partition, nor of its own muon",
        },
    ),
    Row(
        name="averaged-sgd",
        factory=averaged_sgd,
        arguments={"b1": 0.9, "observation": 0.3},
        learning_rate=0.1,
        targets={"parabola": 0.1, "rosenbrock": 1e-3, "matrix": 0.1, "mixed": 0.1},
        scheduled=_OBSERVED,
        offset=offsets.averaged(0.9, 0.3),
        skip={
            "decay": "it is the inner optimizer's",
            "abstract": "its state begins with the parameters themselves",
        },
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
        like="adarem",
        factory=arsg_optax.adarem,
        arguments={"b1": 0.9, "resilience": 0.9, "scope": "leaf"},
        learning_rate=0.1,
        targets={"parabola": 0.1, "rosenbrock": 5e-4, "matrix": 0.1, "mixed": 0.1},
        scheduled=_RESILIENT,
        offset=held,
        decay=_DECAY,
    ),
    Row(
        name="adarem_s",
        factory=arsg_optax.adarem_s,
        arguments={"b1": 0.9, "resilience": 0.999, "sphere_mask": matrices},
        learning_rate=0.1,
        targets={"parabola": 0.1, "rosenbrock": 5e-4, "direction": 0.1, "half": 0.1},
        scheduled=_RESILIENT,
        offset=held,
        static=("sphere_mask",),
        decay=_DECAY,
        skip={"decay": "on a sphere it shrinks nothing; see test_sphere_links.py"},
    ),
    Row(
        name="sphered-arsg",
        factory=sphered_arsg,
        arguments={"b1": 0.99, "observation": 0.1},
        learning_rate=0.05,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "direction": 0.1, "half": 0.1},
        scheduled=_OBSERVED,
        offset=remote(0.99, 0.1, 0.99, 1e-8),
        onto=offsets.rescaled_matrix,
        skip={"decay": "the chain has no decay link"},
    ),
    Row(
        name="boxed-arsg",
        factory=boxed_arsg,
        arguments={"b1": 0.99, "observation": 0.1},
        learning_rate=0.05,
        targets={"parabola": 0.1, "rosenbrock": 0.02, "matrix": 0.1, "mixed": 0.1},
        scheduled=_OBSERVED,
        offset=remote(0.99, 0.1, 0.99, 1e-8),
        decay=_DECAY,
    ),
    Row(
        name="resilient-arsg",
        like="adarem",
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


def distinct(row: Row) -> bool:
    """Whether no other row calls JAX and Optax as this one does."""
    return not row.like


def everyone(row: Row) -> bool:
    """For checks of values, in which rows that are alike differ."""
    del row
    return True


def rows(check: str, among: Callable[[Row], bool] = distinct) -> pytest.MarkDecorator:
    """Parametrises a test over the table, as `row`.

    Args:
      check: the name under which a row may give a reason to skip the test.
      among: which rows the check is about at all.
    """
    params = [
        pytest.param(row, id=row.name, marks=_marks(row, check))
        for row in TABLE
        if among(row)
    ]
    return pytest.mark.parametrize("row", params)


def rows_and_targets(check: str) -> pytest.MarkDecorator:
    """Parametrises a test over the table and each row's targets, as `row`, `name`."""
    params = [
        pytest.param(row, name, id=f"{row.name}-{name}", marks=_marks(row, check))
        for row in TABLE
        for name in row.targets
    ]
    return pytest.mark.parametrize(("row", "name"), params)


def _marks(row: Row, check: str) -> list[pytest.MarkDecorator]:
    reason = row.skip.get(check)
    return [] if reason is None else [pytest.mark.skip(reason=reason)]
