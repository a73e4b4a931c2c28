"""What an optimizer is given on a task, in epochs of its protocol."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, get_args

import jax.numpy as jnp
import optax

from arsg_optax.schedules import falling_observation, log_time_momentum

# Steps are counted in int32, and numbers become float32.
MOST_STEPS, LARGEST = 2**31 - 1, 1e38


class Clock(NamedTuple):
    """How the epochs of a protocol become steps of a run.

    Attributes:
        steps_per_epoch: of the run.
        epochs: of the run.
        protocol_epochs: those the protocol counts in; a run of other length
            stretches or shrinks its times alike.
    """

    steps_per_epoch: int
    epochs: int
    protocol_epochs: int

    def step(self, passed: float) -> int:
        """The step, counted from 0, when so many epochs of the protocol are over."""
        share = passed / self.protocol_epochs
        return round(share * self.epochs * self.steps_per_epoch)


@dataclass(frozen=True)
class Ramp:
    """A hyper-parameter that changes linearly at the start, then stays.

    It is not stretched in a longer run, as it accompanies the optimizer's own start.

    Attributes:
        start: value at the first step.
        end: value once `epochs` are over.
        epochs: length of the change, in epochs.
    """

    start: float
    end: float
    epochs: int = 1

    def at(self, clock: Clock) -> optax.Schedule:
        """The ramp as an Optax schedule of the step count."""
        steps = min(self.epochs * clock.steps_per_epoch, MOST_STEPS)
        return optax.linear_schedule(self.start, self.end, steps)

    def __str__(self) -> str:
        epochs = "the first epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{self.start:g} to {self.end:g} over {epochs}"


@dataclass(frozen=True)
class AtEpoch:
    """An update to act at: the first of an epoch of the protocol.

    Attributes:
        epoch: counted from 1.
    """

    epoch: int

    def at(self, clock: Clock) -> int:
        """The update, counted from 0."""
        return clock.step(self.epoch - 1)

    def __str__(self) -> str:
        return f"epoch {self.epoch}"


@dataclass(frozen=True)
class LogTime:
    """A momentum that grows with the run, see :func:`arsg_optax.log_time_momentum`.

    Attributes:
        delta: as there.
    """

    delta: float

    def at(self, clock: Clock) -> optax.Schedule:
        """The momentum as a schedule of the step count, whatever the run's length."""
        del clock
        return log_time_momentum(self.delta)

    def __str__(self) -> str:
        return f"(t+1)/(t+1+{self.delta:g})"


@dataclass(frozen=True)
class Falling:
    """An observation that falls, see :func:`arsg_optax.falling_observation`.

    Attributes:
        power: as there.
    """

    power: float

    def at(self, clock: Clock) -> optax.Schedule:
        """The observation as a schedule of the step count, whatever the length."""
        del clock
        return falling_observation(self.power)

    def __str__(self) -> str:
        return f"1/(1+(t+2)^{self.power:g})"


Moving = Ramp | AtEpoch | LogTime | Falling
Option = float | int | Moving
_MOVING = {kind.__name__: kind for kind in get_args(Moving)}


def encode_option(option: Option) -> Any:
    """The option as JSON writes it."""
    if isinstance(option, Moving):
        return {type(option).__name__: asdict(option)}
    return option


def decode_option(held: Any) -> Option:
    """The option that :func:`encode_option` wrote; `ValueError` for anything else."""
    if isinstance(held, dict):
        ((kind, values),) = held.items()
        numbers = {name: _number(value) for name, value in values.items()}
        return _MOVING[kind](**numbers)
    return _number(held)


def _number(held: Any) -> float:
    if not isinstance(held, int | float) or abs(held) > LARGEST:
        raise ValueError(held)
    return held


@dataclass(frozen=True)
class Settings:
    """What an optimizer is given on a task.

    Attributes:
        learning_rate: step size, as the optimizer's own function takes it.
        options: its other keyword arguments; what is not named keeps its default.
        schedule: of the step size, by a name that `--schedule` takes.
    """

    learning_rate: float
    options: Mapping[str, Option] = field(default_factory=dict)
    schedule: str = "task"

    def described(self) -> str:
        """The options, readable."""
        return ", ".join(f"{name} {value}" for name, value in self.options.items())

    def keywords(self, clock: Clock) -> dict[str, Any]:
        """The options, with what moves made schedules, and epochs counts of steps."""
        return {
            name: value.at(clock) if isinstance(value, Moving) else value
            for name, value in self.options.items()
        }


class Constant(NamedTuple):
    """A step size that stays."""

    def of(self, rate: Any, clock: Clock) -> Any:
        """The rate itself."""
        del clock
        return rate

    def __str__(self) -> str:
        return "constant"


class Drops(NamedTuple):
    """A step size that is multiplied by a factor several times.

    Attributes:
        after: epochs of the protocol that are over then, increasing.
        factor: by what.
    """

    after: tuple[float, ...]
    factor: float

    def of(self, rate: Any, clock: Clock) -> optax.Schedule:
        """An Optax schedule."""
        scales: dict[int, float] = {}
        for passed in self.after:
            # In a short run several may fall on one step.
            step = clock.step(passed)
            scales[step] = self.factor * scales.get(step, 1.0)
        return optax.piecewise_constant_schedule(rate, scales)

    def __str__(self) -> str:
        times = ", ".join(f"{passed:.4g}" for passed in self.after)
        return f"times {self.factor:g} after {times} epochs"


class Cosine(NamedTuple):
    """A step size that falls to zero along half a cosine."""

    def of(self, rate: Any, clock: Clock) -> optax.Schedule:
        """An Optax schedule."""
        return optax.cosine_decay_schedule(rate, clock.epochs * clock.steps_per_epoch)

    def __str__(self) -> str:
        return "cosine to zero"


class Linear(NamedTuple):
    """A step size that stays for a share of the steps, and then falls to zero.

    Attributes:
        stable: the share, at least 0 and below 1.
    """

    stable: float = 0.0

    def of(self, rate: Any, clock: Clock) -> Callable[[Any], Any]:
        """An Optax schedule."""
        steps = clock.epochs * clock.steps_per_epoch

        def schedule(count: Any) -> Any:
            left = 1 - jnp.minimum(count, steps) / jnp.float32(steps)
            return rate * jnp.minimum(1, left / (1 - self.stable))

        return schedule

    def __str__(self) -> str:
        start = f"constant for {self.stable:.0%}, then " if self.stable else ""
        return f"{start}linear to zero"


class WarmUp(NamedTuple):
    """A schedule whose first steps are smaller, growing linearly.

    Attributes:
        share: of all steps, above 0 and at most 1.
        then: the schedule that is multiplied.
    """

    share: float
    then: "Constant | Drops | Cosine | Linear"

    def of(self, rate: Any, clock: Clock) -> Callable[[Any], Any]:
        """An Optax schedule."""
        steps = max(1, round(self.share * clock.epochs * clock.steps_per_epoch))
        then: Any = self.then.of(rate, clock)

        def schedule(count: Any) -> Any:
            whole: Any = then(count) if callable(then) else then
            return whole * jnp.minimum(1, (count + 1) / jnp.float32(steps))

        return schedule

    def __str__(self) -> str:
        return f"{self.share:.0%} warm-up, {self.then}"


Schedule = Constant | Drops | Cosine | Linear | WarmUp
