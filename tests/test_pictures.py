"""The pictures' paths converge as their table says, and the scripts write files."""

import functools

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("tyro")

from PIL import Image

from scripts import draw_oscillation, draw_paths, paths

# The scripts run outside of the tests' configuration, with standard promotion.
pytestmark = pytest.mark.usefixtures("relaxed_promotion")


@functools.cache
def _paths(problem):
    return paths.run_all(problem)


@pytest.fixture
def only_the_ravine(monkeypatch):
    monkeypatch.setattr(draw_paths, "PROBLEMS", (paths.RAVINE,))
    monkeypatch.setattr(draw_paths, "run_all", _paths)


@pytest.mark.parametrize("problem", paths.PROBLEMS, ids=lambda p: p.title)
def test_every_path_leads_to_the_minimum(problem):
    assert problem.loss(np.float32(problem.minimum)) == 0
    for name, path in _paths(problem).items():
        assert path.points.shape == (problem.steps + 1, 2), name
        np.testing.assert_array_equal(path.points[0], np.float32(problem.start))
        assert np.all(np.isfinite(path.losses)), name
        late = path.losses[-problem.steps // 10 :].mean()
        assert late < 0.03 * path.losses[0], (name, late)


def test_the_iterate_is_slower_and_ends_with_less_noise():
    found = _paths(paths.RAVINE)
    held, iterate = found["RSG, held y"].losses, found["RSG, iterate x"].losses
    assert np.all(held[5:100] < iterate[5:100])
    others = [
        path.losses[-50:].mean() for name, path in found.items() if "x" not in name
    ]
    assert len(others) == 4
    assert iterate[-50:].mean() < min(others) / 3


def test_curvatures_of_a_quadratic_are_its_own():
    np.testing.assert_allclose(paths.curvatures(paths.RAVINE), (0.05, 1), rtol=1e-5)


def test_draw_paths_writes_a_picture_and_a_film(only_the_ravine, tmp_path, capsys):
    output = tmp_path / "new" / "paths.png"
    draw_paths.main(draw_paths.Options(output=output, frames=4))
    assert 10_000 < output.stat().st_size < 500_000
    film = output.with_suffix(".gif")
    assert 5_000 < film.stat().st_size < 100_000
    with Image.open(film) as image:
        assert image.size == (640, 360)
        assert image.info["loop"] == 0
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    printed = capsys.readouterr().out
    assert printed.count("| Ravine") == 6
    assert "RSG, iterate x" in printed


def test_draw_paths_without_a_film(only_the_ravine, tmp_path):
    draw_paths.main(draw_paths.Options(output=tmp_path / "paths.png", frames=0))
    assert [file.name for file in tmp_path.iterdir()] == ["paths.png"]


def test_draw_oscillation_writes_a_picture(tmp_path, capsys):
    output = tmp_path / "oscillation.png"
    options = draw_oscillation.Options(output=output, task="digits-mlp", epochs=1)
    draw_oscillation.main(options)
    assert 10_000 < output.stat().st_size < 500_000
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[:4]]
    ratios = [float(cell) for row in rows[2:] for cell in row[1:5]]
    assert len(ratios) == 8 and min(ratios) >= 1
