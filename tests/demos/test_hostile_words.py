"""Names in configurations and records from elsewhere are names, and nothing else."""

import json
from pathlib import Path

import pytest

from arsg_optax.demos import cli
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.configuration_files import read_config
from arsg_optax.demos.tasks.records import Epoch, Outcome, RunRecord, text

WORDS = (
    "../../../outside",
    "/outside",
    "__import__('os').mknod('outside')",
    "<script>alert(1)</script>",
)


@pytest.mark.parametrize("word", WORDS)
def test_a_configuration_names_only_what_there_is(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.toml"
    for name in ("task", "optimizer", "preset", "schedule", "dtype", "options.b1"):
        path.write_text(f"{name} = {json.dumps(word)}\n")
        with pytest.raises(UsageError):
            read_config(path).check()
    assert [each.name for each in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("word", ["\x1b[2J", "two\nlines"])
@pytest.mark.parametrize("name", ["optimizer", "options"])
def test_a_terminal_gets_no_commands(name: str, word: str, tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({name: {word: 1} if name == "options" else word}))
    with pytest.raises(UsageError, match=f"{name} must be printable") as refused:
        read_config(path)
    assert f"{refused.value}".isprintable()


@pytest.mark.parametrize("word", [*WORDS, "[/red]", "$\\input{/etc/passwd}$"])
def test_a_record_is_only_shown(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its words stand in a table, a picture and a page; files keep their names."""
    monkeypatch.chdir(tmp_path)
    config = RunConfig(
        task="digits-mlp",
        learning_rate=0.1,
        epochs=1,
        optimizer=word,
        options={word: 1},
    )
    epoch = Epoch(1, *5 * [1.0], *2 * [0.5])
    record = RunRecord(config, Outcome.FINISHED, (epoch,), machine={word: word})
    (tmp_path / "record.json").write_text(text(record))
    cli.main(["plot", "record.json", "--out", "drawn"])
    found = {f"{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*")}
    assert found <= {"record.json", "drawn", "drawn/curves.png", "drawn/report.html"}
    page = (tmp_path / "drawn" / "report.html").read_text()
    assert "<script" not in page and "<img src=x" not in page
