"""What the page and the files of an experiment share."""

from collections.abc import Sequence

from scripts.reproduction.experiments.entrants import PUBLISHED, RECOMMENDED
from scripts.reproduction.findings.results import Result
from scripts.reproduction.report.overview import (
    AS_AUTHORS_CHOOSE,
    KIND_TITLES,
    Judged,
    Overview,
)
from scripts.reproduction.report.tables import (
    TABLES,
    Table,
    main_table,
    reach_table,
)


def drawn(overview: Overview, kind: str) -> list[Result]:
    """What a figure shows: a kind, and beside what authors recommend this package's."""
    ours = [each for each in overview.of_kind(PUBLISHED) if each.ours]
    return overview.of_kind(kind) + (ours if kind == RECOMMENDED else [])


def figure_title(overview: Overview, kind: str) -> str:
    """What a figure shows."""
    counts = sorted({len(each.finished) for each in drawn(overview, kind)})
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    what = f"{overview.experiment.name}, {overview.name}: {KIND_TITLES[kind]}"
    return f"{what}; seeds of each: {many}"


def tables(overview: Overview) -> dict[str, tuple[Table, Table]]:
    """The main table and that of epochs, by name, where there are results."""
    return {
        name: (
            main_table(overview.results, kinds),
            reach_table(_reach_groups(overview, kinds)),
        )
        for name, kinds in TABLES.items()
        if any(overview.of_kind(kind) for kind in kinds)
    }


def _reach_groups(overview: Overview, kinds: Sequence[str]) -> dict[str, list[Result]]:
    """What a table of epochs compares: kinds, and recommended with published."""
    wanted = [AS_AUTHORS_CHOOSE if kind == RECOMMENDED else kind for kind in kinds]
    groups = overview.groups
    return {name: groups[name] for name in wanted if name in groups}


def verdict_table(judged: Sequence[Judged]) -> Table:
    """A head, and a line for each claim and kind of settings."""
    head = ("verdict", "claim", "source", "settings", "evidence")
    return [
        head,
        *(
            (
                each.verdict.verdict,
                each.claim.text,
                each.claim.source,
                each.kind,
                each.verdict.evidence,
            )
            for each in judged
        ),
    ]
