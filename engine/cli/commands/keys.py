"""``keys``: the key that signs runs, and whose signatures count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.commands.options import Json

keys = typer.Typer(help="The key that signs runs, and whose signatures count.", rich_markup_mode=None)
KeyName = Annotated[str | None, typer.Option("--name", help="Whose key it is, as in an e-mail address.")]


@keys.callback(invoke_without_command=True)
def keys_show(context: typer.Context, as_json: Json = False) -> int:
    """Without a command: which key signs, and whose signatures count."""
    if context.invoked_subcommand is not None:
        return 0
    from engine.cli import signers

    return signers.show(as_json=as_json)


@keys.command(name="new")
def keys_new(
    name: KeyName = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take the passphrase from its first line.")
    ] = None,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Whoever reads the home can sign with the key.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Make an ed25519 key in the home, encrypted with a passphrase, and sign with it."""
    from engine.cli import signers

    return signers.new(name, passphrase_file, unencrypted=unencrypted, as_json=as_json)


@keys.command(name="use")
def keys_use(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A private or .pub file, 'agent', or a fingerprint in the agent.")
    ],
    name: KeyName = None,
    as_json: Json = False,
) -> int:
    """Sign with an OpenSSH key that is there already; its private part stays where it is."""
    from engine.cli import signers

    return signers.use(key, name, as_json=as_json)


@keys.command(name="trust")
def keys_trust(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, as in an e-mail address.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Its public part, a .pub file, or an authority's certificate as PEM.")
    ],
) -> int:
    """Let the signatures of another's key count, or the time stamps under a certificate."""
    from engine.cli import signers

    return signers.trust(name, file)
