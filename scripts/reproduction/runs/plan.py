"""What an experiment still has to run, and how long that takes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import RunRecord
from arsg_optax.demos.tasks.settings import Settings
from scripts.reproduction.experiments.entrants import (
    KINDS,
    SEARCHED,
    Entrant,
    Experiment,
    Size,
)
from scripts.reproduction.runs.selection import choosable, choose
from scripts.reproduction.store import Store


class Usual(NamedTuple):
    """An epoch of a task on two CPU cores.

    Attributes:
        examples: images or tokens.
        seconds: with evaluation.
        evaluation: of these, what fewer examples do not shorten.
    """

    examples: int
    seconds: float
    evaluation: float = 0.0


_CNN, _RESNET = Usual(60_000, 40.0), Usual(50_000, 170.0, 20.0)
USUAL_EPOCHS: Mapping[str, Usual] = {
    "mnist-logreg": Usual(60_000, 0.2),
    "namsg-mnist-logreg": Usual(60_000, 0.2),
    "mnist-cnn": _CNN,
    "wikitext2-lstm": Usual(2_088_628, 1100.0, 75.0),
    "namsg-mnist-cnn": _CNN,
    "cifar10-resnet20": _RESNET,
    "namsg-cifar10": _RESNET,
}


class Plan(NamedTuple):
    """The runs of an experiment.

    Attributes:
        first: of fixed settings and of candidates, each once.
        later: how many the choices among candidates will add at most.
        cached: how many of `first` are recorded.
        hours: what the others and `later` take, from the records' seconds an epoch;
            or a usual one; None where neither is known.
    """

    first: tuple[RunConfig, ...]
    later: int
    cached: int
    hours: float | None


def make_plan(experiment: Experiment, size: Size, store: Store) -> Plan:
    """Looks up what is recorded; runs nothing."""
    first = first_trials(experiment, size)
    missing = [trial for trial in first if store.find(trial) is None]
    later: list[RunConfig] = []
    for entrant in experiment.entrants:
        for kind in SEARCHED:
            if not (size.searches and (known := entrant.searched.get(kind))):
                continue
            chosen = setting_of(experiment, entrant, kind, size, store)
            # Until it is known, a chosen setting runs as long as another of its grid.
            guess = known[0] if chosen is None else chosen
            later += experiment.every_length(entrant, guess, kind, size)
    planned = {trial.key() for trial in first}
    open_later = [
        trial
        for trial in _once(later)
        if trial.key() not in planned and store.find(trial) is None
    ]
    seconds = _seconds(missing + open_later, store.records())
    hours = None if seconds is None else seconds / 3600
    return Plan(tuple(first), len(open_later), len(first) - len(missing), hours)


def first_trials(experiment: Experiment, size: Size) -> list[RunConfig]:
    """Fixed settings with all seeds, seed by seed, then candidates; each once."""
    fixed = [
        experiment.repeated(entrant, settings, kind, size)
        for entrant in experiment.entrants
        for kind, settings in entrant.fixed.items()
    ]
    longest = max(map(len, fixed), default=0)
    by_seed = [runs[n] for n in range(longest) for runs in fixed if n < len(runs)]
    candidates = [
        trial
        for kind in SEARCHED
        for entrant in experiment.entrants
        for trial in experiment.candidates(entrant, kind, size)
    ]
    return _once(by_seed + candidates)


def later_trials(experiment: Experiment, size: Size, store: Store) -> list[RunConfig]:
    """All seeds of what was chosen so far."""
    found = []
    for entrant in experiment.entrants:
        for kind in SEARCHED:
            settings = setting_of(experiment, entrant, kind, size, store)
            if settings is not None:
                found += experiment.every_length(entrant, settings, kind, size)
    return _once(found)


def known_trials(experiment: Experiment, size: Size, store: Store) -> list[RunConfig]:
    """Both: all that is known so far to belong to the experiment."""
    first = first_trials(experiment, size)
    return _once(first + later_trials(experiment, size, store))


def setting_of(
    experiment: Experiment, entrant: Entrant, kind: str, size: Size, store: Store
) -> Settings | None:
    """A setting of a kind.

    None if the method has none, if its candidates are not all recorded yet, or if all
    of them diverged. A single candidate needs no record.
    """
    if kind not in SEARCHED:
        return entrant.fixed.get(kind)
    if size.searches and len(known := entrant.searched.get(kind, ())) == 1:
        return known[0]
    trials = experiment.candidates(entrant, kind, size)
    records = [store.find(trial) for trial in trials]
    known = (record for record in records if record is not None)
    runs = [choosable(record, experiment.at_x) for record in known]
    if not runs or len(runs) < len(trials):
        return None
    chosen = choose(runs)
    return None if chosen is None else chosen.settings


def reported_trials(
    experiment: Experiment, entrant: Entrant, kind: str, size: Size, store: Store
) -> list[RunConfig]:
    """The runs of a method with a setting of that kind; none if there is none yet."""
    settings = setting_of(experiment, entrant, kind, size, store)
    if settings is None:
        return []
    return experiment.repeated(entrant, settings, kind, size)


def is_at_edge(entrant: Entrant, kind: str, settings: Settings) -> bool:
    """Whether a step size is the smallest or the largest of its candidates."""
    steps = {_step(each) for each in entrant.searched.get(kind, ())}
    return len(steps) > 1 and _step(settings) in (min(steps), max(steps))


def _step(settings: Settings) -> float:
    """The step of SGD's mean gradient; of Prodigy the factor of its own estimate."""
    momentum, factor = (
        float(str(settings.options.get(name, default)))
        for name, default in (("momentum", 0.0), ("estim_lr_coef", 1.0))
    )
    return float(f"{settings.learning_rate * factor / (1 - momentum):.6g}")


def kinds_of(experiment: Experiment) -> list[str]:
    """The kinds of settings that some entrant has."""
    has = {
        kind for each in experiment.entrants for kind in (*each.fixed, *each.searched)
    }
    return [kind for kind in KINDS if kind in has]


def _once(trials: Iterable[RunConfig]) -> list[RunConfig]:
    return list({trial.key(): trial for trial in trials}.values())


def _seconds(trials: Sequence[RunConfig], records: Sequence[RunRecord]) -> float | None:
    """From the median time of an epoch on the same data, of whichever optimizer.

    Where none is recorded, from what an epoch took on two CPU cores.
    """
    total = 0.0
    for trial in trials:
        epochs = [
            record.seconds / len(record.epochs)
            for record in records
            if record.outcome == "finished"
            and record.config.task == trial.task
            and record.config.examples == trial.examples
            and record.config.kept_preset() == trial.kept_preset()
        ]
        epoch = float(np.median(epochs)) if epochs else _usual_seconds(trial)
        if epoch is None:
            return None
        total += epoch * (trial.epochs or 0)
    return total


def _usual_seconds(trial: RunConfig) -> float | None:
    if trial.task not in USUAL_EPOCHS:
        return None
    usual = USUAL_EPOCHS[trial.task]
    share = (trial.examples or usual.examples) / usual.examples
    return usual.evaluation + share * (usual.seconds - usual.evaluation)
