"""Commands that carry runs from home to home, and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.commands.app import app
from engine.cli.commands.options import Json, RunName


@app.command()
def archive(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Ids or hashes, or the beginnings of them.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="What to write: a new .tar or .tar.zst.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Instead: all runs that ended longer ago, as 36h, 90d or 2y."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="With --older-than: the folder to write archives into.")
    ] = None,
    no_image: Annotated[bool, typer.Option("--no-image", help="Leave out the image.")] = False,
    no_wheels: Annotated[bool, typer.Option("--no-wheels", help="Leave out wheels and Debian packages.")] = False,
    no_inputs: Annotated[bool, typer.Option("--no-inputs", help="Leave out kept inputs.")] = False,
    tsa: Annotated[
        str | None, typer.Option("--tsa", metavar="URL", help="Have the time stamped by this authority (RFC 3161).")
    ] = None,
    as_json: Json = False,
) -> int:
    """Write runs, with all that it takes to check and repeat them, to one file."""
    from engine.cli import archiving

    parts = {"image": no_image, "inputs": no_inputs, "wheels": no_wheels}
    left_out = [part for part, left in parts.items() if left]
    if archiving.is_by_age(runs or [], output, older_than, folder):
        return archiving.archive_older(older_than or "", folder or Path(), left_out, tsa, as_json=as_json)
    return archiving.archive(runs or [], output or Path(), left_out, tsa, as_json=as_json)


@app.command(name="import")
def import_archive(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `archive` wrote, a .tar or .tar.zst.")],
    as_json: Json = False,
) -> int:
    """Take runs from an archive, after checking every byte and signature of it."""
    from engine.cli import importing

    return importing.import_archive(file, as_json=as_json)


@app.command()
def push(
    run: RunName,
    place: Annotated[
        str, typer.Argument(metavar="oci://HOST/REPOSITORY[:TAG]", help="Where to; the tag is the run's id by default.")
    ],
    no_image: Annotated[bool, typer.Option("--no-image", help="Leave out the image.")] = False,
    no_wheels: Annotated[bool, typer.Option("--no-wheels", help="Leave out wheels and Debian packages.")] = False,
    no_inputs: Annotated[bool, typer.Option("--no-inputs", help="Leave out kept inputs.")] = False,
    as_json: Json = False,
) -> int:
    """Send a run, with all that it takes to check and repeat it, to a registry; what is there already is not sent."""
    from engine.cli import sharing

    parts = {"image": no_image, "inputs": no_inputs, "wheels": no_wheels}
    return sharing.push(run, place, [part for part, left in parts.items() if left], as_json=as_json)


@app.command()
def pull(
    place: Annotated[str, typer.Argument(metavar="oci://HOST/REPOSITORY[:TAG|@DIGEST]", help="What `push` printed.")],
    as_json: Json = False,
) -> int:
    """Take a run from a registry, after checking every byte and signature of it, as `import` does."""
    from engine.cli import sharing

    return sharing.pull(place, as_json=as_json)


@app.command()
def audit(
    what: Annotated[str, typer.Argument(metavar="FILE|RUN", help="An archive, or a run's id or hash.")],
    require: Annotated[
        list[str] | None,
        typer.Option("--require", metavar="NAME,...", help="Lines that have to be proven, as signature,timestamp."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the checklist as a page for any browser.")
    ] = None,
    as_json: Json = False,
) -> int:
    """List who, what, when and from which bytes; each proven, claimed, missing or wrong."""
    from engine.cli import auditing

    return auditing.audit(what, auditing.required(require or []), page, as_json=as_json)
