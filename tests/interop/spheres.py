"""What the tests of the sphere's links share."""

import numpy as np
import optax

import arsg_optax

MASK = {"b": False, "w": True}
RATE, DECAY = 0.1, 0.2
slr, constrain = (
    arsg_optax.scale_by_sphere_learning_rate,
    arsg_optax.constrain_to_sphere,
)


def steps(optimizer, params, trees, **extra):
    """Parameters and state after the gradients."""
    state = optimizer.init(params)
    for each in trees:
        updates, state = optimizer.update(each, state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params, state


def norm(array):
    """In float64."""
    return np.linalg.norm(np.asarray(array, np.float64).ravel())
