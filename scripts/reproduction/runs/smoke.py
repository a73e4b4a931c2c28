"""Data made on the spot, for experiments whose real data are not at hand.

Runs on them try the code and nothing else: their records say so.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.generated import write_generated_folder
from arsg_optax.demos.imagenet import NAME, load_imagenet
from arsg_optax.demos.tasks import Task
from arsg_optax.demos.tasks.kinds import Text
from arsg_optax.demos.tasks.streams import StreamedImages
from arsg_optax.demos.text import TextSet, encode

_IMAGES = {"classes": 4, "images_per_class": 8, "validation_per_class": 4}
_WORDS, _LINES, _LINE = 50, 120, 12


def generated_data(task: Task) -> Any:
    """Generated data of the task's kind, the same each time.

    Raises:
        UsageError: if the kind has none.
    """
    if isinstance(task.kind, Text):
        return _text()
    if isinstance(task.kind, StreamedImages):
        return _images()
    raise UsageError(f"no data are generated for {task.name}; its real data are needed")


@cache
def _folder() -> TemporaryDirectory[str]:
    # Held until the process ends, as its workers read from it.
    directory: TemporaryDirectory[str] = TemporaryDirectory(prefix="arsg-generated-")
    write_generated_folder(Path(directory.name) / NAME, **_IMAGES)
    return directory


def _images() -> Any:
    return load_imagenet(Path(_folder().name))


def _text() -> TextSet:
    random = np.random.default_rng(0)

    def lines(count: int) -> list[str]:
        words = random.geometric(0.1, (count, _LINE)) % _WORDS
        return [" ".join(f"w{word}" for word in line) for line in words]

    return encode(
        {"train": lines(8 * _LINES), "validation": lines(_LINES), "test": lines(_LINES)}
    )
