"""Print docs/reference/cli.md: what every command's --help says. ``make docs`` writes it; a test holds it current."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer

from engine.cli.commands import app

HEAD = """# Command line

Written from the program's own `--help`. Logs and progress go to stderr; `--json` prints one document on stdout.
`NBSEAL_HOME` names the home, else it is `nbseal` in the XDG data directory. `NO_COLOR` is respected.
[Exit codes](exit-codes.md) · [the record as JSON](record.md)
"""


def reference() -> str:
    """The whole page."""
    command = typer.main.get_command(app)
    parts = [f"## {name}\n\n```\n{text}\n```\n" for name, text in _helps(command, "nbseal")]
    return "\n".join([HEAD, *parts])


def _helps(command: typer.core.TyperCommand | typer.core.TyperGroup, name: str) -> Iterator[tuple[str, str]]:
    context = command.make_context(name, [], resilient_parsing=True, terminal_width=100, max_content_width=100)
    yield name, command.get_help(context).strip()
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _helps(child, f"{name} {child_name}")


if __name__ == "__main__":
    sys.stdout.write(reference())
