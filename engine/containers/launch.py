"""How a run's container is made: everything that seals it, in one place."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.containers.gpus import Given
from engine.containers.profile import HOST_NAME
from engine.containers.user import User
from engine.daemon import LABEL, Engine
from engine.model import Input, Limits

PROJECT = "/project"
SPOOL = "/run/nbseal"
#: Which GPUs a run's container has, by their UUIDs.
GPUS_LABEL = f"{LABEL}.gpus"
_COMMAND = ("/opt/harness/bin/python3", "-I", "-m", "nbseal_harness")
#: Bytes that the engine keeps of what the container itself prints; the cells' output goes another way.
MAX_LOG = 1 << 20


@dataclass(frozen=True)
class Folders:
    """Those of a run on this machine. ``identity`` says where it was begun, and who its user is."""

    project: Path
    spool: Path

    @property
    def identity(self) -> Path:
        return self.spool.with_name("identity")


@dataclass(frozen=True)
class Launch:
    """What a container is to execute. ``home`` is the id of the home that the run belongs to."""

    run: str
    home: str
    image: str
    directory: str
    inputs: Sequence[tuple[Path, Input]]  # each with the local file that has its bytes
    environment: Mapping[str, str]
    network: bool
    limits: Limits
    gpus: Given | None = None  # once they are granted
    attempt: str = field(default_factory=lambda: secrets.token_hex(4))  # this one, among all to run it or take it up

    def labels(self, kind: str) -> dict[str, str]:
        """Of everything that is made for it at an engine: what it is, whose, and of which attempt."""
        return {LABEL: kind, f"{LABEL}.home": self.home, f"{LABEL}.run": self.run, f"{LABEL}.attempt": self.attempt}


def container_name(run_id: str) -> str:
    """A run has one container, and this name."""
    return f"nbseal-{run_id}"


def create(engine: Engine, launch: Launch, user: User, mounts: Sequence[Any]) -> None:
    """Create the run's container, not started. docker-py's exceptions pass through."""
    from docker.types import LogConfig, Ulimit

    api = engine.client.api
    environment, limits = launch.environment, launch.limits
    gpus = ",".join(launch.gpus.uuids) if launch.gpus and launch.gpus.way != "none" else ""
    host_name = environment.get("HOSTNAME", HOST_NAME)
    host = api.create_host_config(
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        network_mode="bridge" if launch.network else "none",
        # Without a network nothing of the machine's own name servers is to be seen, and asking fails at once.
        dns=None if launch.network else ["127.0.0.1"],
        extra_hosts=None if launch.network else {host_name: "127.0.0.1"},
        mounts=list(mounts),
        tmpfs=_temporary(engine, user, environment["HOME"], limits.memory),
        init=True,
        pids_limit=limits.processes,
        mem_limit=limits.memory,
        memswap_limit=limits.memory,  # memory and swap together: no swap
        shm_size=limits.shared_memory,
        # With one limit, Podman sets others too, and higher than some machines allow.
        ulimits=None if engine.is_podman else [Ulimit(name="core", soft=0, hard=0)],
        log_config=LogConfig(type="json-file", config={"max-size": str(MAX_LOG), "max-file": "1"}),
        **(launch.gpus.settings() if launch.gpus else {}),
    )
    api.create_container(
        engine.handle(launch.image),
        name=container_name(launch.run),
        entrypoint=list(_COMMAND),
        command=[SPOOL],
        working_dir="/",
        environment={**environment, **(launch.gpus.environment() if launch.gpus else {})},
        user=str(user),
        hostname=host_name,
        labels={**launch.labels("run"), **({GPUS_LABEL: gpus} if gpus else {})},
        host_config=host,
    )


def _temporary(engine: Engine, user: User, home: str, memory: int | None) -> dict[str, str]:
    """Options of the file systems in memory. Their pages count as the container's memory."""
    size = f",size={memory}" if memory else ""
    # Podman gives no file system an owner; nobody else is in the container.
    owned = "mode=1777" if engine.is_podman else f"mode=0700,uid={user.uid},gid={user.gid}"
    # Packages compile and load modules in both places.
    return {
        "/tmp": f"rw,exec,nosuid,nodev,mode=1777{size}",  # noqa: S108 - the container's own
        home: f"rw,exec,nosuid,nodev,{owned}{size}",
    }
