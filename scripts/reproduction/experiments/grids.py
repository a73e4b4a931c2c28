"""Candidates for settings: the papers' grids, and as many for every method.

SGD in the papers moves by a mean of gradients, `optax.sgd` by a sum, so its step sizes
are multiplied by one minus the momentum.
"""

import itertools

from arsg_optax.demos.tasks.settings import Settings

_ADAPTIVE = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
_RANGER = (*_ADAPTIVE, 0.05)
# Of ARSG and ARSGB on every task.
ARSG_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
# Of networks of images and logistic regression; WikiText-2 has its own.
IMAGE_STEPS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
TEXT_STEPS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
# Of a recommended step size, where a method's authors give one.
FACTORS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
# The other methods get as many: their grids and what follows, so that of ten few end
# at an edge.
TEN_ADAPTIVE = (*_ADAPTIVE, 0.05, 0.1, 0.2, 0.5)
TEN_ARSG = (*ARSG_STEPS, 0.2, 0.5, 1.0)
TEN_IMAGE = (*IMAGE_STEPS, 20.0, 50.0)
TEN_TEXT = (*TEXT_STEPS, 500.0, 1000.0, 2000.0)

Grid = tuple[Settings, ...]


def sgd(
    steps: tuple[float, ...], momenta: tuple[float, ...] = (0.0, 0.9, 0.99, 0.999)
) -> Grid:
    """Step sizes of the mean, and momenta."""
    return tuple(
        Settings(step * (1 - momentum), {"momentum": momentum})
        for step, momentum in itertools.product(steps, momenta)
    )


def adaptive(
    b1s: tuple[float, ...] = (0.0, 0.9, 0.99, 0.999),
    b2s: tuple[float, ...] = (0.99, 0.999),
    steps: tuple[float, ...] = _ADAPTIVE,
) -> Grid:
    """The grid of Adam and AMSGrad; NAdam leaves the decay 0 out."""
    return tuple(
        Settings(step, {"b1": b1, "b2": b2})
        for step, b1, b2 in itertools.product(steps, b1s, b2s)
    )


def ranger(
    b1s: tuple[float, ...] = (0.9, 0.95, 0.99, 0.999),
    slow_steps: tuple[float, ...] = (0.2, 0.5, 0.8),
    steps: tuple[float, ...] = _RANGER,
) -> Grid:
    """The grid of RAdam inside lookahead, five fast steps to a slow one."""
    return tuple(
        Settings(
            step, {"b1": b1, "b2": 0.999, "sync_period": 5, "slow_step_size": slow}
        )
        for step, b1, slow in itertools.product(steps, b1s, slow_steps)
    )


def adaptive_steps() -> Grid:
    """Ten step sizes of Adam, NAdam or AMSGrad at their defaults."""
    return adaptive((0.9,), (0.999,), TEN_ADAPTIVE)


def ranger_steps() -> Grid:
    """Ten step sizes of Ranger at its own author's decay 0.95 and slow step 0.5."""
    return ranger((0.95,), (0.5,), TEN_ADAPTIVE)


def namsg_paper(selected: Settings) -> Grid:
    """Step sizes and two decays of squares; the paper prints no step sizes."""
    return tuple(
        Settings(step, {**selected.options, "b2": b2})
        for step, b2 in itertools.product(_ADAPTIVE, (0.99, 0.999))
    )


def steps_only(selected: Settings, steps: tuple[float, ...]) -> Grid:
    """Step sizes, all else as selected."""
    return tuple(Settings(step, selected.options) for step in steps)


def around(selected: Settings) -> Grid:
    """Ten multiples of a recommended step size."""
    return tuple(
        Settings(selected.learning_rate * factor, selected.options)
        for factor in FACTORS
    )
