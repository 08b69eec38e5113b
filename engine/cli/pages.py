"""Pages that a command writes where it is told to."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import BadInput
from engine.files import open_regular, write_atomic
from engine.results import PAGE_START


def check_page(path: Path) -> None:
    """BadInput unless a page can be written there: asked before the work, and nothing but a page is ever replaced."""
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {path.parent} to write the page to.", "Make it, or choose another path.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadInput(f"The page {path} cannot be written: {path.parent} is closed to us.", "Choose another path.")
    if os.path.lexists(path) and not _is_page(path):
        raise BadInput(f"{path} is there, and no page that nbseal wrote.", "Remove it, or choose another path.")


def write_page(path: Path, html: str) -> None:
    """Write a page, in place of one that is there; BadInput when that cannot be."""
    check_page(path)
    try:
        write_atomic(path, html.encode())
    except OSError as error:
        raise BadInput(f"The page {path} cannot be written: {error.strerror}.", "Choose another path.") from error


def _is_page(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(PAGE_START)) == PAGE_START.encode()
    except OSError:
        return False
