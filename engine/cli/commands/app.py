"""The program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from engine import __version__

app = typer.Typer(
    name="nbseal",
    help="Run a notebook sealed in a container, record it under a hash, rerun it years later.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nbseal {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass
