"""Verdicts on the papers' theory: computed, kept, read, and able to say no."""

import json

import jax
import pytest

from arsg_optax import dynamics
from arsg_optax.demos.errors import UsageError
from scripts.reproduction.__main__ import main
from scripts.reproduction.commands import THEOREMS
from scripts.reproduction.findings import theorem_file, theorems
from scripts.reproduction.findings.judges import NOT, NOT_RUN, PARTLY

QUICK = [
    each
    for each in theorems.THEOREMS
    if each.measure in (theorems.namsg_corollary, theorems.namsg_guideline)
]


def test_the_committed_verdicts_are_of_these_statements():
    kept = json.loads(THEOREMS.read_bytes())
    assert [row["text"] for row in kept] == [each.text for each in theorems.THEOREMS]
    quick = json.loads(theorem_file.encoded(theorems.measure(QUICK)))
    assert quick and all(row in kept for row in quick)


def test_a_wrong_rate_is_not_reproduced(monkeypatch):
    right = dynamics.theorem1_rate
    monkeypatch.setattr(
        dynamics,
        "theorem1_rate",
        lambda kappa, *c: right(kappa, *c) - 0.1 * kappa**-0.5,
    )
    with jax.enable_x64(True):
        assert theorems.worst_gain().verdict == NOT


def test_the_right_rate_is_reproduced_but_where_eigenvalues_merge():
    with jax.enable_x64(True):
        assert theorems.worst_gain().verdict == PARTLY


def test_what_is_not_in_the_file_is_not_run(tmp_path):
    found = theorem_file.read(tmp_path / "none.json")
    assert [verdict.verdict for _, verdict in found] == [NOT_RUN] * len(found)


@pytest.mark.parametrize(
    "text",
    ["{", "3", '[{"text": 1}]', '[{"text": "a", "verdict": "b", "evidence": ""}]'],
)
def test_a_damaged_file_is_refused(tmp_path, text):
    path = tmp_path / "theorems.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="delete it, or write it anew"):
        theorem_file.read(path)


def test_the_command_writes_and_prints(tmp_path, monkeypatch, capsys):
    measured = theorems.measure(QUICK)
    monkeypatch.setattr(theorems, "measure", lambda: measured)
    path = tmp_path / "new" / "theorems.json"
    assert main(["theorems", "--out", str(path)]) == 0
    assert path.read_bytes() == theorem_file.encoded(measured)
    assert f"{NOT}: Eq. 16 follows from eq. 14" in capsys.readouterr().out
