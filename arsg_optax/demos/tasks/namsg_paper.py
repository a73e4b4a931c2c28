"""The NAMSG paper's experiments, on the same networks with its own protocol.

The observation distance grows from 0.9 to 3.0 in the first epoch. The paper chose
step sizes by grids that it does not print; the one here is its suggested default.
"""

from dataclasses import replace

from arsg_optax.demos.tasks.arsg_paper import CIFAR10_RESNET20, MNIST_CNN
from arsg_optax.demos.tasks.settings import AtEpoch, Ramp, Settings
from arsg_optax.demos.tasks.small import MNIST_LOGREG

_OPTIONS = {"b1": 0.9, "b2": 0.99, "distance": Ramp(0.9, 3.0)}


def _presets(switch: int) -> dict[str, dict[str, Settings]]:
    switched = {**_OPTIONS, "switch_at": AtEpoch(switch)}
    settings = {
        "namsg": Settings(0.002, _OPTIONS),
        "swnts": Settings(0.002, switched),
        "adam": Settings(0.001, {"b1": 0.9, "b2": 0.99}),
        "nadam": Settings(0.001, {"b1": 0.9, "b2": 0.99}),
        "amsgrad": Settings(0.001, {"b1": 0.9, "b2": 0.99}),
        "sgd": Settings(0.1, {"momentum": 0.9}),
    }
    return {"fast": settings}


NAMSG_MNIST_LOGREG = replace(
    MNIST_LOGREG, name="namsg-mnist-logreg", presets=_presets(11), searched=()
)
NAMSG_MNIST_CNN = replace(MNIST_CNN, name="namsg-mnist-cnn", presets=_presets(6))
NAMSG_CIFAR10 = replace(
    CIFAR10_RESNET20,
    name="namsg-cifar10",
    epochs=75,
    presets=_presets(38),
)
