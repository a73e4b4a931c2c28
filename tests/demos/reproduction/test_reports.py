"""Tables, verdicts and the page of fixed records equal stored ones."""

import json
import re
import xml.etree.ElementTree as ET
from html import escape

import pytest

from scripts.reproduction.experiments.entrants import PUBLISHED, RECOMMENDED
from scripts.reproduction.report.figures import curve, draw_results
from scripts.reproduction.report.files import write_results
from scripts.reproduction.report.overview import largest, look, verdicts
from scripts.reproduction.report.page import render
from scripts.reproduction.runs.plan import first_trials, later_trials
from scripts.reproduction.store import Store
from tests.demos.reproduction.synthetic import experiment, fill, stored

STORED = ("table.md", "reach-table.csv", "today.csv", "verdicts.md")
_IMAGE = re.compile(r'src="data:image/svg\+xml;base64,[A-Za-z0-9+/=]+"')


@pytest.fixture
def store(tmp_path):
    """The records of all runs of the synthetic experiment."""
    found = Store(tmp_path / "runs")
    size = experiment().size("full")
    fill(found, first_trials(experiment(), size))
    fill(found, later_trials(experiment(), size, found))
    return found


def test_the_report_of_fixed_records_is_the_stored_one(store, tmp_path):
    overview = look(experiment(), "full", store)
    out = tmp_path / "out"
    out.mkdir()
    files = write_results(out, overview, "python -m scripts.reproduction NAME")
    names = {file.name for file in files}
    assert names == {
        *("table.md", "table.csv", "reach-table.md", "reach-table.csv"),
        *("today.md", "today.csv", "reach-today.md", "reach-today.csv"),
        *(
            f"{kind}.{e}"
            for kind in ("published", "grid", "recommended")
            for e in ("png", "svg")
        ),
        *("verdicts.md", "about.json"),
    }
    # To store new ones: look at them first.
    found = {name: (out / name).read_text() for name in STORED}
    assert found == stored(*STORED)
    page = render([overview], "python -m scripts.reproduction report")
    assert len(_IMAGE.findall(page)) == 3
    # A chip for each claim leads to what unfolds below.
    chips = re.findall(r'href="#([\w-]+)" title="[^"]+" class="chip', page)
    claims = {each.claim.text for each in verdicts(overview)}
    assert len(chips) == len(claims) > 1
    assert all(f'<li id="{chip}"><details>' in page for chip in chips)
    assert page.index("<img ") < page.index("<li id=")
    for line in found["verdicts.md"].splitlines()[2:]:
        cells = [cell for cell in line.strip("| ").split(" | ") if cell]
        assert [c for c in cells if escape(c) not in page] == [], line


def test_figures_are_pictures(store):
    overview = look(experiment(), "full", store)
    images = draw_results(experiment(), overview.of_kind(PUBLISHED), "a title")
    assert images["png"].startswith(b"\x89PNG")
    assert ET.fromstring(images["svg"]).tag.endswith("svg")


def test_a_curve_is_the_mean_of_the_seeds(store):
    overview = look(experiment(), "full", store)
    adam = {each.label: each for each in overview.of_kind(PUBLISHED)}["Adam"]
    found = curve(adam, lambda epoch: epoch.train_loss)
    assert list(found.values) == pytest.approx(
        [0.905, 0.705, 0.605, 0.505] + [0.505] * 26
    )
    assert found.high is not None and found.low is not None
    assert found.high[0] == pytest.approx(0.91) and found.low[0] == 0.9


def test_what_is_missing_is_not_shown(tmp_path):
    store = Store(tmp_path)
    size = experiment().size("full")
    trials = first_trials(experiment(), size)
    fill(store, [trial for trial in trials if trial.optimizer == "adam"])
    overview = look(experiment(), "full", store)
    assert {(each.label, each.kind) for each in overview.results} == {
        ("Adam", PUBLISHED),
    }
    # ARSG is missing, so nothing is judged.
    assert {each.verdict.verdict for each in verdicts(overview)} == {"not run"}


def test_the_largest_size_that_is_all_there(store, tmp_path):
    assert largest(experiment(), store).name == "full"
    small = experiment().size("small")
    other = Store(tmp_path / "other")
    assert not largest(experiment(), other).results
    fill(other, first_trials(experiment(), small))
    found = largest(experiment(), other)
    assert found.name == "small" and found.done == found.total == 6
    # What is scaled says nothing of the paper's claims.
    judged = verdicts(found)
    assert {each.verdict.verdict for each in judged} == {"not run"}
    assert "not at the protocol's length (a half)" in judged[0].verdict.evidence


def test_about_tells_what_it_rests_on(store, tmp_path):
    write_results(
        tmp_path,
        look(experiment(), "full", store),
        "python -m scripts.reproduction NAME",
    )
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["command"] == "python -m scripts.reproduction NAME"
    assert about["machines"] == ["device cpu, jax 0.10"]
    assert about["candidates"]["Adam"] == {"grid": 2}
    assert about["hours"] == pytest.approx(0.01 * 17, abs=0.005)
    assert RECOMMENDED not in about["candidates"]["AdamW"]
