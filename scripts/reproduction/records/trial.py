"""One training run of an experiment, and the key under which its record is kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import check_dtype, check_seed
from arsg_optax.demos.tasks.settings import AtEpoch, Ramp, Settings

# Changed when the same trial would give other numbers than before.
PROTOCOL = 1

SCHEDULES = ("task", "cosine", "constant")

Option = float | int | Ramp | AtEpoch


@dataclass(frozen=True)
class Trial:
    """Everything that decides a run's numbers, and nothing else.

    Attributes:
        task: name.
        optimizer: name.
        learning_rate: in the sense of the optimizer's own function, per step.
        options: its other keyword arguments.
        epochs: passes over the training set.
        batch_size: examples a step.
        seed: of initial values, order and what is random in a step.
        examples: training examples, None for all.
        schedule: of the step size: the "task"'s, "cosine" to zero, or "constant".
        held_out: whether a part of the training set is kept back and takes the place
            of the test set, which then is not read.
        dtype: of the network's computation.
        generated: whether the data are noise made on the spot, a smoke test.
        l2: coefficient of L2 decay in the gradient, None for the task's.
    """

    task: str
    optimizer: str
    learning_rate: float
    epochs: int
    batch_size: int
    options: Mapping[str, Option] = field(default_factory=dict)
    seed: int = 0
    examples: int | None = None
    schedule: str = "task"
    held_out: bool = False
    dtype: str = "float32"
    generated: bool = False
    l2: float | None = None

    def __post_init__(self) -> None:
        # 1 and 1.0 are one configuration.
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(
                f"learning_rate must be positive and finite, got {self.learning_rate}"
            )
        for name in ("epochs", "batch_size", "examples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.schedule not in SCHEDULES:
            raise UsageError(
                f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}"
            )
        check_seed(self.seed)
        check_dtype(self.dtype)

    @property
    def settings(self) -> Settings:
        """What the optimizer is given."""
        return Settings(self.learning_rate, self.options)

    def holding_out(self) -> "Trial":
        """The same on a part of the training set, evaluated on the rest of it."""
        return replace(self, held_out=True)

    def key(self) -> str:
        """Twenty hexadecimal digits that no other trial shares."""
        held = encode(self)
        # Younger than the first records: left out at its default, keys stay.
        if held["l2"] is None:
            del held["l2"]
        text = json.dumps([PROTOCOL, held], sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def encode(trial: Trial) -> dict[str, Any]:
    """The trial as JSON writes it."""
    return {
        **asdict(trial),
        "options": {k: _plain(v) for k, v in trial.options.items()},
    }


def decode(held: Mapping[str, Any]) -> Trial:
    """The trial that :func:`encode` wrote.

    Raises:
        UsageError: if it is none.
    """
    known = {each.name for each in fields(Trial)}
    try:
        values = {name: held[name] for name in known - {"l2"}}
        values["l2"] = held.get("l2")
        options = {k: _option(v) for k, v in values.pop("options").items()}
        return Trial(options=options, **values)
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(
            f"no trial can be read from {dict(held)!r}: {error}"
        ) from error


def _plain(option: Option) -> Any:
    if isinstance(option, Ramp | AtEpoch):
        return {type(option).__name__: asdict(option)}
    return option


def _option(held: Any) -> Option:
    if isinstance(held, dict):
        ((kind, values),) = held.items()
        return {"Ramp": Ramp, "AtEpoch": AtEpoch}[kind](**values)
    return held
