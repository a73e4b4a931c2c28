"""The results page: every experiment, its verdicts, curves and tables, in one file."""

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape

from arsg_optax.demos.report.html import document, plain_table
from scripts.reproduction.findings.claims import OWN
from scripts.reproduction.findings.judges import NOT_RUN, VERDICTS
from scripts.reproduction.findings.published import PUBLISHED_NUMBERS
from scripts.reproduction.findings.results import (
    best_accuracy_x,
    best_perplexity,
)
from scripts.reproduction.findings.statistics import estimate
from scripts.reproduction.report.figures import draw_results
from scripts.reproduction.report.overview import (
    Judged,
    Overview,
    counted,
    verdicts,
)
from scripts.reproduction.report.parts import (
    drawn,
    figure_title,
    tables,
    verdict_table,
)
from scripts.reproduction.report.tables import Table

_TITLE = "Reproductions: remote-observation momentum"
_EXPLANATION = """
<p class="note">Curves are means over seeds, the bands of the losses go from the
lowest seed to the highest; full lines are this package's methods, dashed ones others'.
Training loss is the mean of an epoch's minibatch losses, each before its step, as in
the papers. Validation is at each method's own evaluation point x (the iterate of remote
observation, the average of schedule-free and SWNTS1, the slow weights of Ranger); thin
lines are at y, where gradients are taken. In the tables train loss is the last epoch's
mean, train loss x the loss over the training set after it at x (of CNN and ResNet over
its first 10,000 images); test losses are the smallest over epochs, accuracies the best.
Differences are paired by seed, with 95 % intervals of Student's t; "from adam" is from
Adam with the same kind of setting, for recommended settings from Adam's published
one.</p>
<p class="note">"published": the paper's authors chose the setting. "grid": training
loss chose it from the paper's grid, or, where the aim is to generalize (CIFAR-10's fine
mode, NAMSG1, SWNTS1), accuracy on a held-out part of the training set. "recommended":
the method's authors recommend it. "budget": chosen alike among as many candidates
for every method (ten on the papers' tasks, four or five on transformers), all else at
its author's defaults or, of this package's methods, at the paper's values for the task,
on transformers at their own defaults. Where two kinds choose the same, their rows are
of the same runs. "assumed": no source gives a value; our presets stand in. Seed 0
selects settings, and results come from other seeds; validation data select nothing.</p>
"""


def render(overviews: Sequence[Overview], command: str) -> str:
    """The page as text; equal records give equal pages.

    Args:
        overviews: of the experiments, in their order.
        command: that writes it.
    """
    judged = {each.experiment.name: verdicts(each) for each in overviews}
    body = [
        f"<h1>{escape(_TITLE)}</h1>",
        f"<p><code>{escape(command)}</code></p>",
        _summary(overviews, judged),
        _EXPLANATION,
        *(_section(each, judged[each.experiment.name]) for each in overviews),
    ]
    return document(_TITLE, "\n".join(body))


def _summary(overviews: Sequence[Overview], judged: Mapping[str, list[Judged]]) -> str:
    rows = [
        (
            each.experiment.name,
            each.experiment.source,
            each.name if each.results else "",
            f"{each.done} of {each.total}" if each.results else "not run",
            f"{each.hours:.1f}" if each.results else "",
        )
        for each in overviews
    ]
    head = ("experiment", "source", "size", "runs", "hours")
    papers, own = _told(judged, own=False), _told(judged, own=True)
    claims = f"Claims of the papers: {papers}. Of this package: {own}."
    return f"<p>{claims}</p>{_wide(plain_table(rows, head))}"


def _told(judged: Mapping[str, list[Judged]], own: bool) -> str:
    """How many claims got each verdict, of the papers or of this package."""
    counts = [
        counted(each for each in found if (each.claim.source == OWN) == own)
        for found in judged.values()
    ]
    return ", ".join(
        f"{sum(each[name] for each in counts)} {name}" for name in VERDICTS
    )


def _section(overview: Overview, judged: Sequence[Judged]) -> str:
    experiment = overview.experiment
    parts = [f'<h2 id="{experiment.name}">{escape(experiment.name)}</h2>']
    if overview.results:
        parts.append(
            f"<p>{escape(experiment.source)}; size {overview.name}: "
            f"{escape(overview.size.runs)}; {overview.done} of {overview.total} "
            f"runs, {overview.hours:.1f} hours.</p>"
        )
    else:
        parts.append(f"<p>{escape(experiment.source)}; not run.</p>")
    if judged:
        head, *rows = verdict_table(judged)
        parts.append(_verdict_table(rows, head))
    parts += [_figure(overview, kind) for kind in overview.kinds]
    parts.append(_numbers(overview))
    for main, reach in tables(overview).values():
        parts.append(_dense(main))
        parts.append("<p>Epochs until each baseline's final training loss:</p>")
        parts.append(_html(reach))
    return "\n".join(parts)


def _verdict_table(rows: Table, head: tuple[str, ...]) -> str:
    # Sentences are wrapped here, numbers in the other tables are not.
    return f'<div class="wide sentences">{plain_table(rows, head)}</div>'


def _figure(overview: Overview, kind: str) -> str:
    title = figure_title(overview, kind)
    image = draw_results(overview.experiment, drawn(overview, kind), title, ["svg"])
    source = base64.b64encode(image["svg"]).decode()
    return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{source}">'


def _numbers(overview: Overview) -> str:
    """Printed beside measured numbers, where there are any."""
    printed = PUBLISHED_NUMBERS.get(overview.experiment.name, {})
    if not printed:
        return ""
    rows = []
    for label, published in printed.items():
        number = best_perplexity if published.perplexity else best_accuracy_x
        unit = "validation perplexity" if published.perplexity else "best accuracy %"
        measured = [
            f"{unit} {estimate(values)} ({each.kind}, {overview.name})"
            for each in overview.results
            if each.label == label
            if (values := each.values(number))
        ]
        rows.append((label, published.text, "; ".join(measured) or NOT_RUN))
    return _wide(plain_table(rows, ("method", "printed in the paper", "here")))


def _html(table: Table) -> str:
    head, *rows = table
    return _wide(plain_table(rows, [cell.replace("_", " ") for cell in head]))


def _dense(table: Table) -> str:
    """Of many columns: small, and lines break before a deviation or an option."""
    whole = re.compile(r"(?<=[\w±]) (?=[\d+-])")
    rows = [tuple(whole.sub("\u00a0", cell) for cell in row) for row in table]
    return f'<div class="dense">{_html(rows)}</div>'


def _wide(table: str) -> str:
    return f'<div class="wide">{table}</div>'
