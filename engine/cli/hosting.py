"""``hosts``: the machines that runs can go to."""

from __future__ import annotations

from pathlib import Path

from engine import hosts, pipeline
from engine.cli.terminal import Terminal, plain, print_json, say, size_text, styled, table
from engine.errors import NbsealError
from engine.model import Json
from engine.settings import Home, find_home

#: Seconds by which a clock may be off before it is said: entries of ledgers and certificates are compared by time.
_SKEW = 2.0


def show(*, as_json: bool) -> int:
    """All hosts; the default one is marked."""
    known = hosts.read(find_home())
    if as_json:
        document: Json = {"default": known.default, "hosts": [_entry(host) for host in known.hosts.values()]}
        print_json({**document, "groups": {name: list(members) for name, members in known.groups.items()}})
        return 0
    if not known.hosts:
        say("No hosts are known, so runs stay on this machine; `nbseal hosts add NAME URL` adds one.")
        return 0
    rows = [
        [
            host.name,
            "default" if host.name == known.default else "",
            plain(f"{host.url}, images via {host.via}" if host.via else host.url),
        ]
        for host in known.hosts.values()
    ]
    rows += [
        [name, "default" if name == known.default else "", ", ".join(members)] for name, members in known.groups.items()
    ]
    print(table(["host", "", "url"], rows))
    return 0


def _entry(host: hosts.Host) -> Json:
    return {"name": host.name, "url": host.url, "tls": host.tls, "via": host.via}


def add(name: str, url: str, tls: Path | None, via: str, *, as_json: bool) -> int:
    """Remember a host."""
    if via:
        pipeline.repository(via)
    host = hosts.add(find_home(), name, url, tls, via)
    if as_json:
        print_json(_entry(host))
    else:
        print(f"{host.name}  {host.url}")
        say(f"`nbseal hosts check {host.name}` looks whether it answers.")
    return 0


def remove(name: str, *, as_json: bool) -> int:
    """Forget a host."""
    hosts.remove(find_home(), name)
    if as_json:
        print_json({"removed": name})
    else:
        print(f"{name}  removed; nothing was done there")
    return 0


def group(name: str, members: list[str], *, as_json: bool) -> int:
    """Name several hosts at once."""
    meant = hosts.group(find_home(), name, members)
    if as_json:
        print_json({"name": name, "hosts": list(meant)})
    else:
        print(f"{name}  {', '.join(meant)}")
    return 0


def default(name: str, *, as_json: bool) -> int:
    """Choose the host that is meant when none is named."""
    hosts.set_default(find_home(), name)
    if as_json:
        print_json({"default": name})
    else:
        print(f"{name}  is the default")
    return 0


def check(names: list[str], *, as_json: bool) -> int:
    """Ask hosts who they are; the exit code is that of the first that does not answer."""
    home, terminal = find_home(), Terminal()
    documents: list[Json] = []
    problems: list[NbsealError] = []
    for name, found in pipeline.check_hosts(_meant(names, home), home, terminal):
        if isinstance(found, NbsealError):
            problems.append(found)
            documents.append({"name": name, "problem": found.message, "hint": found.hint})
            if not as_json:
                print(f"{styled('missing ', 'red')} {name}: {plain(found.message)}\n{'':9}{plain(found.hint)}")
            continue
        documents.append(_document(found))
        if not as_json:
            _tell(found)
    if as_json:
        print_json(documents)
    return problems[0].exit_code if problems else 0


def _meant(names: list[str], home: Home) -> list[str]:
    """All hosts unless some are named, or groups of them."""
    known = hosts.read(home)
    return list(hosts.resolve(known, ",".join(names)) if names else known.hosts)


def prune(name: str, *, cache: bool, as_json: bool) -> int:
    """Remove what dead runs of this home left on a host."""
    terminal = Terminal()
    pruned = pipeline.prune(name, find_home(), terminal, cache=cache)
    terminal.clear()
    if as_json:
        print_json(
            {
                "host": name,
                "removed": [{"kind": item.kind, "name": item.name, "run": item.run} for item in pruned.removed],
                "kept": [{"kind": item.kind, "name": item.name, "run": item.run} for item in pruned.kept],
                "others": pruned.others,
            }
        )
        return 0
    for item in pruned.removed:
        print(f"removed  {item.kind.ljust(9)} {plain(item.name)}")
    for item in pruned.kept:
        print(f"kept     {item.kind.ljust(9)} {plain(item.name)}: its run is not recorded yet; see `nbseal runs`")
    if not pruned.removed:
        say(f"No dead run of this home left anything on {name}.")
    if pruned.others:
        say(f"{pruned.others} containers and volumes there belong to other homes; nothing was done to them.")
    return 0


def _document(found: pipeline.Checked) -> Json:
    return {
        "name": found.host.name,
        "url": found.host.url,
        "engine": found.engine,
        "version": found.version,
        "storage": found.storage,
        "system": found.system,
        "processors": found.processors,
        "memory": found.memory,
        "disk_free": found.free,
        "runtimes": list(found.runtimes),
        "devices": list(found.devices),
        "gpus": {"way": found.gpus.way, "detail": found.gpus.text, "problem": found.gpus.problem},
        "skew": round(found.skew, 3),
        "latency": round(found.latency, 5),
    }


def _tell(found: pipeline.Checked) -> None:
    late = abs(found.skew) > _SKEW
    print(f"{styled('warning ' if late else 'ok      ', 'yellow' if late else 'green')} {found.host.name}")
    for name, text in (
        ("engine", f"{found.engine} {found.version}, {found.storage}, {found.system}"),
        ("machine", f"{found.processors} processors, {size_text(found.memory)} of memory"),
        ("gpus", found.gpus.problem or found.gpus.text),
        ("disk", "not known before an image is there" if found.free is None else f"{size_text(found.free)} free"),
        ("way", f"{found.host.url}, {found.latency * 1000:.1f} ms there and back"),
        ("clock", f"{abs(found.skew):.1f} s {'ahead of' if found.skew > 0 else 'behind'} this machine's"),
    ):
        print(f"{'':9}{name.ljust(8)} {plain(text)}")
