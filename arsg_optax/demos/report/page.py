"""A web page of a comparison that needs nothing but itself."""

import base64
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from html import escape

import jax

from arsg_optax.demos.report.html import document, plain_table
from arsg_optax.demos.report.summary import (
    HEADINGS,
    WORDS,
    Line,
    method_of,
    ranked,
    summarize,
    unit_of,
)
from arsg_optax.demos.tasks.records import Outcome, RunRecord
from arsg_optax.demos.training.versions import versions

_EXPLANATION = """
<p class="note">y: the parameters that the training loop holds, where gradients are
taken. x: the optimizer's own evaluation point, that is the iterate of the remote
observation optimizers, the average of schedule-free, the slow weights of lookahead
(ranger); "y = x" where it has none. Losses are mean cross entropies in {unit}, over
the training set (a part, if it is large) or the test set, after an epoch; best is the
best of all epochs.
Seconds are training and evaluation on this machine, without compilation.</p>
"""


def render_html(
    records: Sequence[RunRecord],
    curves: bytes,
    step_sizes: tuple[bytes, str] | None,
    command: str,
) -> str:
    """The page as text.

    Args:
        records: of one task, at least one.
        curves: a PNG image, embedded as a data URI.
        step_sizes: another, of the search that chose the step sizes, and the command
            line that repeats it; None without.
        command: the command line that reproduces the comparison.
    """
    config = records[0].config
    task = config.chosen_task()
    title = f"{task.name}: {len(records)} optimizers compared"
    lines, note = summarize(records)
    ours = {r.config.optimizer for r in records if not method_of(r).baseline}
    stopped = (
        "<p><strong>Interrupted: the results so far.</strong></p>"
        if any(each.outcome == Outcome.INTERRUPTED for each in records)
        else ""
    )
    return document(
        title,
        f"""<h1>{escape(title)}</h1>
<p>{escape(task.summary)}. {task.epochs} epochs, batch size
{task.batch_size}, seed {config.seed}: the same initial weights and the same order
of examples for every optimizer.</p>
{stopped}
<h2>Results</h2>
<div class="wide">{_results_table(lines, ours)}</div>
<p class="note">{escape(note)}</p>
{_EXPLANATION.format(unit=unit_of(records[0]).name)}
<h2>Curves</h2>
<div class="wide">
{_image(curves, "Losses and test accuracy of each optimizer against steps")}
</div>
{"" if step_sizes is None else _step_sizes(*step_sizes)}
<h2>Settings</h2>
<div class="wide">{_settings_table(records)}</div>
<p class="note">What is not named is at the function's default.</p>
<h2>How it was run</h2>
<p><code>{escape(command)}</code></p>
{_facts_table()}""",
    )


def _image(png: bytes, words: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'


def _step_sizes(png: bytes, command: str) -> str:
    return f"""<h2>Step sizes</h2>
{_image(png, "Held-out loss after the last step against step size")}
<p class="note">The step sizes of these optimizers were chosen before, by the loss on a
fifth of the training set that was held out, in the same way for each:
<code>{escape(command)}</code>. A flat curve forgives a step size that is not the
best.</p>"""


def _results_table(lines: Sequence[Line], ours: set[str]) -> str:
    kinds, name = [], ""
    for line in lines:
        name = line.optimizer or name
        first = "first " if line.optimizer else ""
        kinds.append(first + ("ours" if name in ours else ""))
    return plain_table(lines, HEADINGS, words=WORDS, kinds=kinds)


def _settings_table(records: Sequence[RunRecord]) -> str:
    head = ("optimizer", "learning rate", "other settings", "compile seconds")
    body = [
        (
            record.config.optimizer,
            f"{record.config.learning_rate:.6g}",
            _other_settings(record),
            f"{record.compile_seconds:.1f}",
        )
        for record in ranked(records)
    ]
    return plain_table(body, head)


def _other_settings(record: RunRecord) -> str:
    config = record.config
    schedule = "" if config.schedule == "task" else f"schedule {config.schedule}"
    return (
        ", ".join(filter(None, (config.settings.described(), schedule))) or "defaults"
    )


def _facts_table() -> str:
    device = jax.devices()[0]
    facts = [
        ("written", datetime.now().astimezone().isoformat(timespec="seconds")),
        ("device", f"{jax.device_count()} x {device.device_kind} ({device.platform})"),
        ("CPU cores", str(os.cpu_count())),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("Python", platform.python_version()),
        *versions().items(),
    ]
    return plain_table(facts)
