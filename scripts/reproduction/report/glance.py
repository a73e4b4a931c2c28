"""The verdicts in one glance: a chip for each claim, and below, what each rests on."""

from collections.abc import Mapping, Sequence
from html import escape

from scripts.reproduction.findings.claims import OWN
from scripts.reproduction.findings.judges import (
    NOT,
    NOT_RUN,
    PARTLY,
    REPRODUCED,
    VERDICTS,
)
from scripts.reproduction.report.overview import Judged, Overview, counted, deciding

# A sign and a class of CSS: colours alone would not do for every reader.
_SIGNS = {
    REPRODUCED: ("✓", "yes"),
    PARTLY: ("◐", "partly"),
    NOT: ("✗", "no"),
    NOT_RUN: ("–", "open"),
}

STYLE = """
.chip { display: inline-block; min-width: 1.1rem; padding: 0 0.3rem; margin: 0.1rem 0;
        border-radius: 0.3rem; text-align: center; text-decoration: none;
        font-size: 0.85rem; line-height: 1.5; color: #fff; }
.chip.yes { background: #1a7f37; } .chip.partly { background: #9a6700; }
.chip.no { background: #c62828; } .chip.open { background: #6e7781; }
.glance td { vertical-align: top; }
.glance td.chips { white-space: normal; text-align: left; min-width: 5.7rem; }
ul.claims { list-style: none; padding: 0; }
ul.claims li { margin: 0.2rem 0; } ul.claims dl { margin: 0.3rem 0 0.8rem 1.5rem; }
ul.claims dt { font-weight: 600; } ul.claims dd { margin: 0 0 0.3rem; }
li:target { outline: 2px solid var(--ours); }
details > summary { cursor: pointer; }
@media (max-width: 700px) {
  .glance .more { display: none; }
  .glance td, .glance th { padding: 0.25rem; }
  .glance td.text { white-space: normal; overflow-wrap: anywhere; } }
"""


def matrix(
    overviews: Sequence[Overview], judged: Mapping[str, Sequence[Judged]]
) -> str:
    """A row for each experiment with results, whose chips lead to the claims.

    Args:
        overviews: of the experiments, in their order.
        judged: their claims by the experiment's name, and those of what is computed
            and not run, which come first.
    """
    run = [each for each in overviews if each.results]
    experiments = {each.experiment.name for each in overviews}
    rows = [
        _row(name, found, ("", "", ""))
        for name, found in judged.items()
        if name not in experiments
    ]
    rows += [
        _row(each.experiment.name, judged[each.experiment.name], _facts(each))
        for each in run
    ]
    heads = ("experiment", "the paper's claims", "our claims")
    head = "".join(f'<th class="text">{escape(text)}</th>' for text in heads)
    head += "".join(
        f'<th class="more">{text}</th>' for text in ("size", "runs", "hours")
    )
    table = (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    legend = " ".join(f"{_chip(name)} {name}" for name in VERDICTS)
    papers, own = (told(judged, own=each) for each in (False, True))
    return (
        f"<p>Claims of the papers: {papers}. Of this package: {own}.</p>"
        f'<p>{legend}</p><div class="wide glance">{table}</div>'
        f"{_not_run([each for each in overviews if not each.results])}"
    )


def told(judged: Mapping[str, Sequence[Judged]], *, own: bool) -> str:
    """How many claims got each verdict, of the papers or of this package."""
    counts = [
        counted(each for each in found if (each.claim.source == OWN) == own)
        for found in judged.values()
    ]
    return ", ".join(
        f"{sum(each[name] for each in counts)} {name}" for name in VERDICTS
    )


def claims(experiment: str, judged: Sequence[Judged]) -> str:
    """Each claim with its chip; its source and the evidence unfold."""
    items = []
    for number, (text, deciding_one) in enumerate(deciding(judged).items()):
        kinds = [each for each in judged if each.claim.text == text]
        evidence = "".join(
            f"<dt>{escape(each.kind)} {_chip(each.verdict.verdict)} "
            f"{escape(each.verdict.verdict)}</dt><dd>{escape(each.verdict.evidence)}</dd>"
            for each in kinds
        )
        verdict, source = deciding_one.verdict.verdict, deciding_one.claim.source
        items.append(
            f'<li id="{experiment}-{number}"><details><summary>{_chip(verdict)} '
            f"{escape(text)}</summary><dl>{evidence}<dt>source</dt>"
            f"<dd>{escape(source)}</dd></dl></details></li>"
        )
    return f'<ul class="claims">{"".join(items)}</ul>' if items else ""


def _facts(overview: Overview) -> tuple[str, ...]:
    runs = f"{overview.done} of {overview.total}"
    return overview.name, runs, f"{overview.hours:.1f}"


def _row(name: str, judged: Sequence[Judged], facts: Sequence[str]) -> str:
    chips = {True: "", False: ""}
    for number, (text, each) in enumerate(deciding(judged).items()):
        verdict = each.verdict.verdict
        link = f'href="#{name}-{number}" title="{escape(f"{verdict}: {text}")}"'
        chips[each.claim.source == OWN] += _chip(verdict, f"a {link}") + " "
    return (
        f'<tr><td class="text"><a href="#{name}">{escape(name)}</a></td>'
        f'<td class="chips">{chips[False]}</td><td class="chips">{chips[True]}</td>'
        + "".join(f'<td class="more">{escape(fact)}</td>' for fact in facts)
        + "</tr>"
    )


def _not_run(overviews: Sequence[Overview]) -> str:
    links = ", ".join(
        f'<a href="#{each.experiment.name}">{escape(each.experiment.name)}</a>'
        for each in overviews
    )
    return f'<p class="note">Not run: {links}.</p>' if links else ""


def _chip(verdict: str, tag: str = "span") -> str:
    sign, kind = _SIGNS[verdict]
    return f'<{tag} class="chip {kind}">{sign}</{tag.split()[0]}>'
