"""What the records say of an experiment: each method with each kind of setting."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from arsg_optax.demos.report.summary import first_crossing
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import Epoch, RunRecord
from scripts.reproduction.experiments.entrants import Experiment, Size
from scripts.reproduction.experiments.recipes import find_method
from scripts.reproduction.findings.statistics import (
    Estimate,
    epochs_to,
    estimate,
    paired,
)
from scripts.reproduction.runs.plan import (
    is_at_edge,
    kinds_of,
    reported_trials,
)
from scripts.reproduction.runs.selection import reported
from scripts.reproduction.store import Store


class Result(NamedTuple):
    """A method with one setting.

    Attributes:
        label: of the method.
        kind: where the setting comes from.
        config: of one of its runs.
        edge: whether its step is the smallest or largest of the candidates.
        runs: how many it has, recorded or not.
        records: the finished runs and those that diverged, by seed.
        shorter: records of shorter runs, by their share of the length and by seed.
    """

    label: str
    kind: str
    config: RunConfig
    edge: bool
    runs: int
    records: Mapping[int, RunRecord]
    shorter: Mapping[float, Mapping[int, RunRecord]] = {}

    @property
    def ours(self) -> bool:
        """Whether the method is this package's."""
        return not find_method(self.config.optimizer).baseline

    @property
    def has_own_point(self) -> bool:
        """Whether it is evaluated elsewhere than where gradients are taken."""
        return find_method(self.config.optimizer).points.own_point is not None

    @property
    def complete(self) -> bool:
        """Whether all its runs are recorded, shorter ones too."""
        lengths = (self.records, *self.shorter.values())
        return all(len(records) == self.runs for records in lengths)

    @property
    def sound(self) -> bool:
        """Whether none of its runs diverged."""
        return len(self.finished) == len(self.records)

    @property
    def seeds(self) -> str:
        """How many of its runs finished, diverged and are missing."""
        diverged = len(self.records) - len(self.finished)
        missing = self.runs - len(self.records)
        text = f"{len(self.finished)} of {self.runs}"
        text += f", {diverged} diverged" if diverged else ""
        return text + (f", {missing} not run" if missing else "")

    @property
    def finished(self) -> Mapping[int, RunRecord]:
        """The records of runs that did not diverge, by seed."""
        return {s: r for s, r in self.records.items() if r.outcome == "finished"}

    def values(self, number: Callable[[tuple[Epoch, ...]], float]) -> list[float]:
        """A number of each finished run, in the order of the seeds."""
        return [number(record.epochs) for record in self.finished.values()]


def final_loss(epochs: tuple[Epoch, ...]) -> float:
    """Mean minibatch loss of the last epoch."""
    return epochs[-1].train_loss


def final_whole_loss(epochs: tuple[Epoch, ...]) -> float:
    """After the last epoch over training examples, at the own point.

    Of large sets these are the first ones, as the task has it.
    """
    return epochs[-1].whole_train_loss_x


def best_loss_y(epochs: tuple[Epoch, ...]) -> float:
    """Smallest validation loss over epochs, where gradients are taken."""
    return min(epoch.test_loss_y for epoch in epochs)


def best_loss_x(epochs: tuple[Epoch, ...]) -> float:
    """The same at the own point."""
    return min(epoch.test_loss_x for epoch in epochs)


def final_test_loss_y(epochs: tuple[Epoch, ...]) -> float:
    """Validation loss after the last epoch, where gradients are taken."""
    return epochs[-1].test_loss_y


def final_test_loss_x(epochs: tuple[Epoch, ...]) -> float:
    """The same at the own point."""
    return epochs[-1].test_loss_x


def best_accuracy_y(epochs: tuple[Epoch, ...]) -> float:
    """Best validation accuracy over epochs in percent, where gradients are taken."""
    return 100 * max(epoch.test_accuracy_y for epoch in epochs)


def best_accuracy_x(epochs: tuple[Epoch, ...]) -> float:
    """The same at the own point."""
    return 100 * max(epoch.test_accuracy_x for epoch in epochs)


def best_perplexity(epochs: tuple[Epoch, ...]) -> float:
    """Smallest validation perplexity over epochs, at the own point."""
    return math.exp(best_loss_x(epochs))


def find_results(experiment: Experiment, size: Size, store: Store) -> list[Result]:
    """What has at least one record, kind by kind."""
    found = []
    for kind in kinds_of(experiment):
        for entrant in experiment.entrants:
            trials = reported_trials(experiment, entrant, kind, size, store)
            records = reported(filter(None, map(store.find, trials)))
            if records:
                settings = trials[0].settings
                shorter = experiment.shorter(entrant, settings, kind, size)
                found.append(
                    Result(
                        entrant.label,
                        kind,
                        trials[0],
                        is_at_edge(entrant, kind, settings),
                        len(trials),
                        _by_seed(records),
                        {
                            share: _by_seed(filter(None, map(store.find, runs)))
                            for share, runs in shorter.items()
                        },
                    )
                )
    return found


def _by_seed(records: Iterable[RunRecord]) -> dict[int, RunRecord]:
    return {record.config.seed: record for record in records}


def share_of_steps(ours: Result, theirs: Result) -> list[float]:
    """The share of the other's steps that a method needs for its final loss.

    The loss is the final validation loss at each method's own point. Each length is a
    run with its own complete schedule; between two lengths the loss is taken as linear.
    All longer runs have to get there as well, so that one lucky run counts for nothing.

    Returns:
        One for each seed that both have at the whole length, where the other's did not
        diverge; the smallest share tried where that is enough, inf where the whole
        length is not.
    """
    found = []
    for seed in (s for s in ours.records if s in theirs.finished):
        runs = {1.0: ours.records[seed]}
        runs |= {
            s: by_seed[seed] for s, by_seed in ours.shorter.items() if seed in by_seed
        }
        shares = sorted(runs)
        losses = [_loss_or_inf(runs[share]) for share in shares]
        target = final_test_loss_x(theirs.finished[seed].epochs)
        found.append(_last_crossing(shares, losses, target))
    return found


def _last_crossing(
    shares: Sequence[float], losses: Sequence[float], target: float
) -> float:
    """From where on all losses are at or below a target; inf if the last is not."""
    above = [n for n, loss in enumerate(losses) if not loss <= target]
    last = above[-1] if above else 0
    found = first_crossing(shares[last:], losses[last:], target)
    return math.inf if found is None else found


def share_told(shares: Sequence[float], smallest: float) -> str:
    """Their mean with its 95 % interval; how many get there, if not all do.

    Args:
        shares: of the seeds.
        smallest: that was tried; fewer steps may have been enough there.
    """
    reached = [each for each in shares if math.isfinite(each)]
    if len(reached) < len(shares):
        return f"{len(reached)} of {len(shares)} seeds get there"
    found = estimate(shares)
    if found.mean == smallest:
        return f"at most {smallest:.2f}"
    most = "at most " if smallest in reached else ""
    return most + found.with_interval(3)


def _loss_or_inf(record: RunRecord) -> float:
    finished = record.outcome == "finished"
    return final_test_loss_x(record.epochs) if finished else math.inf


def difference(
    ours: Result, theirs: Result, number: Callable[[tuple[Epoch, ...]], float]
) -> Estimate | None:
    """The paired difference of a number that is better if smaller; None without a pair.

    A run that diverged has an infinite one; pairs of two such are left out.
    """
    first, second = _paired(ours, theirs, lambda record: number(record.epochs))
    return paired(first, second) if first else None


class Passage(NamedTuple):
    """Epochs until a loss, of the pairs of equal seeds.

    Attributes:
        ours: of the method; inf where it does not get there.
        theirs: of the baseline to its own final loss, which it may reach earlier.
    """

    ours: list[float]
    theirs: list[float]


def passage(ours: Result, theirs: Result) -> Passage:
    """Epochs until the other's final minibatch loss, for each seed that both have."""
    seeds = [seed for seed in ours.records if seed in theirs.finished]
    targets = {seed: final_loss(theirs.finished[seed].epochs) for seed in seeds}

    def reached(record: RunRecord) -> float:
        target = targets[record.config.seed]
        found = epochs_to([epoch.train_loss for epoch in record.epochs], target)
        if found is None or record.outcome != "finished":
            return math.inf
        return found

    return Passage(
        [reached(ours.records[seed]) for seed in seeds],
        [reached(theirs.records[seed]) for seed in seeds],
    )


def _paired(
    ours: Result, theirs: Result, number: Callable[[RunRecord], float]
) -> tuple[list[float], list[float]]:
    first, second = [], []
    for seed in ours.records:
        if seed not in theirs.records:
            continue
        pair = [
            number(record) if record.outcome == "finished" else math.inf
            for record in (ours.records[seed], theirs.records[seed])
        ]
        if math.isfinite(min(pair)):
            first.append(pair[0])
            second.append(pair[1])
    return first, second
