"""The tasks: data, a model, a protocol, and settings for every optimizer."""

from collections.abc import Mapping

from arsg_optax.demos.errors import find_named
from arsg_optax.demos.tasks.adarem_paper import ADAREM_IMAGENET, PTB_LSTM
from arsg_optax.demos.tasks.arsg_paper import (
    CIFAR10_RESNET20,
    IMAGENET_RESNET50,
    MNIST_CNN,
    WIKITEXT2_LSTM,
)
from arsg_optax.demos.tasks.namsg_paper import (
    NAMSG_CIFAR10,
    NAMSG_MNIST_CNN,
    NAMSG_MNIST_LOGREG,
)
from arsg_optax.demos.tasks.settings import AtEpoch, Ramp, Settings
from arsg_optax.demos.tasks.small import DIGITS_MLP, MNIST_LOGREG
from arsg_optax.demos.tasks.task import Setup, Task
from arsg_optax.demos.tasks.transformers import (
    CIFAR10_VIT,
    PYTHON_TRANSFORMER,
    WIKITEXT2_TRANSFORMER,
)

__all__ = ["TASKS", "AtEpoch", "Ramp", "Settings", "Setup", "Task", "find_task"]

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        DIGITS_MLP,
        MNIST_LOGREG,
        MNIST_CNN,
        WIKITEXT2_LSTM,
        CIFAR10_RESNET20,
        IMAGENET_RESNET50,
        NAMSG_MNIST_LOGREG,
        NAMSG_MNIST_CNN,
        NAMSG_CIFAR10,
        *ADAREM_IMAGENET,
        PTB_LSTM,
        PYTHON_TRANSFORMER,
        WIKITEXT2_TRANSFORMER,
        CIFAR10_VIT,
    )
}


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: if there is none; it lists those that there are.
    """
    return find_named(TASKS, "task", name)
