"""The directory of an experiment's results, made from its records alone."""

import json
from pathlib import Path

from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.tasks import find_task
from scripts.reproduction.experiments.entrants import Entrant
from scripts.reproduction.report.figures import draw_results
from scripts.reproduction.report.overview import Overview, verdicts
from scripts.reproduction.report.parts import (
    drawn,
    figure_title,
    tables,
    verdict_table,
)
from scripts.reproduction.report.tables import (
    Table,
    comma_separated,
    evidence_table,
    markdown,
)


def write_results(directory: Path, overview: Overview, command: str) -> list[Path]:
    """Writes tables, figures, verdicts and what they rest on; files are replaced.

    Args:
        directory: exists.
        overview: with at least one result.
        command: that reproduces it.

    Returns:
        The files: those of :func:`contents`.
    """
    return [
        write_atomically(directory / name, content)
        for name, content in contents(overview, command).items()
    ]


def contents(
    overview: Overview, command: str, *, pictures: bool = True
) -> dict[str, bytes]:
    """What is written, by the names of the files.

    `table` and `reach-table` (settings of the paper and of its grids), `today` and
    `reach-today` (today's methods, equal budgets) as Markdown and CSV; a picture for
    each kind of setting as PNG and SVG; `evidence`, where the experiment has
    baselines; `verdicts.md`; `about.json` (command, configuration, versions, hours).

    Args:
        overview: with at least one result.
        command: that reproduces it.
        pictures: whether to draw.
    """
    found: dict[str, bytes] = {}
    for name, (main, reach) in tables(overview).items():
        found |= _table(name, main) | _table(f"reach-{name}", reach)
    if overview.experiment.baselines:
        table = evidence_table(overview.results, overview.experiment.baselines)
        found |= _table("evidence", table)
    for kind in overview.kinds if pictures else ():
        title = figure_title(overview, kind)
        images = draw_results(overview.experiment, drawn(overview, kind), title)
        found |= {f"{kind}.{ending}": image for ending, image in images.items()}
    found["verdicts.md"] = markdown(verdict_table(verdicts(overview))).encode()
    found["about.json"] = _about(overview, command).encode()
    return found


def _table(name: str, table: Table) -> dict[str, bytes]:
    return {
        f"{name}.md": markdown(table).encode(),
        f"{name}.csv": comma_separated(table).encode(),
    }


def _about(overview: Overview, command: str) -> str:
    experiment, size = overview.experiment, overview.size
    task = find_task(experiment.task).varied(experiment.preset)
    about = {
        "command": command,
        "experiment": experiment.name,
        "source": experiment.source,
        "size": overview.name,
        "runs of the protocol": size.runs,
        "task": task.summary,
        "epochs": size.epochs or experiment.epochs or task.epochs,
        "batch size": size.batch_size or task.batch_size,
        "training examples": size.examples or "all",
        "schedule": str(task.schedule),
        "clip": task.clip,
        "L2 decay": task.l2,
        "seeds": [size.seeds, size.other_seeds],
        "candidates": {
            each.label: _candidates(each)
            for each in experiment.entrants
            if size.searches
        },
        "runs recorded": [overview.done, overview.total],
        "hours": round(overview.hours, 2),
        "machines": overview.machines,
    }
    return json.dumps(about, indent=1) + "\n"


def _candidates(entrant: Entrant) -> dict[str, int]:
    return {kind: len(found) for kind, found in entrant.searched.items()}
