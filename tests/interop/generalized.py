"""Generalized ARSG with each of the other second moments, as rows of the table."""

import optax

import arsg_optax


def adam_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    observation: optax.ScalarOrSchedule = 0.1,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: optax.ScalarOrSchedule = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Generalized ARSG as released."""
    return arsg_optax.arsg(
        learning_rate,
        b1,
        observation=observation,
        preconditioner=arsg_optax.scale_by_adam_rms(b2, eps),
        debias=True,
        weight_decay=weight_decay,
    )


def rectified_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    observation: optax.ScalarOrSchedule = 0.1,
    b2: float = 0.999,
    threshold: float = 5.0,
    weight_decay: optax.ScalarOrSchedule = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Generalized ARSG with RAdam's second moment."""
    return arsg_optax.arsg(
        learning_rate,
        b1,
        observation=observation,
        preconditioner=arsg_optax.scale_by_rectified_rms(b2, threshold=threshold),
        debias=True,
        weight_decay=weight_decay,
    )


def softplus_arsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.99,
    observation: optax.ScalarOrSchedule = 0.1,
    b2: float = 0.999,
    sharpness: float = 50.0,
    weight_decay: optax.ScalarOrSchedule = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Generalized ARSG with SAdam's second moment."""
    return arsg_optax.arsg(
        learning_rate,
        b1,
        observation=observation,
        preconditioner=arsg_optax.scale_by_softplus_rms(b2, sharpness=sharpness),
        debias=False,
        weight_decay=weight_decay,
    )
