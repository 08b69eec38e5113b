"""Any notebook file -> Notebook, its flags and its requirements.

Order of use: read, find_flags, bind, substitute, neutralise, notebook_digest, to_document. Flags hold positions in
the source, so they belong to the very notebook in which they were found.
"""

from engine.notebooks.binding import bind, describe
from engine.notebooks.flags import find_flags
from engine.notebooks.identity import notebook_digest
from engine.notebooks.piplines import neutralise
from engine.notebooks.reader import read, to_document
from engine.notebooks.requirements import find_requirements
from engine.notebooks.substitution import substitute

__all__ = [
    "bind",
    "describe",
    "find_flags",
    "find_requirements",
    "neutralise",
    "notebook_digest",
    "read",
    "substitute",
    "to_document",
]
