"""``hosts``: the machines that runs can go to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.commands.options import Json

hosts = typer.Typer(help="The machines that runs can go to.", rich_markup_mode=None)
HostName = Annotated[str, typer.Argument(metavar="NAME", help="A host's name.")]


@hosts.callback(invoke_without_command=True)
def hosts_show(context: typer.Context, as_json: Json = False) -> int:
    """The machines that runs can go to; without a command, list them."""
    from engine.cli import hosting

    return 0 if context.invoked_subcommand else hosting.show(as_json=as_json)


@hosts.command(name="add")
def hosts_add(
    name: HostName,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="ssh://[USER@]HOST[:PORT], tcp://HOST:PORT, unix://PATH, context:NAME.")
    ],
    tls: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For tcp://: the folder with ca.pem, cert.pem and key.pem.")
    ] = None,
    via: Annotated[
        str, typer.Option(metavar="HOST/REPO", help="A repository of a registry, through which images go there.")
    ] = "",
    as_json: Json = False,
) -> int:
    """Remember a machine with a container engine."""
    from engine.cli import hosting

    return hosting.add(name, url, tls, via, as_json=as_json)


@hosts.command(name="check")
def hosts_check(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Which; default: all.")] = None,
    as_json: Json = False,
) -> int:
    """Say whether hosts answer, what they are, how far they are and what time they have."""
    from engine.cli import hosting

    return hosting.check(names or [], as_json=as_json)


@hosts.command(name="default")
def hosts_default(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A host, a group, or 'local' for this machine.")],
    as_json: Json = False,
) -> int:
    """Choose the machine that is meant when none is named."""
    from engine.cli import hosting

    return hosting.default(name, as_json=as_json)


@hosts.command(name="group")
def hosts_group(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The group's name.")],
    members: Annotated[list[str], typer.Argument(metavar="HOST", help="Hosts, or 'local' for this machine.")],
    as_json: Json = False,
) -> int:
    """Have one name mean several machines: a run goes to the one with most room."""
    from engine.cli import hosting

    return hosting.group(name, members, as_json=as_json)


@hosts.command(name="prune")
def hosts_prune(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A host's name, or 'local' for this machine.")],
    cache: Annotated[
        bool, typer.Option("--cache", help="Also inputs and images of nbseal there that no container uses.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Remove what dead runs of this home left on a machine; never anything of a run that is under way."""
    from engine.cli import hosting

    return hosting.prune(name, cache=cache, as_json=as_json)


@hosts.command(name="remove")
def hosts_remove(name: HostName, as_json: Json = False) -> int:
    """Forget a machine, or a group; nothing is done there."""
    from engine.cli import hosting

    return hosting.remove(name, as_json=as_json)
