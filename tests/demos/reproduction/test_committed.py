"""What is committed of the reproductions is what its records give."""

import json
from pathlib import Path

import pytest

from scripts.reproduction.experiments import EXPERIMENTS, find_experiment
from scripts.reproduction.report.files import contents
from scripts.reproduction.report.overview import look
from scripts.reproduction.runs.plan import known_trials
from scripts.reproduction.store import Store

ROOT = Path(__file__).parents[3]
RESULTS = sorted(
    path.parent
    for path in (ROOT / "results").glob("*/about.json")
    if "experiment" in json.loads(path.read_text())
)
STORE = Store(ROOT / "results" / "runs")
pytestmark = pytest.mark.skipif(
    not (ROOT / "results").exists(), reason="the source archive holds no results"
)


@pytest.mark.parametrize("directory", RESULTS, ids=lambda path: path.name)
def test_tables_and_verdicts_are_those_of_the_records(directory):
    about = json.loads((directory / "about.json").read_text())
    overview = look(find_experiment(about["experiment"]), about["size"], STORE)
    assert overview.done == overview.total, "committed results are complete"
    found = contents(overview, about["command"], pictures=False)
    for name, content in found.items():
        assert (directory / name).read_bytes() == content, name
    assert {"verdicts.md", "about.json"} <= set(found)
    # Settings that every method gets alike stand in a table of their own.
    assert {"table.md", "table.csv"} <= set(found) or {"today.md", "today.csv"} <= set(
        found
    )
    for kind in overview.kinds:
        for ending in ("png", "svg"):
            assert (directory / f"{kind}.{ending}").stat().st_size > 1000


def test_there_are_some():
    assert RESULTS


@pytest.mark.parametrize(
    ("picture", "results", "name"),
    [
        ("mnist_logreg_budget.png", "mnist-logreg-full", "budget.png"),
        ("mnist_cnn_recommended.png", "mnist-cnn-published", "recommended.png"),
        ("today_ablation.png", "today-ablation-full", "budget.png"),
        ("today_points.png", "today-points-full", "budget.png"),
    ],
)
def test_pictures_of_the_documentation_are_the_results(picture, results, name):
    (source,) = (path for path in RESULTS if path.name[11:] == results)
    shown = ROOT / "docs/images" / picture
    assert shown.read_bytes() == (source / name).read_bytes()


def test_records_are_whole_and_named_by_their_trials():
    paths = sorted(STORE.directory.glob("*.json"))
    records = STORE.records()
    assert len(records) == len(paths) > 300
    for path, record in zip(paths, records, strict=True):
        assert path.stem == record.config.key()
    assert sum(path.stat().st_size for path in paths) < 4e6


def test_every_record_belongs_to_an_experiment():
    wanted = {
        trial.key()
        for experiment in EXPERIMENTS.values()
        for size in experiment.sizes.values()
        for trial in known_trials(experiment, size, STORE)
    }
    assert {record.config.key() for record in STORE.records()} <= wanted
