"""Pieces of web pages that need nothing but themselves."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import zip_longest

_STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --ground: #fff; --line: #444;
        --thin: #ccc; --ours: #a33f00; --code: #f3f3f3; --note: #555; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --ground: #16181b; --line: #aaa; --thin: #3c4046;
          --ours: #ff9a57; --code: #26292e; --note: #a4a8ae; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text);
       background: var(--ground); max-width: 1100px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.6rem; text-align: right; white-space: nowrap;
         font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid var(--line); vertical-align: bottom;
     white-space: normal; }
td.text, th.text { text-align: left; }
tr.first td { border-top: 1px solid var(--thin); }
tr.ours td:first-child { color: var(--ours); font-weight: 600; }
.sentences td, .dense td { white-space: normal; vertical-align: top; }
.dense table { font-size: 0.76rem; line-height: 1.35; }
.dense th, .dense td { padding: 0.25rem 0.4rem; }
.wide, img { margin: 0.6rem 0; }
img { max-width: 100%; height: auto; background: #fff; }
@media (max-width: 700px) { .wide img { max-width: none; width: 1000px; } }
code { background: var(--code); padding: 0.1rem 0.3rem; overflow-wrap: anywhere; }
.note { color: var(--note); font-size: 0.9rem; }
@media (prefers-color-scheme: dark) {
  img { filter: invert(0.92) hue-rotate(180deg); }
  a { color: #8ab4f8; } }
"""


def document(title: str, body: str) -> str:
    """A whole page around a body."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def plain_table(
    rows: Iterable[Sequence[str]],
    head: Sequence[str] | None = None,
    *,
    words: int | None = None,
    kinds: Iterable[str] = (),
) -> str:
    """A table of text, with or without a head.

    Args:
        rows: of cells.
        head: of as many.
        words: how many columns hold words, before those of numbers; None for all.
        kinds: classes of the rows in CSS, none for those beyond.
    """

    def cells(tag: str, texts: Sequence[str]) -> str:
        found = []
        for n, text in enumerate(texts):
            kind = ' class="text"' if words is None or n < words else ""
            found.append(f"<{tag}{kind}>{escape(text)}</{tag}>")
        return "".join(found)

    header = f"<thead><tr>{cells('th', head)}</tr></thead>" if head else ""
    body = ""
    for row, kind in zip_longest(rows, kinds, fillvalue=""):
        start = f'<tr class="{kind.strip()}">' if kind else "<tr>"
        body += f"{start}{cells('td', row)}</tr>"
    return f"<table>{header}<tbody>{body}</tbody></table>"
