"""How a run's container is made: everything that seals it, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.containers.profile import HOST_NAME
from engine.containers.user import User
from engine.daemon import LABEL, Engine
from engine.model import Limits

#: Beside passwd and group: which engine a run was begun at.
ENGINE_ID = "engine"
PROJECT = "/project"
SPOOL = "/run/nbseal"
_COMMAND = ("/opt/harness/bin/python3", "-I", "-m", "nbseal_harness")
#: Bytes that the engine keeps of what the container itself prints; the cells' output goes another way.
MAX_LOG = 1 << 20


@dataclass(frozen=True)
class Place:
    """The folders of a run on this machine. ``identity`` holds the passwd and group files of its container."""

    project: Path
    spool: Path

    @property
    def identity(self) -> Path:
        return self.spool.with_name("identity")


def container_name(run_id: str) -> str:
    """A run has one container, and this name."""
    return f"nbseal-{run_id}"


def create(
    engine: Engine,
    image_id: str,
    place: Place,
    user: User,
    *,
    inputs: Sequence[tuple[Path, str]],
    environment: Mapping[str, str],
    network: bool,
    limits: Limits,
    run_id: str,
) -> None:
    """Create the run's container, not started. docker-py's exceptions pass through."""
    from docker.types import LogConfig, Ulimit

    api = engine.client.api
    host_name = environment.get("HOSTNAME", HOST_NAME)
    host = api.create_host_config(
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        network_mode="bridge" if network else "none",
        # Without a network nothing of the machine's own name servers is to be seen, and asking fails at once.
        dns=None if network else ["127.0.0.1"],
        extra_hosts=None if network else {host_name: "127.0.0.1"},
        mounts=_mounts(place, inputs),
        tmpfs=_temporary(user, environment["HOME"], limits.memory),
        init=True,
        pids_limit=limits.processes,
        mem_limit=limits.memory,
        memswap_limit=limits.memory,  # memory and swap together: no swap
        shm_size=limits.shared_memory,
        ulimits=[Ulimit(name="core", soft=0, hard=0)],
        log_config=LogConfig(type="json-file", config={"max-size": str(MAX_LOG), "max-file": "1"}),
    )
    api.create_container(
        image_id,
        name=container_name(run_id),
        entrypoint=list(_COMMAND),
        command=[SPOOL],
        working_dir="/",
        environment=dict(environment),
        user=str(user),
        hostname=host_name,
        labels={LABEL: "run", f"{LABEL}.run": run_id},
        host_config=host,
    )


def _mounts(place: Place, inputs: Sequence[tuple[Path, str]]) -> list[Any]:
    from docker.types import Mount

    return [
        Mount(PROJECT, str(place.project), type="bind"),
        Mount(SPOOL, str(place.spool), type="bind"),
        Mount("/etc/passwd", str(place.identity / "passwd"), type="bind", read_only=True),
        Mount("/etc/group", str(place.identity / "group"), type="bind", read_only=True),
        *(Mount(f"{PROJECT}/{target}", str(source), type="bind", read_only=True) for source, target in inputs),
    ]


def _temporary(user: User, home: str, memory: int | None) -> dict[str, str]:
    """Options of the file systems in memory. Their pages count as the container's memory."""
    size = f",size={memory}" if memory else ""
    # Packages compile and load modules in both places.
    return {
        "/tmp": f"rw,exec,nosuid,nodev,mode=1777{size}",  # noqa: S108 - the container's own
        home: f"rw,exec,nosuid,nodev,mode=0700,uid={user.uid},gid={user.gid}{size}",
    }
