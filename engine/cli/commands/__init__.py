"""The commands as names; what does the work is imported only when it is called, so that --help is fast."""

from engine.cli.commands import executing, reading, environments, keeping, sharing  # noqa: F401, I001 (in the order of --help)
from engine.cli.commands.app import app
from engine.cli.commands.bases import base
from engine.cli.commands.hosts import hosts
from engine.cli.commands.keys import keys

app.add_typer(base, name="base")
app.add_typer(keys, name="keys")
app.add_typer(hosts, name="hosts")

__all__ = ["app"]
