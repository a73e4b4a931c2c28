"""Chains that users build themselves from the links, as rows of the table."""

from typing import Any

import jax
import optax

import arsg_optax


def matrices(params: optax.Params) -> Any:
    """A mask of the arrays that most often have a normalisation behind them."""
    return jax.tree.map(lambda param: param.ndim > 1, params)


def two_point_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    distance: optax.ScalarOrSchedule = 9.0,
    weight_decay: optax.ScalarOrSchedule = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """ARSG in its exact two-point form."""
    inner = arsg_optax.arsg(
        learning_rate, b1, observation=0.0, weight_decay=weight_decay
    )
    return arsg_optax.observe_remotely(inner, distance)


def averaged_sgd(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.9,
    observation: optax.ScalarOrSchedule = 0.3,
) -> optax.GradientTransformationExtraArgs:
    """SGD, averaged remotely: generalized primal averaging."""
    sgd = arsg_optax.rsg(learning_rate, b1=0.0, observation=0.0)
    return arsg_optax.average_remotely(sgd, b1, observation)


def sphered_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    observation: optax.ScalarOrSchedule = 0.1,
    axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """ARSG whose matrices stay on one sphere."""
    return optax.chain(
        arsg_optax.arsg(learning_rate, b1, observation=observation),
        arsg_optax.constrain_to_sphere(
            scope="tree", mask=matrices, axis_name=axis_name
        ),
    )


def boxed_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    observation: optax.ScalarOrSchedule = 0.1,
    weight_decay: optax.ScalarOrSchedule = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """ARSG in a box around the targets, on whose boundary one of them lies."""
    inner = arsg_optax.arsg(
        learning_rate, b1, observation=observation, weight_decay=weight_decay
    )
    return arsg_optax.project(inner, arsg_optax.Box(-4.0, 4.0))


def resilient_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    observation: optax.ScalarOrSchedule = 0.1,
    resilience: optax.ScalarOrSchedule = 0.5,
    axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """A user's own mixture of all the links."""
    return arsg_optax.remote_chain(
        arsg_optax.scale_by_nonincreasing_rms(0.99),
        arsg_optax.scale_by_resilience(0.9, resilience, axis_name=axis_name),
        learning_rate=learning_rate,
        b1=b1,
        observation=observation,
    )


def resilient_exact(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    distance: optax.ScalarOrSchedule = 9.9,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The exact form with a link that it cannot recompute."""
    return arsg_optax.remote_chain(
        arsg_optax.scale_by_resilience(scope="leaf", axis_name=axis_name),
        learning_rate=learning_rate,
        b1=b1,
        observation=None,
        distance=distance,
        weight_decay=weight_decay,
        exact=True,
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
