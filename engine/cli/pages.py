"""Pages that a command writes where it is told to."""

from __future__ import annotations

from pathlib import Path

from engine.errors import BadInput
from engine.files import write_atomic


def write_page(path: Path, html: str) -> None:
    """Write a page, in place of one that is there; BadInput when that cannot be."""
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {path.parent} to write the page to.", "Make it, or choose another path.")
    try:
        write_atomic(path, html.encode())
    except OSError as error:
        raise BadInput(f"The page {path} cannot be written: {error.strerror}.", "Choose another path.") from error
