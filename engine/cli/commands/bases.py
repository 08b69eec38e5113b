"""``base``: the image that every image stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.commands.options import Json

base = typer.Typer(help="The base image that every image stands on.", no_args_is_help=True, rich_markup_mode=None)


@base.command(name="build")
def base_build(
    repin: Annotated[bool, typer.Option("--repin", help="Take today's Debian package versions.")] = False,
    image: Annotated[
        str | None,
        typer.Option("--from", metavar="IMAGE", help="Of an image of a registry, as HOST/NAME@sha256:DIGEST."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Build the base image, or a base of an image of a registry, unless it is there."""
    from engine.cli import building

    return building.base_build(image, repin=repin, as_json=as_json)


@base.command(name="list")
def base_list(as_json: Json = False) -> int:
    """List the bases in the home."""
    from engine.cli import building

    return building.base_list(as_json=as_json)


@base.command(name="export")
def base_export(
    identity: Annotated[str, typer.Argument(metavar="ID", help="A base's id, or the beginning of it.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The tar to write.")],
) -> int:
    """Write a base, with its Debian packages, to one file."""
    from engine.cli import building

    return building.base_export(identity, output)


@base.command(name="import")
def base_import(file: Annotated[Path, typer.Argument(metavar="FILE", help="What `base export` wrote.")]) -> int:
    """Take a base from a file, after checking every digest in it."""
    from engine.cli import building

    return building.base_import(file)
