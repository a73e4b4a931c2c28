"""The campaign's attacks: each runs, and notices a failure that is planted."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from arsg_optax.demos.tasks.records import RECORD
from scripts.attack import (
    campaign,
    checkpoints,
    damage,
    fuzz,
    hostile,
    kills,
    lab,
    soak,
    starts,
    storms,
    targets,
)
from scripts.attack.lab import Failed, Lab
from tests.demos.quiet import quiet_checkpoints
from tests.interop.table import TABLE

pytestmark = [
    quiet_checkpoints,
    pytest.mark.filterwarnings("ignore:overflow encountered"),
]


@pytest.fixture(autouse=True)
def standard_promotion():
    """As a user has it, and Optax's own optimizers need it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def here(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_all_public_optimizers_and_transforms_are_fuzzed():
    assert {"arsg", "orsg", "adarem_s", "project", "remote_chain"} <= set(fuzz.makers())
    assert len(fuzz.makers()) >= 29 and "eval_params" not in fuzz.makers()


def test_fuzz(here: Lab, monkeypatch):
    for seed in range(3):
        assert fuzz.trial(here, random(seed)).split(", ")[0] in fuzz.makers()
    tree = {"a": jnp.ones(2)}
    wrong: dict[str, Any] = {
        "TypeError instead": lambda b1: optax.sgd("0.1").missing(),
        "another tree": lambda b1: optax.stateless(lambda u, p: [u]),
        "bfloat16.2,. for float32": lambda b1: optax.stateless(
            lambda u, p: jax.tree.map(lambda x: x.astype(jnp.bfloat16), u)
        ),
        "not finite": lambda b1: optax.scale(float("nan")),
        "names no argument": lambda b1: int("no"),
    }
    wrong["AttributeError instead"] = wrong.pop("TypeError instead")
    for message, make in wrong.items():
        with pytest.raises(Failed, match=message):
            fuzz.attempt(fuzz.Call("wrong", make, {"b1": 0.5}, tree, tree))


def test_a_storm_is_kept_out_by_the_guard_alone(here: Lab):
    row = next(row for row in TABLE if row.name == "rsg")
    training = storms.make_training(row)
    here.once("rsg", lambda folder: training)
    seed = next(n for n in range(99) if TABLE[random(n).integers(len(TABLE))] is row)
    assert storms.trial(here, random(seed)) == "rsg"
    assert list(here.facts.values()) == ["1 to 1 of 15 parameters without it"]
    bare = Lab(here.folder)
    bare.once("rsg", lambda folder: storms.make_training(row, guard=False))
    with pytest.raises(Failed, match=r"rsg: .* passes apply_if_finite"):
        storms.trial(bare, random(seed))


def test_soak(here: Lab):
    here.soak_steps = 100
    assert soak.trial(here, random()) == "float32, 100 steps"
    (fact,) = here.facts.values()
    assert "1 counts at 2**31 - 1" in fact
    with pytest.raises(Failed, match=r"sgd: the loss is \+50.00% off"):
        soak.check("sgd", 0.5, soak.ALLOWED["bfloat16"])
    with pytest.raises(Failed, match="the loss is not finite"):
        soak.check("sgd", float("nan"), 1.0)
    # A count that wraps around, as without Optax's safe increment.
    wraps = optax.GradientTransformation(
        lambda params: SimpleCount(jnp.zeros([], jnp.int32)),
        lambda u, s, p=None: (u, SimpleCount(s.count + 1)),
    )
    row = TABLE[0]._replace(name="wraps", factory=lambda **arguments: wraps)
    with pytest.raises(Failed, match="wraps: a count turned negative"):
        soak.end_of_count(row)


class SimpleCount(optax.ScaleByScheduleState):
    """A state with a count."""


def test_checkpoints_in_a_row(here: Lab, monkeypatch):
    monkeypatch.setattr(checkpoints, "_EVERY", 4)
    for n in range(4):
        assert checkpoints.trial(here, random(n)) == "saved"
    assert here.facts["in a row"].startswith("after 4 checkpoints files ")
    monkeypatch.setattr(checkpoints, "_SETTLED", 1)
    row = here.once("row", checkpoints._Row)
    for n in range(200):
        (row.directory / f"left-{n}").touch()
    with pytest.raises(Failed, match="files grew from"):
        for n in range(4):
            checkpoints.trial(here, random(n))


def test_damage_is_noticed_where_a_check_is_missing(here: Lab, monkeypatch):
    whole = damage.make_run(here, here.folder)
    file = whole / RECORD
    before = file.read_text()
    for seed in range(5):
        damage.harm(file, random(seed))
        assert file.read_text(errors="replace") != before
        file.write_text(before)
    how, end = damage._record(here, random(), _folder(here, "one"))
    assert how in ("flipped bit", "cut", "zeros") and end == "refused by name"
    # Without a checksum a flipped digit is taken for the truth.
    plain = json.loads(before)
    plain["seconds"] += 1
    monkeypatch.setattr("arsg_optax.demos.tasks.records._checksum", lambda held: "")
    plain["checksum"] = ""
    file.write_text(json.dumps(plain))
    with pytest.raises(Failed, match="taken without a word, with another result"):
        lab.outcome_of(lambda: damage._values(file), (str(file),), (0,))
    with pytest.raises(Failed, match="refused without a name"):
        file.write_text("{}")
        lab.outcome_of(lambda: damage._values(file), ("another",), (0,))


def _folder(here: Lab, name: str) -> Path:
    (here.folder / name).mkdir()
    return here.folder / name


def test_hostile_files(here: Lab, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number, kind in enumerate(hostile._KINDS):
        if kind in ("configuration", "checkpoint's metadata"):
            continue  # These train.
        with contextlib.suppress(lab.MESSAGES):
            hostile._KINDS[kind](here, random(number), _folder(here, f"{number}"))
    monkeypatch.setitem(
        hostile._KINDS, "names", lambda lab, r, f: (f.parent / "out").touch()
    )
    choose = SimpleNamespace(choice=lambda kinds: "names")
    with pytest.raises(Failed, match="names wrote"):
        hostile.trial(here, choose)


def test_a_command_that_a_kill_leaves_broken(here: Lab, monkeypatch):
    """What the trials ask of commands, without the seconds that a command takes."""
    target = targets.digits("arsg")
    here.once(target.name, lambda folder: targets.Unharmed((1.0,), 5))
    ends = iter([(-9, ""), (0, ""), (3, "no")])
    monkeypatch.setattr(here, "run", lambda *arguments: next(ends))
    drawn = SimpleNamespace(
        integers=lambda *ends: 1 if ends == (1, 4) else 0,
        choice=lambda kinds, p=None: 0 if isinstance(kinds, int) else "SIGKILL",
        random=lambda: 0.9,
    )
    known = target._replace(result=lambda folder: (2.0,))
    monkeypatch.setattr(kills, "digits", lambda name: known)
    with pytest.raises(Failed, match="arsg train, arsg has another result"):
        kills.trial(here, drawn)
    with pytest.raises(Failed, match="SIGKILL ends arsg train, arsg with 3: no"):
        kills.trial(here, drawn)


_HARMED = """
import sys
from pathlib import Path
from scripts.attack.victim import Harm, _watch
under, at, signal, limit = sys.argv[1:]
harm = Harm(under, int(at), None, signal or None, int(limit) if limit else None)
count = _watch(harm)
folder = Path(under)
folder.mkdir()
(folder / "one").write_bytes(bytes(100))
(folder / "one").read_bytes()
(folder / "one").rename(folder / "two")
print(next(count))
"""


@pytest.mark.parametrize(
    ("at", "signal", "limit", "code", "left"),
    [
        (9, "", "", 0, ["two"]),
        (0, "SIGKILL", "", -9, None),
        (1, "SIGKILL", "", -9, []),
        (2, "SIGTERM", "", -15, ["one"]),
        (1, "", "10", 1, ["one"]),
    ],
)
def test_a_harm_strikes_at_a_file_operation(at, signal, limit, code, left, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", _HARMED, str(out), str(at), signal, limit]
    found = subprocess.run(command, capture_output=True, text=True, cwd=lab.ROOT)
    assert found.returncode == code, found.stderr
    assert left == (sorted(p.name for p in out.iterdir()) if out.exists() else None)
    if code == 0:
        assert found.stdout == "3\n"  # Reading is no change.
    if limit:
        assert "File too large" in found.stderr
        with pytest.raises(Failed, match="x y prints a traceback"):
            lab.no_traceback(found.stderr, ("x", "y"))


def test_two_that_both_do_one_run(here: Lab, monkeypatch):
    done = SimpleNamespace(communicate=lambda: ("", ""), returncode=0)
    target = targets.digits("arsg")
    here.once(target.name, lambda folder: targets.Unharmed((), 5))
    monkeypatch.setattr(here, "start", lambda *arguments: done)
    drawn = SimpleNamespace(
        choice=lambda kinds: "new run", integers=lambda a, b: 2, uniform=lambda a, b: 0
    )
    with pytest.raises(Failed, match="new run: several do it"):
        starts.trial(here, drawn)


def test_the_table_adds_up_and_repeats_what_failed(tmp_path: Path, monkeypatch, capsys):
    numbers: list[int] = []

    def trial(lab: Lab, random: np.random.Generator) -> str:
        numbers.append(int(random.integers(10**6)))
        lab.facts["size"] = "3"
        if len(numbers) % 2:
            raise Failed("it broke")
        return "one thing"

    attacks = {"some": campaign.Attack(trial, 1, "A sentence.")}
    monkeypatch.setattr(campaign, "ATTACKS", attacks)
    minutes = ["--minutes", "0", "--results", str(tmp_path)]
    assert campaign.main([*minutes, "--seed", "5"]) == 1
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith("-attack")
    text = (folder / "table.md").read_text()
    assert "| some | failed | 1 | 1 | 1 |" in text and "it broke" in text
    again = "python -m scripts.attack --only some --seed 5 --trial 0"
    assert again in text and again in capsys.readouterr().out
    assert campaign.main([*minutes, "--seed", "6"]) == 0
    campaign.main([*minutes, "--seed", "7"])
    assert campaign.main([*minutes, "--seed", "8"]) == 0
    held = json.loads((folder / "table.json").read_text())
    assert held["together"] == {"some: failed": 2, "some: one thing": 2}
    assert held["facts"] == {"some": {"size": "3"}} and held["failures"] == []
    # What only earlier runs tried stays in the table.
    assert "| some | failed | 0 | 0 | 2 |" in (folder / "table.md").read_text()
    campaign.main(["--only", "some", "--seed", "5", "--trial", "0"])
    assert numbers[-1] == numbers[0] != numbers[1]
    assert campaign.main(["--list"]) == 0
    assert "A sentence." in capsys.readouterr().out


def test_ctrl_c_ends_with_the_table(tmp_path: Path, monkeypatch):
    def trial(lab: Lab, random: np.random.Generator) -> str:
        raise KeyboardInterrupt

    attacks = {name: campaign.Attack(trial, 1, "") for name in ("one", "two")}
    monkeypatch.setattr(campaign, "ATTACKS", attacks)
    assert campaign.main(["--results", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    assert "nothing was tried" in (folder / "table.md").read_text()


def test_names_of_attacks_are_checked():
    with pytest.raises(ValueError, match="unknown attack 'x'; known attacks: fuzz"):
        campaign.main(["--only", "x"])
    with pytest.raises(ValueError, match="--trial needs --only NAME and --seed"):
        campaign.main(["--trial", "3"])
