"""The scripts that draw pictures of the documentation write files."""

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("tyro")

from scripts import draw_oscillation

# The scripts run outside of the tests' configuration, with standard promotion.
pytestmark = pytest.mark.usefixtures("relaxed_promotion")


def test_draw_oscillation_writes_a_picture(tmp_path, capsys):
    output = tmp_path / "oscillation.png"
    options = draw_oscillation.Options(output=output, task="digits-mlp", epochs=1)
    draw_oscillation.main(options)
    assert 10_000 < output.stat().st_size < 500_000
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[:4]]
    ratios = [float(cell) for row in rows[2:] for cell in row[1:5]]
    assert len(ratios) == 8 and min(ratios) >= 1
