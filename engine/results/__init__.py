"""What came out of a run: scalars, files, pictures, the comparison with another run, and how it is shown."""

from engine.results.audit_page import render_audit
from engine.results.causes import CHANGED, FREE, HELD, ORIGIN, PLAIN, Trial, Trials, infer, is_worse
from engine.results.cell_changes import cell_changes
from engine.results.changes import Change, run_changes, text_changes
from engine.results.compare import MAX_FILE, Evidence, compare, examine
from engine.results.executed import MAX_BYTES as MAX_EXECUTED
from engine.results.executed import read_executed, read_stored
from engine.results.files import harvest_files, read_output
from engine.results.judging import TOLERANCE, Rules
from engine.results.normalisers import NAMES as NORMALISER_NAMES
from engine.results.page import PAGE_START, render_html, renderers
from engine.results.pictures import harvest_pictures
from engine.results.scalars import harvest_scalars, json_number, last_values
from engine.results.text import clean_text, strip_escapes, text_log
from engine.results.trace import read_trace
from engine.results.verdict_page import render_comparison

__all__ = [
    "CHANGED",
    "FREE",
    "HELD",
    "MAX_EXECUTED",
    "MAX_FILE",
    "NORMALISER_NAMES",
    "ORIGIN",
    "PAGE_START",
    "PLAIN",
    "TOLERANCE",
    "Change",
    "Evidence",
    "Rules",
    "Trial",
    "Trials",
    "cell_changes",
    "clean_text",
    "compare",
    "examine",
    "harvest_files",
    "harvest_pictures",
    "harvest_scalars",
    "infer",
    "is_worse",
    "json_number",
    "last_values",
    "read_executed",
    "read_output",
    "read_stored",
    "read_trace",
    "render_audit",
    "render_comparison",
    "render_html",
    "renderers",
    "run_changes",
    "strip_escapes",
    "text_changes",
    "text_log",
]
