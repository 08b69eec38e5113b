"""The hash of what a user would run, without a container: the stages that decide it, one after the other.

tests/engine/test_identity.py holds this against real runs. ``python -m tests.identity HOME NOTEBOOK [FLAG=VALUE]...``
prints it, for tests that need another process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine import containers, notebooks, store
from engine.digests import bare, digest_of
from engine.model import Spec
from engine.progress import Silent
from engine.settings import Home

IMAGE = "sha256:" + "1" * 64


def spec_of(notebook: Path, home: Home, *assignments: str, inputs: Sequence[str] = (), **others: Any) -> Spec:
    """The spec of ``nbseal run notebook assignments``; ``others`` are its fields that no file decides."""
    original = notebooks.read(notebook)
    flags = notebooks.find_flags(original)
    values = notebooks.bind(flags, assignments)
    copy = notebooks.neutralise(notebooks.substitute(original, flags, values))
    root = store.find_project_root(notebook, home)
    kept = store.keep_inputs(inputs, notebook, root, home, Silent())
    fields: dict[str, Any] = {"image": IMAGE, "environment": containers.environment(), **others}
    return Spec(
        notebook=notebooks.notebook_digest(copy),
        flags=values,
        source=store.snapshot(root, notebook, home, Silent(), kept).digest,
        inputs=kept,
        directory=store.folder_in(root, notebook),
        **fields,
    )


def hash_of(notebook: Path, home: Home, *assignments: str, **others: Any) -> str:
    """The hash of that spec."""
    return bare(digest_of(spec_of(notebook, home, *assignments, **others).to_json()))


if __name__ == "__main__":
    print(hash_of(Path(sys.argv[2]), Home(Path(sys.argv[1])), *sys.argv[3:]))
