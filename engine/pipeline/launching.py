"""Where a run goes, and what its container is to execute there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import containers, hosts, store
from engine.errors import BadInput
from engine.link import CONNECT, Link
from engine.model import Record, Spec
from engine.settings import Home


@dataclass(frozen=True)
class Where:
    """Where a run goes. ``detach`` waits for nothing there.

    ``host`` is a host, a group, or several of both, separated by commas; empty for the home's default. ``via`` is a
    repository through which its image goes, empty for the host's own.
    """

    host: str = ""
    detach: bool = False
    via: str = ""


def link_to(name: str, home: Home) -> Link:
    """To the host of this name, to the home's default one when none is named; not open yet.

    BadInput for a name that nobody added, and for a group.
    """
    known = hosts.read(home)
    name = name or known.default
    return Link(None if name == hosts.LOCAL else hosts.find(known, name))


def link_of(run: store.RunDirectory, home: Home, *, patience: int = CONNECT) -> Link:
    """To where a run that is under way was begun; BadInput when that host is not known any more."""
    where = containers.read_whereabouts(containers.Folders(run.project, run.spool))
    if where is None or not where.host:
        return Link()
    try:
        return Link(hosts.find(hosts.read(home), where.host), patience=patience)
    except BadInput:
        raise BadInput(
            f"Run {run.id} was begun on {where.host}, which is not known any more.",
            f"`nbseal hosts add {where.host} {where.url}` brings it back.",
        ) from None


def launch_of(record: Record, inputs: Sequence[Path], home: Home) -> containers.Launch:
    """What a run's container executes; ``inputs`` are local files with the bytes of the record's inputs, in order."""
    spec = Spec.from_json(record.spec, record.inputs)
    return containers.Launch(
        run=record.id,
        home=store.home_id(home),
        image=record.image,
        directory=spec.directory,
        inputs=tuple(zip(inputs, record.inputs, strict=True)),
        environment=spec.environment,
        network=spec.network,
        limits=record.limits,
    )
