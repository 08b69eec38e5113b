"""``doctor``: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from engine import environments
from engine.cli.terminal import plain, print_json, size_text, styled
from engine.errors import BadInput, EngineUnavailable, NbsealError
from engine.settings import Home, find_home

#: Room for a base, the wheels and layers of one scientific stack, and the engine's copy of them.
ENOUGH_DISK = 5_000_000_000


@dataclass(frozen=True)
class Check:
    """One line of the report. ``missing`` makes runs impossible, ``warning`` only some of them."""

    name: str
    state: Literal["ok", "warning", "missing"]
    detail: str
    hint: str = ""


def doctor(*, as_json: bool) -> int:
    """Print the checks; exit 0 when runs are possible, 3 without an engine, 5 without an index."""
    home = find_home()
    checks = [*_engine(), *_home(home), *_base(home), _index(home), *_hosts(home)]
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            style = {"ok": "green", "warning": "yellow", "missing": "red"}[check.state]
            print(f"{styled(check.state.ljust(8), style)} {check.name.ljust(12)} {plain(check.detail)}")
            if check.hint:
                print(f"{'':21} {plain(check.hint)}")
    missing = {check.name for check in checks if check.state == "missing"}
    return 3 if "engine" in missing else 5 if missing else 0


def _engine() -> Iterator[Check]:
    from engine import daemon, pipeline

    yield Check("python", "ok", f"{platform.python_version()} ({sys.platform}, {platform.machine()})")
    try:
        engine = daemon.connect()
    except (BadInput, EngineUnavailable) as error:
        yield Check("engine", "missing", error.message, error.hint)
        return
    yield Check("engine", "ok", f"{engine.name} {engine.version} at {engine.url}")
    kind = str(engine.info.get("OSType", "linux")), str(engine.info.get("Architecture", ""))
    if kind not in {("linux", "x86_64"), ("linux", "amd64")}:
        yield Check("platform", "missing", f"the engine runs {'/'.join(kind)}", "Images of nbseal are linux/amd64.")
    yield Check("storage", "ok", f"{engine.storage}, cgroup v{engine.info.get('CgroupVersion', '1')}")
    gpus = pipeline.look_at_gpus(engine)
    yield Check("gpu", "warning", gpus.problem, gpus.hint) if gpus.problem else Check("gpu", "ok", gpus.text)


def _home(home: Home) -> Iterator[Check]:
    folder = home.root
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        yield Check("home", "missing", f"{home.root} is not writable", "Set NBSEAL_HOME to a folder of yours.")
        return
    yield Check("home", "ok", str(home.root))
    free = shutil.disk_usage(folder).free
    hint = "" if free > ENOUGH_DISK else f"A scientific stack takes about {size_text(ENOUGH_DISK)}."
    yield Check("disk", "warning" if hint else "ok", f"{size_text(free)} free", hint)


def _base(home: Home) -> Iterator[Check]:
    bases = environments.list_bases(home)
    if bases:
        yield Check("base", "ok", f"{len(bases)} in the home, Python {bases[0].python}")
        return
    yield Check("base", "warning", "not built yet", "The first run builds it, or `nbseal base build`.")
    if shutil.which("mmdebstrap") is None:
        yield Check(
            "mmdebstrap",
            "warning",
            "not installed",
            "Install it (apt-get install mmdebstrap) or `nbseal base import FILE`.",
        )


def _hosts(home: Home) -> Iterator[Check]:
    """A host that does not answer keeps no run of this machine from running."""
    from engine import hosts, pipeline
    from engine.progress import Silent

    try:
        known = hosts.read(home)
    except NbsealError as error:
        yield Check("hosts", "warning", error.message, error.hint)
        return
    for name, found in pipeline.check_hosts(list(known.hosts), home, Silent()):
        label = f"host {name}{' (default)' if name == known.default else ''}"
        if isinstance(found, NbsealError):
            yield Check(label, "warning", found.message, found.hint)
            continue
        disk = "" if found.free is None else f", {size_text(found.free)} free"
        yield Check(label, "ok", f"{found.engine} {found.version}, {found.storage}{disk}")


def _index(home: Home) -> Check:
    try:
        return Check("index", "ok", environments.check_index(home))
    except NbsealError as error:
        return Check("index", "missing", error.message, error.hint)
    except OSError as error:
        return Check("index", "missing", f"cannot be asked: {error}", "The home must be a folder of yours.")
