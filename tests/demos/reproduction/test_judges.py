"""Verdicts on numbers whose verdict is plain."""

import dataclasses
import math

import pytest

from scripts.reproduction.experiments import EXPERIMENTS
from scripts.reproduction.findings import judges
from scripts.reproduction.findings.claims import CLAIMS, Claim, judge
from scripts.reproduction.findings.judges import (
    NOT,
    NOT_RUN,
    PARTLY,
    REPRODUCED,
    NoPairError,
    beats_half,
    faster,
    lowest_loss,
    lowest_perplexity,
    more_accurate,
)
from scripts.reproduction.findings.results import (
    best_loss_x,
    best_loss_y,
    final_test_loss_x,
    final_test_loss_y,
    passage,
)
from tests.demos.reproduction.synthetic import epochs, result

ADAM = result("Adam", "adam", [epochs((4.0, 3.0, 2.0, 1.0))] * 2)
TWICE = result("ARSG", "arsg", [epochs((3.0, 1.0, 0.5, 0.25))] * 2)
# The loss 1 lies halfway between the third epoch's and the fourth's.
BARELY = result("RSG", "rsg", [epochs((4.0, 3.0, 1.5, 0.5))] * 2)


def iterate_wins(labels):
    return judges.iterate_wins(labels, "the smallest", best_loss_x, best_loss_y)


def _verdict(judged, *results):
    return judged({each.label: each for each in results}).verdict


def _ends(label, *losses, **kinds):
    return result(label, "sgd", [epochs((loss,), **kinds) for loss in losses])


def _diverged(found, seed):
    record = dataclasses.replace(found.records[seed], outcome="diverged")
    return found._replace(records={**found.records, seed: record})


def test_a_speed_is_the_baselines_epochs_over_ours():
    assert passage(TWICE, ADAM) == ([2.0, 2.0], [4.0, 4.0])
    assert passage(BARELY, ADAM).ours == [3.5, 3.5]
    assert passage(ADAM, TWICE).ours == [math.inf] * 2
    # A baseline that rises again got to its own final loss before.
    rises = result("Adam", "adam", [epochs((4.0, 2.0, 1.0, 2.0))] * 2)
    assert passage(TWICE, rises).theirs == [2.0, 2.0]


def test_faster_by_a_half_or_at_all():
    assert _verdict(faster(("ARSG",), ("Adam",), 1.5), TWICE, ADAM) == REPRODUCED
    assert _verdict(faster(("RSG",), ("Adam",), 1.5), BARELY, ADAM) == PARTLY
    assert _verdict(faster(("RSG",), ("Adam",), 1.0), BARELY, ADAM) == REPRODUCED
    assert _verdict(faster(("Adam",), ("ARSG",), 1.5), TWICE, ADAM) == NOT
    # As fast is not faster.
    same = ADAM._replace(label="A")
    assert _verdict(faster(("A",), ("Adam",), 1.0), same, ADAM) == NOT
    assert _verdict(faster(("A",), ("Adam",), 0.9), same, ADAM) == REPRODUCED


def test_seeds_that_disagree_leave_doubt():
    fast, slow = (each.records[0].epochs for each in (TWICE, ADAM))
    mixed = result("A", "arsg", [fast, fast, slow])
    three = result("Adam", "adam", [slow] * 3)
    assert _verdict(faster(("A",), ("Adam",), 1.5), mixed, three) == PARTLY
    one = result("A", "arsg", [fast])
    assert _verdict(faster(("A",), ("Adam",), 1.5), one, three) == PARTLY


def test_several_against_the_best_of_the_others():
    both = faster(("ARSG", "RSG"), ("Adam",), 1.5)
    assert _verdict(both, TWICE, BARELY, ADAM) == PARTLY
    # ARSG ends lowest, so it is what is to be reached.
    best = faster(("RSG",), ("Adam", "ARSG"), 1.5)
    assert _verdict(best, TWICE, BARELY, ADAM) == NOT


def test_a_run_that_diverges_is_worse_than_any_other():
    broken = _diverged(TWICE, 1)
    assert _verdict(faster(("ARSG",), ("Adam",), 1.5), broken, ADAM) == NOT
    assert _verdict(lowest_loss("ARSG", ("Adam",)), broken, ADAM) == NOT
    assert _verdict(more_accurate("ARSG", ("Adam",), 5.0), broken, ADAM) == NOT
    # A baseline that diverges helps, but proves nothing.
    assert _verdict(lowest_loss("ARSG", ("Adam",)), TWICE, _diverged(ADAM, 0)) == PARTLY


def test_many_is_half():
    low, middle = _ends("low", 1.0, 1.01), _ends("middle", 1.1, 1.11)
    high = _ends("high", 1.2, 1.21)
    judged = beats_half("middle", ("low", "high"))
    assert _verdict(judged, low, middle, high) == REPRODUCED
    judged = beats_half("middle", ("low", "low", "high"))
    assert _verdict(judged, low, middle, high) == NOT
    # Lower than half of them on average, but not with every seed.
    near = _ends("near", 1.1, 1.2)
    judged = beats_half("middle", ("low", "near"))
    assert _verdict(judged, low, middle, near) == PARTLY
    assert _verdict(beats_half("high", ("low", "middle")), low, middle, high) == NOT


def test_the_lowest_loss():
    low, high = _ends("low", 1.0, 1.01), _ends("high", 1.1, 1.11)
    unsure = _ends("unsure", 0.9, 1.2)
    assert _verdict(lowest_loss("low", ("high",)), low, high) == REPRODUCED
    assert _verdict(lowest_loss("high", ("low",)), low, high) == NOT
    # Not lower or higher with every seed.
    assert _verdict(lowest_loss("unsure", ("low",)), low, unsure) == PARTLY
    assert _verdict(lowest_loss("low", ("unsure",)), low, unsure) == PARTLY
    assert _verdict(lowest_loss("high", ("low", "unsure")), low, high, unsure) == NOT
    # A tie is not lower.
    assert _verdict(lowest_loss("low", ("same",)), low, low._replace(label="same")) != (
        REPRODUCED
    )


def test_one_seed_proves_nothing():
    low, high = _ends("low", 1.0), _ends("high", 1.1)
    assert _verdict(lowest_loss("low", ("high",)), low, high) == PARTLY
    assert _verdict(lowest_loss("high", ("low",)), low, high) == NOT


def test_accuracy_with_a_tolerance():
    low, high = _ends("low", 1, 1, accuracy=0.900), _ends("high", 1, 1, accuracy=0.901)
    assert _verdict(more_accurate("high", ("low",)), low, high) == REPRODUCED
    assert _verdict(more_accurate("low", ("high",)), low, high) == NOT
    assert _verdict(more_accurate("low", ("high",), 0.2), low, high) == REPRODUCED


def test_the_iterate_wins_where_its_interval_says_so():
    sure = result("A", "arsg", [epochs((1.0,), gain=g) for g in (0.1, 0.1001)])
    unsure = result("B", "rsg", [epochs((1.0,), gain=g) for g in (0.1, 0.0)])
    worse = result("C", "arsgb", [epochs((1.0,), gain=-0.1)] * 2)
    assert _verdict(iterate_wins(("A",)), sure) == REPRODUCED
    assert _verdict(iterate_wins(("A", "B")), sure, unsure) == PARTLY
    assert _verdict(iterate_wins(("C",)), worse) == NOT
    single = result("A", "arsg", [epochs((1.0,), gain=0.1)])
    found = iterate_wins(("A",))({"A": single})
    assert found.verdict == PARTLY and "nan" not in found.evidence


def test_the_iterate_ahead_on_the_way_may_end_behind():
    early = epochs((1.0, 0.5), gain=0.1)
    late = early[:1] + epochs((1.0, 1.5), gain=-0.1)[1:]
    found = {"A": result("A", "arsg", [late, late])}
    assert iterate_wins(("A",))(found).verdict == REPRODUCED
    final = judges.iterate_wins(("A",), "final", final_test_loss_x, final_test_loss_y)
    assert final(found).verdict == NOT


def test_perplexity():
    assert _verdict(lowest_perplexity("ARSG", ("Adam",)), TWICE, ADAM) == REPRODUCED
    assert _verdict(lowest_perplexity("Adam", ("ARSG",)), TWICE, ADAM) == NOT


def _claim(judged):
    return Claim("a claim", "a paper", judged)


def test_a_claim_needs_all_its_methods():
    found = judge(CLAIMS["mnist-logreg"][0], [ADAM, TWICE])
    assert found == (NOT_RUN, "no run of ARSGB")


def test_runs_that_are_missing_leave_a_verdict_open():
    claim = _claim(faster(("ARSG",), ("Adam",), 1.5))
    assert judge(claim, [TWICE, ADAM]).verdict == REPRODUCED
    found = judge(claim, [TWICE._replace(runs=5), ADAM])
    assert found.verdict == PARTLY
    assert found.evidence.endswith("seeds that finished: ARSG 2 of 5, 3 not run")
    found = judge(claim, [_diverged(TWICE, 0), ADAM])
    assert found.evidence.endswith("ARSG 1 of 2, 1 diverged")


def test_a_method_that_diverges_is_not_proven_by_its_other_seeds():
    ours, theirs = (
        result(label, name, [curve] * 3)
        for label, name, curve in (
            ("ARSG", "arsg", epochs((3.0, 1.0, 0.5, 0.25))),
            ("Adam", "adam", epochs((4.0, 3.0, 2.0, 1.0))),
        )
    )
    for judged in (lowest_loss("ARSG", ("Adam",)), faster(("ARSG",), ("Adam",), 1.5)):
        assert judge(_claim(judged), [ours, theirs]).verdict == REPRODUCED
        found = judge(_claim(judged), [_diverged(ours, 2), _diverged(theirs, 2)])
        assert found.verdict == PARTLY


def test_methods_without_a_common_seed():
    other = ADAM._replace(records={7: ADAM.records[0]})
    with pytest.raises(NoPairError, match="ARSG and Adam share no seed"):
        lowest_loss("ARSG", ("Adam",))({"ARSG": TWICE, "Adam": other})
    claim = _claim(lowest_loss("ARSG", ("Adam",)))
    assert judge(claim, [TWICE, other]) == (NOT_RUN, "ARSG and Adam share no seed")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_claims_name_what_they_judge(name):
    entrants = {each.label: each.optimizer for each in EXPERIMENTS[name].entrants}
    for claim in CLAIMS[name]:
        assert set(claim.judge.needs) <= set(entrants)
        equal = [
            result(label, entrants[label], [epochs((1.0, 0.5))] * 2)
            for label in claim.judge.needs
        ]
        # A judge reads nothing that the claim does not name, and equals win nothing.
        found = judge(claim, equal)
        assert (
            found.verdict in (NOT, PARTLY)
            or "within" in claim.text
            or ("as fast" in claim.text)
        )
