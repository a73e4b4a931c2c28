"""The options that `arsg train` and `arsg compare` have in common."""

from pathlib import Path
from typing import Annotated

from arsg_optax.demos.commands.shared import option
from arsg_optax.demos.tasks import TASKS
from arsg_optax.demos.tasks.task import DTYPES

TaskName = Annotated[str, option(f"What to train: {', '.join(TASKS)}.", "NAME")]
Preset = Annotated[
    str | None,
    option(
        "The protocol's settings: fast (eps 1e-8) or fine (eps 1e-3, larger steps), "
        "where the task has both (None: the task's first).",
        "NAME",
    ),
]
Epochs = Annotated[
    int | None,
    option(
        "Passes over the training set (None: the protocol's). The epochs at which the "
        "protocol decays or boosts stretch or shrink with it.",
        "N",
    ),
]
BatchSize = Annotated[
    int | None,
    option("Examples a step (None: the protocol's); for text, rows.", "N"),
]
Dtype = Annotated[
    str,
    option(
        f"Of the network's computation: {' or '.join(DTYPES)}; parameters and "
        "optimizer state are float32.",
        "NAME",
    ),
]
Examples = Annotated[
    int | None,
    option("Train on the first N examples (None: all); for text, tokens.", "N"),
]
DataDir = Annotated[
    Path | None,
    option(
        "Directory of data sets, e.g. with mnist/*.parquet in it (None: the one that "
        "the environment variable ARSG_DATA_DIR names, else the Hugging Face Hub).",
        "DIR",
    ),
]
