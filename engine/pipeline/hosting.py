"""Machines that runs can go to: looked at, one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from engine import containers, daemon, hosts
from engine.errors import EngineUnavailable, NbsealError
from engine.link import Link
from engine.pipeline.gpus import SeenGpus, look_at_gpus
from engine.progress import Progress
from engine.settings import Home

_PINGS = 5
#: The interpreter of every base's harness.
_PYTHON = "/opt/harness/bin/python3"


@dataclass(frozen=True)
class Checked:
    """What was seen of a host. ``skew`` is by how many seconds its clock is ahead, ``latency`` is there and back."""

    host: hosts.Host
    engine: str
    version: str
    storage: str
    system: str
    processors: int
    memory: int  # bytes
    runtimes: tuple[str, ...]
    devices: tuple[str, ...]  # that CDI offers
    gpus: SeenGpus
    free: int | None  # bytes where the engine keeps images and volumes; None when nothing there can tell
    skew: float
    latency: float


def check_host(name: str, home: Home, progress: Progress) -> Checked:
    """Ask a host's engine who it is, how far it is, and what time it has. EngineUnavailable when it does not answer."""
    host = hosts.find(hosts.read(home), name)
    with progress.task(f"Asking {name}"), Link(host) as link, containers.understood("say what it is"):
        engine = link.engine
        latency = median(_ping(engine) for _ in range(_PINGS))
        asked = datetime.now(UTC)
        info = daemon.read_info(engine.client)
        middle = asked + (datetime.now(UTC) - asked) / 2
        return Checked(
            host=host,
            engine=engine.name,
            version=engine.version,
            storage=engine.storage,
            system=str(info.get("OperatingSystem", "")),
            processors=int(info.get("NCPU", 0)),
            memory=int(info.get("MemTotal", 0)),
            runtimes=tuple(sorted(info.get("Runtimes", ()))),
            devices=_devices(info),
            gpus=look_at_gpus(engine),
            free=_free(engine),
            skew=(_time(info) - middle).total_seconds(),
            latency=latency,
        )


def check_hosts(names: Sequence[str], home: Home, progress: Progress) -> Iterator[tuple[str, Checked | NbsealError]]:
    """Several hosts, asked at the same time, and what was seen of each or why nothing was; in the order given."""

    def check(name: str) -> Checked | NbsealError:
        try:
            return check_host(name, home, progress)
        except NbsealError as error:
            return error

    with ThreadPoolExecutor(max(1, len(names))) as threads:
        yield from zip(names, threads.map(check, names), strict=True)


def _free(engine: daemon.Engine) -> int | None:
    """Told by a container, since engines do not tell; of an image of ours, if one is there."""
    program = "import shutil; print(shutil.disk_usage('/').free)"
    try:
        listed = engine.client.api.images(filters={"label": daemon.LABEL})
        for item in listed[:1]:
            done = daemon.run_tool(engine, str(item["Id"]), [_PYTHON, "-I", "-S", "-c", program], timeout=30)
            return int(done.stdout)
    except (NbsealError, ValueError, TypeError, LookupError):
        pass
    return None


def _ping(engine: daemon.Engine) -> float:
    began = time.perf_counter()
    engine.client.ping()
    return time.perf_counter() - began


def _devices(info: Mapping[str, Any]) -> tuple[str, ...]:
    """What an engine with CDI says of itself."""
    found = info.get("DiscoveredDevices") or []
    return tuple(sorted(str(item.get("ID", "")) for item in found if isinstance(item, dict)))


def _time(info: Mapping[str, Any]) -> datetime:
    text = str(info.get("SystemTime", ""))
    try:
        # Nanoseconds are more than Python reads.
        head, _, tail = text.partition(".")
        digits = tail.rstrip("Z")[:6] if tail.endswith("Z") else ""
        return datetime.fromisoformat(f"{head}.{digits}+00:00" if digits else text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise EngineUnavailable("The engine does not say what time it has.", "It is of an unknown kind.") from None
