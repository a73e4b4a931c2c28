"""The grids are the papers'; a plan counts what is missing and what it takes."""

import dataclasses

import pytest

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import encode
from arsg_optax.demos.tasks.configuration_files import decode
from arsg_optax.demos.tasks.records import Epoch, RunRecord
from arsg_optax.demos.tasks.settings import Constant, Cosine, Drops
from scripts.reproduction.experiments import EXPERIMENTS, find_experiment
from scripts.reproduction.experiments.arsg_paper import ARSG_PAPER
from scripts.reproduction.experiments.entrants import BUDGET, GRID, PUBLISHED
from scripts.reproduction.experiments.recipes import find_method
from scripts.reproduction.runs.plan import (
    USUAL_EPOCHS,
    first_trials,
    is_at_edge,
    later_trials,
    make_plan,
    setting_of,
)
from scripts.reproduction.store import Store

NAMES = (
    "mnist-logreg",
    "mnist-cnn",
    "wikitext2-lstm",
    "cifar10-resnet20-fast",
    "cifar10-resnet20-fine",
    "imagenet-resnet50",
    "namsg-mnist-logreg",
    "namsg-mnist-cnn",
    "namsg-cifar10",
    "adarem-imagenet",
    "adarem-ptb",
    "today-cifar10-vit-tiny",
    "today-mnist-cnn",
    "today-wikitext2-lstm",
    "today-python-tiny",
    "today-wikitext2-tiny",
    "python-transformer",
    "today-drop-in-python",
    "today-drop-in-wikitext2",
    "today-ablation",
    "today-ablation-arsgw",
    "today-points",
    "today-long",
)
COUNTS = {
    "SGD": 32,
    "Adam": 48,
    "NAdam": 36,
    "AMSGrad": 48,
    "Ranger": 84,
    "RSG": 8,
    "ARSG": 7,
    "ARSGB": 7,
}
OF_THE_ARSG_PAPER = {
    each.name: each for each in ARSG_PAPER if each.name != "imagenet-resnet50"
}


def _record(trial, loss=1.0, seconds=20.0):
    epoch = Epoch(234, loss, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
    return RunRecord(trial, "finished", (epoch,) * trial.epochs, seconds)


def test_all_experiments_are_there_in_both_sizes():
    assert tuple(EXPERIMENTS) == NAMES
    for experiment in EXPERIMENTS.values():
        assert "full" in experiment.sizes
        if experiment.task not in USUAL_EPOCHS or experiment.name.startswith("today"):
            continue
        assert experiment.size("full").runs.startswith("all ")
        assert not experiment.size("small").runs.startswith("all ")


@pytest.mark.parametrize("name", NAMES)
def test_every_trial_can_be_run_and_read_back(name):
    experiment = EXPERIMENTS[name]
    for size in experiment.sizes.values():
        for trial in first_trials(experiment, size):
            optimizer, task = find_method(trial.optimizer), trial.chosen_task()
            task.transform(optimizer, trial.settings, steps_per_epoch=10)
            assert decode(encode(trial)) == trial


@pytest.mark.parametrize("name", OF_THE_ARSG_PAPER)
def test_grids_are_the_papers(name):
    experiment = OF_THE_ARSG_PAPER[name]
    size = experiment.size("full")
    counts = {
        each.label: len(experiment.candidates(each, GRID, size))
        for each in experiment.entrants
        if GRID in each.searched
    }
    # WikiText-2 has a step size less for SGD and RSG.
    if name == "wikitext2-lstm":
        assert counts == {**COUNTS, "SGD": 28, "RSG": 7}
    else:
        assert counts == COUNTS


@pytest.mark.parametrize("name", OF_THE_ARSG_PAPER)
def test_what_the_authors_chose_is_in_their_grids(name):
    experiment = OF_THE_ARSG_PAPER[name]
    size = experiment.size("full")
    for entrant in experiment.entrants:
        if PUBLISHED not in entrant.fixed or name == "wikitext2-lstm":
            continue
        keys = {trial.key() for trial in experiment.candidates(entrant, GRID, size)}
        settings = entrant.fixed[PUBLISHED]
        published = experiment.repeated(entrant, settings, PUBLISHED, size)
        if entrant.held_out:
            published[0] = published[0].holding_out()
        assert len(published) == 5 and published[0].key() in keys, entrant.label


def test_an_equal_budget_is_equal():
    for experiment in OF_THE_ARSG_PAPER.values():
        counts = {
            len(experiment.candidates(each, BUDGET, experiment.size("full")))
            for each in experiment.entrants
        }
        assert counts == {10}, experiment.name


def test_todays_methods_follow_their_authors_schedules():
    experiment = find_experiment("cifar10-resnet20-fast")
    size = experiment.size("full")
    schedules = {}
    for entrant in experiment.entrants:
        settings = next(iter(entrant.fixed.values()))
        task = experiment.trial(entrant, settings, size, 0).chosen_task()
        schedules[entrant.label] = type(task.schedule)
    for label in ("AdamW", "AdEMAMix", "Prodigy", "Muon"):
        assert schedules[label] is Cosine, label
    assert schedules["Schedule-free"] is Constant
    assert schedules["ARSG"] is Drops


def test_a_muon_without_hidden_layers_takes_no_part():
    labels = [each.label for each in find_experiment("mnist-logreg").entrants]
    assert "Muon" not in labels
    assert find_experiment("mnist-cnn").entrant("Muon").optimizer == "hidden_muon"


def test_seeds_of_second_rank():
    experiment = find_experiment("mnist-cnn")
    size = experiment.size("published")
    seeds = {
        each.label: len(
            experiment.repeated(each, next(iter(each.fixed.values())), PUBLISHED, size)
        )
        for each in experiment.entrants
    }
    three = {"SGD", "Adam", "AMSGrad", "RSG", "ARSG", "ARSGB", "Schedule-free"}
    assert {label for label, count in seeds.items() if count == 3} == three
    assert {count for label, count in seeds.items() if label not in three} == {1}
    # Seed by seed, so that an interrupted comparison has all methods.
    first = first_trials(experiment, size)
    assert [trial.seed for trial in first] == sorted(trial.seed for trial in first)


def test_unknown_names_are_listed():
    with pytest.raises(UsageError, match="known experiments: mnist-logreg, mnist-cnn"):
        find_experiment("mnist")
    with pytest.raises(UsageError, match="one of full, published, small, got 'huge'"):
        find_experiment("mnist-cnn").size("huge")
    with pytest.raises(UsageError, match="unknown optimizer 'lion'"):
        find_method("lion")


def test_a_plan_counts_each_trial_once(tmp_path):
    experiment, store = find_experiment("mnist-logreg"), Store(tmp_path)
    size = experiment.size("full")
    plan = make_plan(experiment, size, store)
    keys = {trial.key() for trial in plan.first}
    assert len(keys) == len(plan.first)
    # Grids; the other seeds of what the authors chose; all seeds of what today's
    # methods are recommended with; the other nine of their candidates; and of the
    # paper's methods what their ten candidates have and their grids have not: two
    # larger steps of SGD and RSG, four of Adam, NAdam, AMSGrad, three of Ranger, ARSG
    # and ARSGB.
    today, larger = 4 * 5 + 4 * 9, 2 * 2 + 3 * 4 + 3 * 3
    assert len(plan.first) == sum(COUNTS.values()) + 8 * 4 + today + larger
    assert plan.cached == 0
    # Five seeds of eight choices from grids and twelve from budgets, which are guessed
    # to be the first candidate: of RSG, ARSG, ARSGB the same in grid and budget.
    assert plan.later == 5 * (8 + 12 - 3)
    # Nothing is recorded: what an epoch usually takes.
    epochs = 20 * (len(plan.first) + plan.later)
    seconds = USUAL_EPOCHS["mnist-logreg"].seconds
    assert plan.hours == pytest.approx(epochs * seconds / 3600)
    for trial in plan.first[:10]:
        store.keep(_record(trial))
    plan = make_plan(experiment, size, store)
    runs = len(plan.first) - 10 + plan.later
    assert plan.cached == 10 and plan.hours == pytest.approx(runs * 20 / 3600)


def test_the_grid_chooses_once_it_is_complete(tmp_path):
    experiment, store = find_experiment("mnist-logreg"), Store(tmp_path)
    size = experiment.size("full")
    entrant = experiment.entrant("ARSG")
    trials = experiment.candidates(entrant, GRID, size)
    for number, trial in enumerate(trials):
        assert setting_of(experiment, entrant, GRID, size, store) is None
        store.keep(_record(trial, loss=abs(number - 2)))
    found = setting_of(experiment, entrant, GRID, size, store)
    assert found is not None and found.learning_rate == trials[2].learning_rate
    again = experiment.repeated(entrant, found, GRID, size)
    # Seed 0 chose, and is not reported.
    assert [trial.seed for trial in again] == [1, 2, 3, 4, 5]
    assert dataclasses.replace(again[0], seed=0).key() == trials[2].key()
    later = {trial.key() for trial in later_trials(experiment, size, store)}
    assert {trial.key() for trial in again} <= later


def test_strategies_to_generalize_choose_on_held_out_examples(tmp_path):
    experiment, store = find_experiment("namsg-mnist-logreg"), Store(tmp_path)
    size = experiment.size("full")
    entrant = experiment.entrant("SWNTS1")
    candidates = experiment.candidates(entrant, GRID, size)
    assert len(candidates) == 12 and all(trial.held_out for trial in candidates)
    for number, trial in enumerate(candidates):
        record = _record(trial)
        right = 0.9 - 0.01 * abs(number - 5)
        epoch = record.epochs[0]._replace(test_accuracy_x=right)
        store.keep(dataclasses.replace(record, epochs=(epoch,) * 20))
    found = setting_of(experiment, entrant, GRID, size, store)
    assert found == candidates[5].settings
    runs = experiment.repeated(entrant, found, GRID, size)
    assert len(runs) == 10 and not any(trial.held_out for trial in runs)


def test_fine_mode_chooses_on_held_out_examples():
    fast, fine = (find_experiment(f"cifar10-resnet20-{m}") for m in ("fast", "fine"))
    for experiment, held_out in ((fast, False), (fine, True)):
        for entrant in experiment.entrants:
            for trial in experiment.candidates(entrant, GRID, experiment.size("full")):
                assert trial.held_out is held_out


def test_todays_methods_decay_in_their_own_way_only():
    experiment = find_experiment("cifar10-resnet20-fast")
    size = experiment.size("full")
    decays = {
        each.label: experiment.trial(each, next(iter(each.fixed.values())), size, 0)
        .chosen_task()
        .l2
        for each in experiment.entrants
    }
    today = {"AdamW", "Schedule-free", "AdEMAMix", "Prodigy", "Muon"}
    assert {label for label, l2 in decays.items() if l2 == 0} == today
    assert {l2 for label, l2 in decays.items() if label not in today} == {1e-3}


def test_a_step_at_the_edge_of_its_candidates():
    experiment = find_experiment("mnist-logreg")
    for label, optimizer in (("ARSG", "arsg"), ("SGD", "sgd"), ("Prodigy", "prodigy")):
        entrant = experiment.entrant(label)
        assert entrant.optimizer == optimizer
        candidates = entrant.searched[BUDGET]
        edges = [is_at_edge(entrant, BUDGET, each) for each in candidates]
        assert edges == [True, *[False] * 8, True]
    # Of SGD the step of the mean counts: 10 with the momentum 0.999 is the largest.
    sgd = experiment.entrant("SGD")
    by_mean = {
        round(each.learning_rate / (1 - each.options["momentum"]), 6)
        for each in sgd.searched[GRID]
        if is_at_edge(sgd, GRID, each)
    }
    assert by_mean == {0.05, 10.0}


def test_a_part_of_the_data_takes_a_part_of_the_time(tmp_path):
    experiment = find_experiment("cifar10-resnet20-fast")
    plan = make_plan(experiment, experiment.size("small"), Store(tmp_path))
    # A fifth of the images, eight epochs, one seed of each method.
    usual = USUAL_EPOCHS["cifar10-resnet20"]
    epoch = usual.evaluation + (usual.seconds - usual.evaluation) / 5
    assert len(plan.first) == len(experiment.entrants) and plan.later == 0
    assert plan.hours == pytest.approx(len(plan.first) * 8 * epoch / 3600)


@pytest.mark.parametrize(
    "name", [name for name, each in EXPERIMENTS.items() if "small" in each.sizes]
)
def test_small_is_less_than_two_hours(name, tmp_path):
    experiment = EXPERIMENTS[name]
    size = experiment.size("small")
    hours = make_plan(experiment, size, Store(tmp_path)).hours
    assert hours is not None and hours < 2


def test_nobody_knows_how_long_imagenet_takes(tmp_path):
    unknown = find_experiment("imagenet-resnet50")
    assert make_plan(unknown, unknown.size("full"), Store(tmp_path)).hours is None
