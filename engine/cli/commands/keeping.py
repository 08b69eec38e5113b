"""Commands about the home: what is said and done about runs after they ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.commands.app import app
from engine.cli.commands.options import Json, RunName


@app.command()
def label(
    run: RunName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A short name; an empty one takes it away.")],
    as_json: Json = False,
) -> int:
    """Name a run for people; the ledger keeps every label that it had."""
    from engine.cli import keeping

    return keeping.label(run, text, as_json=as_json)


@app.command()
def comment(
    run: RunName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What there is to say.")],
    as_json: Json = False,
) -> int:
    """Say something about a run, outside of its hash and its seal."""
    from engine.cli import keeping

    return keeping.comment(run, text, as_json=as_json)


@app.command()
def delete(run: RunName, as_json: Json = False) -> int:
    """Move a run to the trash; its entries in the ledger stay."""
    from engine.cli import keeping

    return keeping.delete(run, as_json=as_json)


@app.command()
def purge(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Deleted runs, by id or the beginning of one.")
    ] = None,
    archived: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Instead: all runs that archives in this folder hold, once these are checked."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Remove deleted or archived runs for good; their entries in the ledger stay."""
    from engine.cli import keeping

    return keeping.purge(runs or [], archived, as_json=as_json)


@app.command()
def fsck(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Check these runs and the ledger; default: all.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A copy of the checkpoint, kept elsewhere, that the ledger has to continue."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Check every byte, seal and entry of the home, and name what was changed."""
    from engine.cli import keeping

    return keeping.fsck(runs or [], against, as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> int:
    """Say what is there and what is missing."""
    from engine.cli import doctor

    return doctor.doctor(as_json=as_json)
