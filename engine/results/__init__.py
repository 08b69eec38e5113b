"""What came out of a run: scalars, files, pictures, the comparison with another run, and how it is shown."""

from engine.results.compare import compare
from engine.results.executed import read_executed
from engine.results.files import harvest_files
from engine.results.page import render_html
from engine.results.pictures import harvest_pictures
from engine.results.scalars import harvest_scalars, json_number, last_values
from engine.results.text import clean_text, text_log

__all__ = [
    "clean_text",
    "compare",
    "harvest_files",
    "harvest_pictures",
    "harvest_scalars",
    "json_number",
    "last_values",
    "read_executed",
    "render_html",
    "text_log",
]
