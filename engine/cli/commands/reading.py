"""Commands that only read."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.cli.commands.app import app
from engine.cli.commands.options import ArchiveOption, ArchivesOption, Json, RunName


@app.command()
def runs(
    everything: Annotated[bool, typer.Option("--all", help="Also the experiments of `verify --diagnose`.")] = False,
    archive: ArchiveOption = None,
    as_json: Json = False,
) -> int:
    """List the runs, newest first."""
    from engine.cli import importing, reading

    if archive is not None:
        return importing.runs(archive, as_json=as_json)
    return reading.runs(everything=everything, as_json=as_json)


@app.command()
def show(run: RunName, archive: ArchiveOption = None, as_json: Json = False) -> int:
    """Show one run: flags, scalars, files, how it ended."""
    from engine.cli import importing, reading

    if archive is not None:
        return importing.show(run, archive, as_json=as_json)
    return reading.show(run, as_json=as_json)


@app.command()
def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Ids or hashes, or their beginnings; default: all.")
    ] = None,
    archives: ArchivesOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values (RFC 4180).")] = False,
    as_json: Json = False,
) -> int:
    """Show flags and scalars of runs side by side."""
    from engine.cli import comparing

    return comparing.compare(runs or [], archives or [], csv=csv, as_json=as_json)


@app.command()
def diff(
    run: RunName,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another run, by its id or hash.")],
    archives: ArchivesOption = None,
    as_json: Json = False,
) -> int:
    """Show how one run differs from another: flags, environment, source, cells, scalars, files."""
    from engine.cli import comparing

    return comparing.diff(run, other, archives or [], as_json=as_json)


@app.command()
def logs(run: RunName, as_json: Json = False) -> int:
    """Print what a run's cells printed."""
    from engine.cli import reading

    return reading.logs(run, as_json=as_json)


@app.command(name="open")
def open_page(run: RunName, as_json: Json = False) -> int:
    """Render a run's executed notebook to an HTML page and open it in a browser, if there is one."""
    from engine.cli import reading

    return reading.open_page(run, as_json=as_json)
