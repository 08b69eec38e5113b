"""What makes two notebooks the same computation."""

from __future__ import annotations

from engine.digests import digest_of
from engine.model import Notebook


def notebook_digest(notebook: Notebook) -> str:
    """Digest over the language and each cell's type, source and tags, and nothing else.

    Cell ids, outputs and other metadata change when a notebook is saved; they change no result.
    """
    cells = [[cell.kind, cell.source, list(cell.tags)] for cell in notebook.cells]
    return digest_of({"language": notebook.language, "cells": cells})
