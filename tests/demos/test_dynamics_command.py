"""`arsg dynamics`: files, table, exit codes."""

import contextlib
import io
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from arsg_optax.demos import cli
from arsg_optax.demos.dynamics_summary import Setting, summarize
from arsg_optax.dynamics import plot

_FIGURES = {"arsg-figure-1", "namsg-figure-1", "gain-and-noise", "along-time"}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[Path, str]:
    """One request for several tests: its directory, and what it printed."""
    directory = tmp_path_factory.mktemp("dynamics")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        arguments = ["--learning-rate", "0.5", "--out", str(directory), "--html"]
        assert cli.main(["dynamics", *arguments]) == 0
    return directory, printed.getvalue()


def test_files(results: tuple[Path, str]):
    directory, printed = results
    names = {f"{name}.{kind}" for name in _FIGURES for kind in ("png", "svg")}
    assert {file.name for file in directory.iterdir()} == names | {"dynamics.html"}
    for name in _FIGURES:
        with Image.open(directory / f"{name}.png") as image:
            assert image.width > 1000 and image.height > 500
            shades = image.convert("L").getextrema()
        assert shades == (0, 255)
        root = ElementTree.parse(directory / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20
    assert all(str(directory / name) in printed for name in names)


def test_table_is_printed(results: tuple[Path, str]):
    alpha, b1, mu = 0.5, 0.999, 0.1
    bound = 2 * (1 + b1) / (1 - b1 + 2 * b1 * mu) / alpha
    fastest = (1 - b1) / (1 - math.sqrt(b1 * (1 - mu))) ** 2 / alpha
    table = results[1]
    for name, value in (
        ("convergence bound λ", bound),
        ("fastest curvature λ*", fastest),
    ):
        line = next(line for line in table.splitlines() if line.startswith(name))
        words = line.removeprefix(name).split()
        assert float(words[0]) == pytest.approx(value, rel=1e-3)
        assert len(words) > 4  # and says what it is
    assert "α = 0.5, β = 0.999, μ = 0.1" in table
    assert all(len(line) <= 110 for line in table.splitlines() if "/" not in line)


def _values(*setting: float) -> dict[str, str]:
    return {line.name: line.value for line in summarize(Setting(*setting))}


def test_values_of_the_default():
    """Complex eigenvalues have the modulus √det A, real ones solve the quadratic."""
    b1, mu = 0.999, 0.1
    values = _values(0.1, b1, mu, 0.01, 100.0)
    fastest = (1 - b1) / (1 - math.sqrt(b1 * (1 - mu))) ** 2
    gain = math.sqrt(b1 * (1 - mu * fastest))
    assert float(values["gain at λ*"]) == pytest.approx(gain, rel=1e-4)
    small = math.sqrt(b1 * (1 - mu * 0.001))
    assert float(values["gain at λ = 0.01"]) == pytest.approx(small, abs=1e-7)
    trace = 1 + b1 - 10 * (1 - b1 * (1 - mu))
    root = math.sqrt(trace**2 - 4 * b1 * (1 - 10 * mu))
    large = (abs(trace) + root) / 2
    assert float(values["gain at λ = 100"]) == pytest.approx(large, rel=1e-4)
    assert 0 < float(values["noise at λ = 0.01"]) < float(values["noise at λ = 100"])
    doubled = (1 - b1) / (1 - math.sqrt(b1 * (1 - 2 * mu))) ** 2
    assert float(values["boost ratio"]) == pytest.approx(doubled / fastest, rel=1e-3)


def test_values_of_gradient_descent():
    """At β = 0 the step is 1 - τ, and the variance τ / (2 - τ)."""
    values = _values(0.5, 0.0, 0.3, 1.0, 3.0)
    assert values["convergence bound λ"] == "4"
    assert values["fastest curvature λ*"] == "2"
    assert (values["gain at λ = 1"], values["gain at λ = 3"]) == ("0.5", "0.5")
    assert values["noise at λ = 1"] == "0.3333"
    assert values["noise at λ = 3"] == "3"


def test_what_does_not_converge():
    lines = {line.name: line for line in summarize(Setting(1, 0.9, 0.5, -1, 1e3))}
    for curvature in ("-1", "1000"):
        assert "diverges" in lines[f"gain at λ = {curvature}"].meaning
        assert lines[f"noise at λ = {curvature}"].value == "infinite"
    assert lines["boost ratio"].value == "none"


def test_boost_ratio_of_the_paper():
    assert _values(1, 0.999, 0.05, 0.1, 1)["boost ratio"] == "0.2483"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learning-rate", "0"], ["--learning-rate", "positive", "0"]),
        (["--learning-rate", "inf"], ["--learning-rate", "inf"]),
        (["--learning-rate", "nan"], ["--learning-rate", "nan"]),
        (["--b1", "1"], ["--b1", "[0, 1)", "1"]),
        (["--b1", "-0.1"], ["--b1", "[0, 1)", "-0.1"]),
        (["--observation", "1.5"], ["--observation", "[0, 1)", "1.5"]),
        (["--lambda-min", "nan"], ["--lambda-min", "nan"]),
        (["--lambda-max", "inf"], ["--lambda-max", "inf"]),
        (["--delta", "0"], ["--delta", "0"]),
        (["--steps", "0"], ["--steps", "1,000,000", "0"]),
        (["--lambda-min", "5", "--lambda-max", "2"], ["--lambda-max", "above", "2"]),
    ],
)
def test_numbers_out_of_range(arguments, words, tmp_path: Path, capsys):
    out = tmp_path / "results"
    assert cli.main(["dynamics", *arguments, "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message
    assert len(message.splitlines()) == 1
    assert not out.exists()


def test_texts_in_place_of_numbers(tmp_path: Path, capsys):
    assert cli.main(["dynamics", "--b1", "high", "--out", str(tmp_path / "x")]) == 2
    printed = capsys.readouterr()
    assert "high" in printed.err + printed.out
    assert not (tmp_path / "x").exists()


def test_help_tells_the_units(capsys):
    assert cli.main(["dynamics", "--help"]) == 0
    text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    for option in ("learning-rate", "b1", "observation", "lambda-min", "lambda-max"):
        assert f"--{option}" in text
    assert "--delta" in text and "--steps" in text
    for unit in ("parameter² per loss", "dimensionless", "loss per parameter²"):
        assert unit in text
    assert "runs/<timestamp>-dynamics" in text


def test_default_directory(monkeypatch, tmp_path: Path):
    """And numbers at the edges of what is allowed can be drawn."""
    monkeypatch.chdir(tmp_path)
    for name in ("arsg_figure_1", "namsg_figure_1"):  # They know no setting.
        monkeypatch.setattr(plot, name, Figure)
    edges = ["--b1", "0.9999999", "--observation", "0.999", "--lambda-min", "-1e100"]
    assert cli.main(["dynamics", *edges, "--learning-rate", "1e-100", "--html"]) == 0
    (directory,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-dynamics", directory.name)
    assert len(list(directory.iterdir())) == 9
