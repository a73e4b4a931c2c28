"""How the records judge what a paper claims.

A claim is reproduced if the 95 % intervals of differences, paired by seed, all say so;
partly if means say so and an interval does not, or the other way round, if it holds of
some of the methods, or of a speed if a method is faster, but not by as much; else it is
not. One seed has no interval and gives "partly" at most. A run that diverged is worse
than any that did not.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from arsg_optax.demos.tasks.records import Epoch
from scripts.reproduction.findings.results import (
    Result,
    best_accuracy_x,
    best_perplexity,
    difference,
    final_loss,
    final_test_loss_x,
    passage,
    share_of_steps,
    share_told,
)
from scripts.reproduction.findings.statistics import Estimate, estimate, paired

REPRODUCED, PARTLY, NOT, NOT_RUN = VERDICTS = (
    "reproduced",
    "partly",
    "not reproduced",
    "not run",
)

Results = Mapping[str, Result]
Number = Callable[[tuple[Epoch, ...]], float]


class Verdict(NamedTuple):
    """A judgement.

    Attributes:
        verdict: one of `VERDICTS`.
        evidence: the numbers it rests on.
    """

    verdict: str
    evidence: str


class Judge(NamedTuple):
    """How a claim is judged.

    Attributes:
        methods: labels of those that the claim is about.
        others: labels of those that they are compared with.
        verdict: on results by label.
    """

    methods: tuple[str, ...]
    others: tuple[str, ...]
    verdict: Callable[[Results], Verdict]

    @property
    def needs(self) -> tuple[str, ...]:
        """Labels of all that it reads."""
        return self.methods + self.others

    def __call__(self, results: Results) -> Verdict:
        """The verdict on results, among which all that it needs are."""
        return self.verdict(results)


class NoPairError(Exception):
    """There is nothing to compare: no seed that two methods have in common."""


def all_below(differences: Sequence[Estimate], limit: float = 0.0) -> str:
    """The verdict on a method that must be smaller than each other by all seeds."""
    if all(each.high < limit for each in differences):
        return REPRODUCED
    # Without an interval the mean decides.
    maybe = all(each.mean < limit or each.low <= limit for each in differences)
    return PARTLY if maybe else NOT


def _of_all(verdicts: Iterable[str]) -> str:
    """The verdict on several methods: the one of each, or partly."""
    grades = set(verdicts)
    return grades.pop() if len(grades) == 1 else PARTLY


def faster(labels: Sequence[str], than: Sequence[str], times: float) -> Judge:
    """A judge of methods that get to the final training loss of the best of others.

    Args:
        labels: of the methods.
        than: the others; the one with the lowest final loss is to be reached.
        times: as fast as it gets there itself; partly from 1 on.
    """

    def judged(results: Results) -> Verdict:
        best = min(than, key=lambda name: _mean_or_inf(results[name], final_loss))
        found = [_speed(results[label], results[best], times) for label in labels]
        verdict = _of_all(each.verdict for each in found)
        return Verdict(verdict, "; ".join(each.evidence for each in found))

    return Judge(tuple(labels), tuple(than), judged)


def _speed(ours: Result, theirs: Result, times: float) -> Verdict:
    epochs = passage(ours, theirs)
    if not epochs.ours:
        raise NoPairError(f"{ours.label} and {theirs.label} share no seed")
    wanted = paired([times * each for each in epochs.ours], epochs.theirs)
    level = paired(epochs.ours, epochs.theirs)
    what = f"{theirs.label}'s final training loss"
    if not math.isfinite(level.mean):
        return Verdict(NOT, f"{ours.label} does not reach {what} with every seed")
    if wanted.high < 0:
        verdict = REPRODUCED
    else:
        verdict = PARTLY if min(wanted.mean, level.mean) < 0 else NOT
    first, second = (sum(each) / len(each) for each in epochs)
    return Verdict(
        verdict,
        f"{ours.label} reaches {what} after {first:.1f} epochs, {theirs.label} after "
        f"{second:.1f}: {second / first:.2f} times as fast",
    )


def beats_half(label: str, others: Sequence[str]) -> Judge:
    """A judge of "in many cases": a lower final training loss than half of others."""

    def judged(results: Results) -> Verdict:
        found = _behind(label, others, results, final_loss)
        surely = sum(each.high < 0 for each in found.values())
        maybe = sum(each.mean < 0 for each in found.values())
        half = len(others) / 2
        verdict = REPRODUCED if surely >= half else PARTLY if maybe >= half else NOT
        return Verdict(verdict, _listed("final training loss", label, found))

    return Judge((label,), tuple(others), judged)


def lowest_loss(label: str, others: Sequence[str]) -> Judge:
    """A judge of the lowest final training loss."""
    return _smallest("final training loss", final_loss, label, others)


def more_accurate(label: str, others: Sequence[str], tolerance: float = 0.0) -> Judge:
    """A judge of the best validation accuracy.

    Args:
        label: of the method.
        others: to be beaten.
        tolerance: percent by which it may stay behind.
    """

    def wrong(epochs: tuple[Epoch, ...]) -> float:
        return 100 - best_accuracy_x(epochs)

    return _smallest("smallest % wrong", wrong, label, others, tolerance)


def lowest_perplexity(label: str, others: Sequence[str]) -> Judge:
    """A judge of the smallest validation perplexity."""
    return _smallest("validation perplexity", best_perplexity, label, others)


def _smallest(
    what: str, number: Number, label: str, others: Sequence[str], limit: float = 0.0
) -> Judge:
    def judged(results: Results) -> Verdict:
        found = _behind(label, others, results, number)
        verdict = all_below(list(found.values()), limit)
        return Verdict(verdict, _listed(what, label, found))

    return Judge((label,), tuple(others), judged)


def lowest_validation_loss(
    label: str, others: Sequence[str], tolerance: float = 0.0
) -> Judge:
    """A judge of the lowest validation loss after the last step, at the own points.

    Args:
        label: of the method.
        others: to be beaten.
        tolerance: how many nats it may be above them.
    """
    what = "final validation loss"
    return _smallest(what, final_test_loss_x, label, others, tolerance)


def close_validation_loss(label: str, other: str, percent: float) -> Judge:
    """A judge of a final validation loss that is hardly above another's.

    Args:
        label: of the method.
        other: to be followed.
        percent: how far it may be above the other's, in percent of that.
    """

    def logarithm(epochs: tuple[Epoch, ...]) -> float:
        return 100 * math.log(final_test_loss_x(epochs))

    what = "100 times the logarithm of the final validation loss"
    limit = 100 * math.log1p(percent / 100)
    return _smallest(what, logarithm, label, (other,), limit)


def needs_fewer_steps(label: str, than: str, share: float) -> Judge:
    """A judge of the steps to another's final validation loss.

    Args:
        label: of the method.
        than: the other.
        share: of the other's steps, at most.
    """

    def judged(results: Results) -> Verdict:
        shares = share_of_steps(results[label], results[than])
        if not shares:
            raise NoPairError(f"{label} and {than} share no seed")
        verdict = all_below([estimate([each - share for each in shares])])
        told = share_told(shares, min((1.0, *results[label].shorter)))
        what = f"share of {than}'s steps that {label} needs for its final loss"
        return Verdict(verdict, f"{what}: {told}")

    return Judge((label,), (than,), judged)


def iterate_wins(labels: Sequence[str], what: str, at_x: Number, at_y: Number) -> Judge:
    """A judge of a validation loss of the iterate against that of the held point.

    Args:
        labels: of the methods.
        what: of the number.
        at_x: the number at the iterate.
        at_y: the same at the held point.
    """

    def judged(results: Results) -> Verdict:
        for label in labels:
            if not results[label].finished:
                raise NoPairError(f"no run of {label} finished")
        found = {
            label: paired(results[label].values(at_x), results[label].values(at_y))
            for label in labels
        }
        verdict = _of_all(all_below([each]) for each in found.values())
        listed = ", ".join(f"{label} {each.told()}" for label, each in found.items())
        return Verdict(verdict, f"{what}, x less y: {listed}")

    return Judge(tuple(labels), (), judged)


def _behind(
    label: str, others: Sequence[str], results: Results, number: Number
) -> dict[str, Estimate]:
    """By how much a method is above each other."""
    found = {}
    for name in others:
        behind = difference(results[label], results[name], number)
        if behind is None:
            raise NoPairError(f"{label} and {name} share no seed")
        found[name] = behind
    return found


def _listed(what: str, label: str, found: Mapping[str, Estimate]) -> str:
    told = ", ".join(f"{name} {each.told()}" for name, each in found.items())
    return f"{what} of {label} less that of {told}"


def _mean_or_inf(result: Result, number: Number) -> float:
    values = result.values(number)
    return sum(values) / len(values) if values else math.inf
