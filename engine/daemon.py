"""The one client of the container engine: find it, say which it is, run a short-lived tool in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineUnavailable

if TYPE_CHECKING:
    from docker import DockerClient

#: Every container and image of ours carries it, so that nothing else is ever touched.
LABEL = "nbseal"


@dataclass(frozen=True)
class Engine:
    """A reachable container engine. ``url`` is where it answered, ``storage`` its storage driver."""

    client: DockerClient
    url: str
    name: str
    version: str
    storage: str
    info: Mapping[str, Any]


@dataclass(frozen=True)
class Mount:
    """A bind mount of a local path; read-only unless said otherwise."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class ToolResult:
    """What a tool container left: exit code, both streams."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def connect() -> Engine:
    """The engine that the user's own Docker settings name (DOCKER_HOST, docker context).

    Raises EngineUnavailable with what to install or start when none answers.
    """
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        client = docker.from_env(timeout=600)
        info = client.info()
    except (DockerException, RequestException, OSError, ValueError) as error:
        raise EngineUnavailable(
            f"No container engine answers at {_url()}: {_reason(error)}.",
            "Start Docker, or install it (on Debian or Ubuntu: apt-get install docker.io), "
            "or set DOCKER_HOST to one that is reachable; `nbseal doctor` checks again.",
        ) from error
    return Engine(
        client=client,
        url=_url(),
        name="podman" if "podman" in str(info.get("ServerVersion", "")).lower() else "docker",
        version=str(info.get("ServerVersion", "")),
        storage=str(info.get("Driver", "")),
        info=info,
    )


def _url() -> str:
    """Where ``docker.from_env`` looked, which for a socket its client does not say."""
    from docker.constants import DEFAULT_UNIX_SOCKET
    from docker.context import ContextAPI
    from docker.errors import DockerException

    named = os.environ.get("DOCKER_HOST")
    if not named:
        with suppress(DockerException):
            named = ContextAPI.kwargs_from_context().get("base_url")
    return str(named or DEFAULT_UNIX_SOCKET).replace("http+unix://", "unix://")


def _reason(error: Exception) -> str:
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return "its socket refuses this user (is the user in the docker group?)"
    if "FileNotFoundError" in text or "No such file" in text:
        return "its socket does not exist"
    if "Connection refused" in text or "ConnectionRefused" in text:
        return "nothing listens there"
    return text.splitlines()[0][:200] if text else type(error).__name__


def run_tool(
    engine: Engine,
    image: str,
    command: Sequence[str],
    *,
    mounts: Sequence[Mount] = (),
    environment: Mapping[str, str] | None = None,
    network: bool = False,
    user: str = "",
    timeout: float = 900,
) -> ToolResult:
    """Run a short-lived helper in ``image``: read-only root, no capabilities, no network unless asked for.

    ``user`` is "uid:gid", by default the caller's. The container is removed on every path out. Raises
    EngineUnavailable when the engine refuses or ``timeout`` seconds pass.
    """
    from docker.errors import APIError, ImageNotFound
    from docker.types import Mount as DockerMount
    from requests.exceptions import RequestException

    container = None
    try:
        container = engine.client.containers.create(
            image,
            list(command),
            environment=dict(environment or {}),
            mounts=[
                DockerMount(item.target, str(item.source), type="bind", read_only=not item.writable) for item in mounts
            ],
            network_mode="bridge" if network else "none",
            user=user or f"{os.getuid()}:{os.getgid()}",
            read_only=True,
            tmpfs={"/tmp": "rw,exec,mode=1777"},  # noqa: S108 - the container's own
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            init=True,
            labels={LABEL: "tool"},
        )
        container.start()
        status = container.wait(timeout=timeout)
        return ToolResult(
            int(status["StatusCode"]),
            container.logs(stdout=True, stderr=False),
            container.logs(stdout=False, stderr=True),
        )
    except ImageNotFound as error:
        raise EngineUnavailable(f"The engine does not have the image {image}.", "Run `nbseal base build`.") from error
    except APIError as error:
        raise EngineUnavailable(f"The container engine refused: {error.explanation or error}.") from error
    except RequestException as error:
        raise EngineUnavailable(f"The container engine stopped answering: {error}.") from error
    finally:
        if container is not None:
            with ignore_engine_errors():
                container.remove(force=True, v=True)


@contextmanager
def ignore_engine_errors() -> Iterator[None]:
    """For clean-up: the container may be gone, or the engine with it."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    with suppress(DockerException, RequestException):
        yield
