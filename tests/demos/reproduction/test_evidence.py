"""Steps that a method saves, on numbers whose answer is plain, and what is run."""

import dataclasses
import math
from pathlib import Path

import pytest

from arsg_optax.demos.tasks.records import RunRecord
from arsg_optax.demos.tasks.settings import (
    Clock,
    Falling,
    LogTime,
    decode_option,
    encode_option,
)
from scripts.reproduction.experiments import find_experiment
from scripts.reproduction.experiments.entrants import BUDGET
from scripts.reproduction.findings.claims import CLAIMS
from scripts.reproduction.findings.judges import (
    NOT,
    PARTLY,
    REPRODUCED,
    close_validation_loss,
    lowest_validation_loss,
    needs_fewer_steps,
)
from scripts.reproduction.findings.results import find_results, share_of_steps
from scripts.reproduction.report.figures import draw_results
from scripts.reproduction.report.tables import evidence_table
from scripts.reproduction.runs.plan import first_trials, later_trials, make_plan
from scripts.reproduction.store import Store
from tests.demos.reproduction.synthetic import epochs, result

EXPERIMENT = find_experiment("today-python-tiny")
SIZE = EXPERIMENT.size("full")


def ends(label, optimizer, *losses, shorter=None):
    """Final losses of the seeds, and of shorter runs by their shares."""
    found = result(label, optimizer, [epochs((loss,)) for loss in losses])
    given = {}
    for share, values in (shorter or {}).items():
        runs = [epochs((loss,)) for loss in values]
        given[share] = result(label, optimizer, runs).records if runs else {}
    return found._replace(shorter=given)


MUON = ends("Muon", "inner_muon", 2.0, 2.0)
SHORTER = {0.8: (2.2, 1.9), 0.88: (2.1, 1.8), 0.96: (1.9, 1.7)}
ORSG = ends("ORSG", "orsg", 1.8, 1.6, shorter=SHORTER)


def test_the_share_lies_between_two_lengths():
    # Halfway from 0.88 to 0.96; the other seed gets there with the shortest.
    assert share_of_steps(ORSG, MUON) == [pytest.approx(0.92), 0.8]
    late = ends("ORSG", "orsg", 2.5, 1.9, shorter={0.8: (2.6, 2.1)})
    assert share_of_steps(late, MUON) == [math.inf, pytest.approx(0.9)]
    # One lucky run is not enough: the longer ones have to get there as well.
    lucky = ends("ORSG", "orsg", 1.8, shorter={0.8: (1.9,), 0.88: (2.1,), 0.96: (1.9,)})
    assert share_of_steps(lucky, MUON) == [pytest.approx(0.92)]
    # A seed that the other lacks, or a length that was not run, is left out.
    part = ends("ORSG", "orsg", 1.8, shorter={0.8: (2.2,), 0.96: ()})
    assert share_of_steps(part, MUON) == [pytest.approx(0.9)]


def test_a_run_that_diverged_counts_as_infinite():
    def lost(found, seed):
        return {**found, seed: dataclasses.replace(found[seed], outcome="diverged")}

    whole = ORSG._replace(records=lost(ORSG.records, 0))
    assert share_of_steps(whole, MUON) == [math.inf, 0.8]
    shorter = {**ORSG.shorter, 0.8: lost(ORSG.shorter[0.8], 1)}
    assert share_of_steps(ORSG._replace(shorter=shorter), MUON)[1] == 0.88
    assert len(share_of_steps(ORSG, MUON._replace(records=lost(MUON.records, 0)))) == 1


def test_a_result_without_its_shorter_runs_is_not_complete():
    assert ORSG.complete
    one = {**ORSG.shorter, 0.88: {0: ORSG.shorter[0.88][0]}}
    assert not ORSG._replace(shorter=one).complete


def test_claims_of_steps_and_of_losses():
    by_label = {each.label: each for each in (ORSG, MUON)}

    def verdict(judge):
        return judge(by_label).verdict

    assert verdict(needs_fewer_steps("ORSG", "Muon", 0.8)) == PARTLY
    assert verdict(needs_fewer_steps("ORSG", "Muon", 0.5)) == PARTLY
    sure = ends("ORSG", "orsg", 1.8, 1.8, 1.8, shorter={0.8: (2.2, 2.2, 2.2)})
    by_label = {"ORSG": sure, "Muon": ends("Muon", "inner_muon", 2.0, 2.0, 2.0)}
    assert verdict(needs_fewer_steps("ORSG", "Muon", 0.91)) == REPRODUCED
    assert verdict(needs_fewer_steps("ORSG", "Muon", 0.88)) == NOT
    assert verdict(lowest_validation_loss("ORSG", ("Muon",))) == REPRODUCED
    assert verdict(lowest_validation_loss("Muon", ("ORSG",))) == NOT
    never = {**by_label, "ORSG": ends("ORSG", "orsg", 2.5, 2.5, 2.5)}
    assert needs_fewer_steps("ORSG", "Muon", 0.88)(never).verdict == NOT


def test_the_table_has_intervals():
    adamw = ends("AdamW", "adamw", 2.5, 2.7)
    head, *rows = evidence_table([adamw, MUON, ORSG], ("AdamW", "Muon"))
    assert head[4:8] == (
        "less AdamW's",
        "less Muon's",
        "share of AdamW's steps",
        "share of Muon's steps",
    )
    by_method = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    ours = by_method["ORSG"]
    # Student's t for two seeds: 12.706 times 0.2 / sqrt(2) / sqrt(2).
    assert ours["validation loss"] == "1.7000 (0.4294 to 2.9706)"
    assert ours["less Muon's"].startswith("-0.3 (")
    assert ours["share of AdamW's steps"] == "at most 0.80"
    assert ours["share of Muon's steps"].startswith("at most 0.860 (")
    assert by_method["Muon"]["less Muon's"] == ""
    assert by_method["AdamW"]["share of Muon's steps"] == ""
    late = ends("ORSG", "orsg", 2.8, 2.8, shorter={0.8: (2.9, 2.9)})
    assert evidence_table([adamw, late], ("AdamW",))[2][-2] == "0 of 2 seeds get there"


def test_what_is_run(tmp_path: Path):
    store = Store(tmp_path)
    first = first_trials(EXPERIMENT, SIZE)
    assert len(first) == 7 * 5
    assert {each.preset for each in first} == {"tiny"}
    assert {each.epochs for each in first} == {1875 // 75}
    assert {each.batch_size for each in first} == {8}
    schedules = {each.optimizer: each.schedule for each in first}
    assert schedules["schedule_free_adamw"] == "constant"
    assert schedules["orsg"] == "task"
    plan = make_plan(EXPERIMENT, SIZE, store)
    assert (plan.later, plan.hours) == (7 * 5 + 2 * 3 * 5, None)
    for trial in first:
        loss = abs(trial.learning_rate - first[2].learning_rate) + 1
        store.keep(RunRecord(trial, "finished", epochs([loss] * 25), 10.0))
    later = later_trials(EXPERIMENT, SIZE, store)
    assert len(later) == plan.later
    assert {each.seed for each in later} == {1, 2, 3, 4, 5}
    lengths = {(each.optimizer, each.epochs) for each in later}
    assert lengths >= {("orsg", n) for n in (20, 22, 24, 25)}
    assert ("adamw", 20) not in lengths
    for trial in later:
        store.keep(RunRecord(trial, "finished", epochs([1.0] * trial.epochs), 10.0))
    found = {each.label: each for each in find_results(EXPERIMENT, SIZE, store)}
    assert {share: len(runs) for share, runs in found["ORSG"].shorter.items()} == {
        0.8: 5,
        0.88: 5,
        0.96: 5,
    }
    assert found["Muon"].shorter == {}
    assert all(each.complete for each in found.values())


def test_a_table_without_shorter_runs_has_no_shares():
    head, *rows = evidence_table([MUON, MUON._replace(label="other")], ("Muon",))
    assert head[4:] == ("less Muon's", "seconds")
    assert [row[4] for row in rows] == ["", "+0 (+0 to +0)"]


def test_a_loss_within_percents():
    def verdict(loss, percent):
        ours = ends("ORSG", "orsg", loss, loss)
        judge = close_validation_loss("ORSG", "Muon", percent)
        return judge({"ORSG": ours, "Muon": MUON}).verdict

    assert verdict(2.019, 1.0) == REPRODUCED
    assert verdict(2.021, 1.0) == NOT
    assert verdict(2.021, 1.1) == REPRODUCED


def test_a_single_candidate_is_chosen_without_a_run(tmp_path: Path):
    store, experiment = Store(tmp_path), find_experiment("today-ablation")
    size = experiment.size("full")
    assert first_trials(experiment, size) == []
    plan = make_plan(experiment, size, store)
    later = later_trials(experiment, size, store)
    assert plan.later == len(later) == 5 * len(experiment.entrants)
    orsg = [each for each in later if each.options == {"weight_decay": 0.1}]
    assert {each.learning_rate for each in orsg} == {0.02}
    # Its defaults are runs of stage 1, which are not run again.
    known = find_experiment("today-python-tiny")
    settings = known.entrant("ORSG").searched[BUDGET][2]
    stage_1 = known.repeated(known.entrant("ORSG"), settings, BUDGET, SIZE)
    assert {each.key() for each in stage_1} <= {each.key() for each in later}
    store.keep(RunRecord(stage_1[0], "finished", epochs([1.0] * 25), 10.0))
    (found,) = find_results(experiment, size, store)
    assert (found.label, found.edge, found.runs) == ("ORSG", False, 5)


def test_moving_options_are_read_back_and_act():
    clock = Clock(75, 25, 25)
    for option, value in ((LogTime(4.0), 8 / 12), (Falling(0.25), 1 / (1 + 9**0.25))):
        assert decode_option(encode_option(option)) == option
        assert option.at(clock)(7) == pytest.approx(value)


def test_differences_are_drawn_for_many_variants():
    experiment = find_experiment("today-ablation")
    lost = ends("μ falls", "orsg", 9.0)
    lost = lost._replace(
        records={0: dataclasses.replace(lost.records[0], outcome="diverged")}
    )
    found = [ORSG, MUON, lost, ends("δ = 2.0", "orsg", 1.9)]
    images = draw_results(experiment, found, "a title")
    assert images["png"].startswith(b"\x89PNG") and b"</svg>" in images["svg"]
    assert draw_results(experiment, found, "a title") == images


def test_claims_name_entrants_and_stand_on_the_page():
    labels = {each.label for each in EXPERIMENT.entrants}
    page = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text()
    for claim in CLAIMS["today-python-tiny"]:
        assert set(claim.judge.needs) <= labels
    names = [name for name in CLAIMS if name.startswith("today-")]
    for claim in {claim.text: claim for name in names for claim in CLAIMS[name]}:
        words = claim.replace("ORSG", "`orsg`").replace("ARSGW", "`arsgw`")
        assert words in page
    other = find_experiment("today-wikitext2-tiny")
    assert replace_task(other) == replace_task(EXPERIMENT)


def replace_task(experiment):
    return experiment._replace(name="", task="")
