"""The commands of docs/how-to/audit-without-nbseal.md, as they stand there, and a shell to run them in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/how-to/audit-without-nbseal.md"
_BLOCK = re.compile(
    r"<!-- check: (?P<name>\S+) -->\n```bash\n(?P<text>.*?)```\n\n```text\n(?P<shown>.*?)```\n", re.DOTALL
)
#: What differs from archive to archive: digests and ids, fingerprints, dates.
_OTHERS = re.compile(r"[0-9a-f]{12,}|SHA256:[A-Za-z0-9+/]{43}|[A-Z][a-z]{2} +\d+ [0-9:]{8} 20\d\d")


@dataclass(frozen=True)
class Block:
    """One check: its commands, and what the document shows that they print."""

    name: str
    text: str
    shown: str


def blocks() -> dict[str, Block]:
    """All of the document, in order."""
    text = DOCUMENT.read_text()
    found = [Block(**match.groupdict()) for match in _BLOCK.finditer(text)]
    assert len(found) == text.count("```bash") == text.count("<!-- check:"), "a block has no name or no output"
    return {block.name: block for block in found}


def done(block: Block, folder: Path) -> str:
    """What it prints, in a shell of its own."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # bagit.py is beside Python
    process = subprocess.run(
        ["bash", "-c", block.text], cwd=folder, env={**os.environ, "PATH": path, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
    )  # fmt: skip
    return process.stdout.decode("utf-8", "replace")


def without_others(output: str) -> str:
    return _OTHERS.sub("...", output)


def exits(output: str) -> list[str]:
    """With which status each command of a check ended, by its own words."""
    return re.findall(r"^exit (\d+)$", output, re.MULTILINE)
