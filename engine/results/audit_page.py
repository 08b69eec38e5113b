"""An audit as one HTML page that can be printed and filed; it runs and fetches nothing."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from engine.checklist import STANDINGS, Line, Question
from engine.results.page import PAGE_HEAD

_QUESTIONS: tuple[Question, ...] = ("who", "what", "when", "from which bytes")
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #57606a; --line: #d0d7de; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #9198a1; --line: #3d444d; } }
@media print { :root { --ink: #000; --paper: #fff; --faint: #444; --line: #bbb; } body { font-size: 11px; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 64rem; padding: 1.5rem clamp(.8rem, 3vw, 1.5rem); }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem; overflow-wrap: anywhere; }
h3 { color: var(--faint); font-size: .85rem; font-weight: 600; margin: .8rem 0 .1rem; }
ul { list-style: none; margin: 0; padding: 0; }
li { border-top: 1px solid var(--line); break-inside: avoid; display: grid; gap: 0 .8rem; padding: .4rem 0;
  grid-template-columns: 6.2rem minmax(0, 1fr) auto; }
li p { grid-column: 2; margin: 0; overflow-wrap: anywhere; }
li p + p { color: var(--faint); font-size: .88rem; }
code { color: var(--faint); font-size: .82rem; grid-column: 3; grid-row: 1; }
b { border: 1px solid; border-radius: 1em; font-size: .8rem; font-weight: 600; grid-row: 1 / span 2; height: 1.5em;
  line-height: 1.5em; print-color-adjust: exact; text-align: center; }
.proven { color: #1a7f37; } .claimed { color: #0969da; } .missing, .unchecked { color: #9a6700; }
.wrong { background: #cf222e; border-color: #cf222e; color: #fff; }
@media (prefers-color-scheme: dark) { .proven { color: #3fb950; } .claimed { color: #58a6ff; }
  .missing, .unchecked { color: #d29922; } }
dl { color: var(--faint); display: grid; font-size: .88rem; gap: .1rem .8rem; grid-template-columns: 6.2rem 1fr; }
dd { margin: 0; overflow-wrap: anywhere; }
"""
_PAGE = """{head}<title>Audit of {title}</title><style>{style}</style></head>
<body><h1>Audit of {title}</h1>
<p>{summary}.</p>
<dl>{facts}</dl>
{wrong}{sections}
<h2>What the words mean</h2>
<dl><dt>proven</dt><dd>shown by the bytes themselves, or by a signature of somebody whom this home trusts</dd>
<dt>claimed</dt><dd>said by the one who is named, and shown by nothing else</dd>
<dt>missing</dt><dd>not there, for the reason given</dd>
<dt>wrong</dt><dd>there, and not what it should be</dd>
<dt>not checked</dt><dd>what it depends on does not hold</dd></dl>
</body></html>
"""


def render_audit(lines: Sequence[Line], names: tuple[str, str], summary: str, facts: Mapping[str, str]) -> str:
    """A whole page. ``names``: what was audited, and what lines without a subject are about; ``facts``: of all."""
    wrong = [line for line in lines if line.state == "wrong"]
    sections = (
        f"<h2>{html.escape(subject or names[1])}</h2>\n{_questions(list(found))}"
        for subject, found in groupby(lines, lambda line: line.subject)
    )
    return _PAGE.format(
        head=PAGE_HEAD,
        title=html.escape(names[0]),
        style=_STYLE,
        wrong=f"<h2>What is wrong</h2>\n<ul>{_items(wrong)}</ul>\n" if wrong else "",
        summary=html.escape(summary),
        facts="\n".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(fact)}</dd>" for name, fact in facts.items()),
        sections="\n".join(sections),
    )


def _questions(lines: Sequence[Line]) -> str:
    """The lines of one subject by what they answer."""
    parts = ((question, [line for line in lines if line.question == question]) for question in _QUESTIONS)
    return "\n".join(f"<h3>{question}</h3>\n<ul>{_items(found)}</ul>" for question, found in parts if found)


def _items(lines: Iterable[Line]) -> str:
    return "\n".join(
        f'<li><b class="{line.state}">{STANDINGS[line.state]}</b><p>{html.escape(line.statement)}</p>'
        f"<p>{html.escape(line.because)}</p><code>{html.escape(line.name)}</code></li>"
        for line in lines
    )
