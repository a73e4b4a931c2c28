"""Where an experiment stands: its size, its results, the verdicts on its claims."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Union

from arsg_optax.demos.tasks.records import RunRecord
from scripts.reproduction.experiments.entrants import (
    ASSUMED,
    BUDGET,
    GRID,
    PUBLISHED,
    RECOMMENDED,
    Experiment,
    Size,
)
from scripts.reproduction.findings.claims import CLAIMS, Claim, judge
from scripts.reproduction.findings.judges import NOT_RUN, VERDICTS, Verdict
from scripts.reproduction.findings.results import Result, find_results
from scripts.reproduction.runs.plan import known_trials
from scripts.reproduction.store import Store

if TYPE_CHECKING:  # It brings the tests' games, which only the theorems need.
    from scripts.reproduction.findings.theorems import Theorem

AS_AUTHORS_CHOOSE = "authors' choices"
KIND_TITLES = {
    PUBLISHED: "settings of the paper",
    GRID: "settings chosen from the paper's grid",
    RECOMMENDED: "settings that the methods' authors recommend",
    BUDGET: "the same number of candidates for every method",
    ASSUMED: "settings that no source gives; our presets stand in",
}


class Judged(NamedTuple):
    """A claim and what became of it.

    Attributes:
        claim: the statement.
        kind: of the settings, perhaps two, empty if it was not run; of a theorem how
            the verdict was found.
        verdict: on them.
    """

    claim: Union[Claim, "Theorem"]
    kind: str
    verdict: Verdict


class Overview(NamedTuple):
    """An experiment in one size.

    Attributes:
        experiment: which.
        name: of the size.
        size: how much of it is run.
        results: what is recorded.
        done: runs that are recorded.
        total: of fixed settings, of candidates, and of what was chosen so far.
        hours: that the recorded runs took.
        machines: that ran them, each once.
    """

    experiment: Experiment
    name: str
    size: Size
    results: list[Result]
    done: int
    total: int
    hours: float
    machines: list[str]

    @property
    def kinds(self) -> list[str]:
        """Kinds of settings with results, in the order of the tables."""
        return list(dict.fromkeys(each.kind for each in self.results))

    @property
    def groups(self) -> dict[str, list[Result]]:
        """Results that may be compared: of one kind, or each as its authors choose.

        What is assumed is compared with nothing, but for a baseline whose setting the
        paper leaves out.
        """
        found = {kind: self.of_kind(kind) for kind in self.kinds if kind != ASSUMED}
        others = self.of_kind(RECOMMENDED) + self.of_kind(ASSUMED)
        if PUBLISHED in found and others:
            found[AS_AUTHORS_CHOOSE] = found[PUBLISHED] + others
        return found

    def of_kind(self, kind: str) -> list[Result]:
        """The results of one kind."""
        return [each for each in self.results if each.kind == kind]


def look(experiment: Experiment, name: str, store: Store) -> Overview:
    """Reads the records of an experiment in one size."""
    size = experiment.size(name)
    trials = known_trials(experiment, size, store)
    records = [record for record in map(store.find, trials) if record is not None]
    return Overview(
        experiment,
        name,
        size,
        find_results(experiment, size, store),
        len(records),
        len(trials),
        sum(record.seconds for record in records) / 3600,
        _machines(records),
    )


def largest(experiment: Experiment, store: Store) -> Overview:
    """The size of which most runs are recorded; of equals the one with fewest runs."""
    looked = [look(experiment, name, store) for name in experiment.sizes]
    return max(looked, key=lambda each: (each.done, -each.total))


def deciding(judged: Iterable[Judged]) -> dict[str, Judged]:
    """The verdict that counts for each claim, by the claim's text.

    With several kinds of settings the grid's verdict counts, else the first.
    """
    by_claim: dict[str, Judged] = {}
    for each in judged:
        if each.claim.text not in by_claim or each.kind == GRID:
            by_claim[each.claim.text] = each
    return by_claim


def counted(judged: Iterable[Judged]) -> dict[str, int]:
    """How many claims got each verdict, each counted once."""
    found = [each.verdict.verdict for each in deciding(judged).values()]
    return {name: found.count(name) for name in VERDICTS}


def verdicts(overview: Overview) -> list[Judged]:
    """Each claim with each kind of settings that tests it."""
    found = []
    for claim in CLAIMS.get(overview.experiment.name, ()):
        judged = {
            group: Judged(claim, group, judge(claim, results))
            for group, results in overview.groups.items()
        }
        run = {g: j for g, j in judged.items() if j.verdict.verdict != NOT_RUN}
        if PUBLISHED in run:
            # Of the paper's methods the larger group would say the same again.
            run.pop(AS_AUTHORS_CHOOSE, None)
        reason = _why_not(overview)
        if reason or not run:
            lacking = [each.verdict.evidence for each in judged.values()]
            why = reason or min(lacking, key=len, default="settings are assumed only")
            run = {"": Judged(claim, "", Verdict(NOT_RUN, why))}
        found += run.values()
    return found


def _why_not(overview: Overview) -> str:
    """Why results say nothing on the claims; empty if they do."""
    size = overview.size
    if not overview.results:
        return "nothing is recorded; --plan prints what it takes"
    cut = size.epochs is not None or size.examples is not None
    if cut and overview.name != "full":  # Where the protocol itself is cut.
        return f"not at the protocol's length ({size.runs})"
    return ""


def _machines(records: Iterable[RunRecord]) -> list[str]:
    return sorted(
        {
            ", ".join(f"{name} {value}" for name, value in record.machine.items())
            for record in records
        }
    )
