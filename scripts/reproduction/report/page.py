"""The results page: verdicts in one glance, then each experiment, in one file."""

import base64
import re
from collections.abc import Sequence
from html import escape

from arsg_optax.demos.report.html import document, plain_table
from scripts.reproduction.findings.judges import NOT_RUN
from scripts.reproduction.findings.published import PUBLISHED_NUMBERS
from scripts.reproduction.findings.results import (
    best_accuracy_x,
    best_perplexity,
)
from scripts.reproduction.findings.statistics import estimate
from scripts.reproduction.report.figures import draw_results
from scripts.reproduction.report.glance import STYLE, claims, matrix
from scripts.reproduction.report.overview import Judged, Overview, verdicts
from scripts.reproduction.report.parts import (
    drawn,
    figure_title,
    tables,
)
from scripts.reproduction.report.tables import Table

_TITLE = "The papers' experiments, rerun"
# The name of their row and section.
_THEOREMS = "theorems"
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


def render(
    overviews: Sequence[Overview], command: str, theorems: Sequence[Judged] = ()
) -> str:
    """The page as text; equal records give equal pages.

    Args:
        overviews: of the experiments, in their order.
        command: that writes it.
        theorems: verdicts on what the papers prove, if there are any.
    """
    judged = {_THEOREMS: theorems} if theorems else {}
    judged |= {each.experiment.name: verdicts(each) for each in overviews}
    body = [
        f"<style>{STYLE}</style>",
        f"<h1>{escape(_TITLE)}</h1>",
        matrix(overviews, judged),
        _folded("What the figures and tables show", _EXPLANATION),
        *([_proved(theorems)] if theorems else []),
        *(_section(each, judged[each.experiment.name]) for each in overviews),
        f"<p>Written by <code>{escape(command)}</code>.</p>",
    ]
    return document(_TITLE, "\n".join(body))


def _proved(theorems: Sequence[Judged]) -> str:
    about = (
        f'<h2 id="{_THEOREMS}">{_THEOREMS}</h2><p>What the papers prove, held against '
        "eigenvalues and games. Written by <code>python -m scripts.reproduction "
        "theorems</code>.</p>"
    )
    return about + claims(_THEOREMS, theorems)


def _section(overview: Overview, judged: Sequence[Judged]) -> str:
    experiment = overview.experiment
    head = f'<h2 id="{experiment.name}">{escape(experiment.name)}</h2>'
    if not overview.results:
        about = f"<p>{escape(experiment.source)}; not run.</p>"
        return head + about + claims(experiment.name, judged)
    about = (
        f"<p>{escape(experiment.source)}; size {overview.name}: "
        f"{escape(overview.size.runs)}; {overview.done} of {overview.total} "
        f"runs, {overview.hours:.1f} hours.</p>"
    )
    first, *others = (_figure(overview, kind) for kind in overview.kinds)
    parts = [head, about, first, claims(experiment.name, judged)]
    if others:
        parts.append(_folded("Figures of the other settings", "\n".join(others)))
    parts.append(_folded("Numbers", _tables(overview)))
    return "\n".join(parts)


def _tables(overview: Overview) -> str:
    parts = [_numbers(overview)]
    for main, reach in tables(overview).values():
        parts.append(_dense(main))
        parts.append("<p>Epochs until each baseline's final training loss:</p>")
        parts.append(_html(reach))
    return "\n".join(parts)


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _figure(overview: Overview, kind: str) -> str:
    title = figure_title(overview, kind)
    image = draw_results(overview.experiment, drawn(overview, kind), title, ["svg"])
    source = base64.b64encode(image["svg"]).decode()
    return _wide(
        f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{source}">'
    )


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
    """A table of many columns: small, with breaks before a deviation or an option."""
    whole = re.compile(r"(?<=[\w±]) (?=[\d+-])")
    rows = [tuple(whole.sub("\u00a0", cell) for cell in row) for row in table]
    return f'<div class="dense">{_html(rows)}</div>'


def _wide(body: str) -> str:
    return f'<div class="wide">{body}</div>'
