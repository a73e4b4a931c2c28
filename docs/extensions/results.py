"""The page of all reproductions, with a way back to the documentation."""

from pathlib import Path

_BODY = "<body>\n"


def write(report: Path, directory: Path) -> Path:
    """The directory, with the report in it; its name stays."""
    page = report.read_text("utf-8")
    assert page.count(_BODY) == 1
    back = '<p><a href="reproductions.html">← Documentation of arsg_optax</a></p>\n'
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / report.name
    target.write_text(page.replace(_BODY, _BODY + back), encoding="utf-8")
    return directory
