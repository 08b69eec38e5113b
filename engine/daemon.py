"""The one client of container engines: find one, say which it is, run a short-lived tool in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import imagestore
from engine.digests import PREFIX
from engine.errors import BadInput, EngineUnavailable
from engine.hosts import LOCAL

if TYPE_CHECKING:
    from docker import DockerClient

#: Every container and image of ours carries it, so that nothing else is ever touched.
LABEL = "nbseal"
#: Seconds that an engine has for one answer.
_PATIENCE, _PATIENCE_REMOTE = 600, 120
#: What we read of what an engine tells of itself, as long as it tells it.
_TOLD: Mapping[str, type] = {
    **dict.fromkeys(("NCPU", "MemTotal"), int),
    **dict.fromkeys(("Runtimes",), dict),
    **dict.fromkeys(("DriverStatus", "DiscoveredDevices", "CDISpecDirs"), list),
    **dict.fromkeys(
        ("ServerVersion", "Driver", "ID", "Name", "DockerRootDir", "Architecture", "KernelVersion", "OperatingSystem",
         "SystemTime"), str
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """A reachable container engine. ``url`` is where it answered, ``storage`` its storage driver."""

    client: DockerClient
    url: str
    name: str
    version: str
    storage: str
    info: Mapping[str, Any]
    host: str = LOCAL  # whose it is: a name of hosts.json, or this machine

    @property
    def is_podman(self) -> bool:
        """Whether it is Podman, which answers as Docker does, but not in everything."""
        return self.name == "podman"

    @property
    def id(self) -> str:
        """What tells it from all others, whoever asks and when."""
        if self.is_podman:  # which makes up another ID for each answer
            return f"{self.info.get('Name', '')}:{self.info.get('DockerRootDir', '')}"
        return str(self.info.get("ID", ""))

    @property
    def has_containerd_store(self) -> bool:
        """Whether Docker leaves its images to containerd."""
        status = self.info.get("DriverStatus", ())
        return self.name == "docker" and any("io.containerd" in str(pair) for pair in status)

    def find_image(self, image_id: str) -> str | None:
        """What the engine calls exactly this image, if it holds it."""
        from docker.errors import ImageNotFound

        api: Any = self.client.api
        if self.has_containerd_store:
            return imagestore.find_by_config(image_id, LABEL, api)
        with suppress(ImageNotFound):
            return image_id if api.inspect_image(image_id)["Id"] == image_id else None
        return None

    def handle(self, image: str) -> str:
        """What to call an image to the engine, which may have lost it, and then says so itself."""
        if self.has_containerd_store and image.startswith(PREFIX):
            return self.find_image(image) or image
        return image

    def __str__(self) -> str:
        where = "" if self.host == LOCAL else f"{self.host}, "
        return f"{self.name} {self.version} ({where}{self.url})"


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
    """The engine of this machine, as the user's own Docker settings name it (DOCKER_HOST, docker context).

    Raises EngineUnavailable with what to install or start when none answers, and BadInput when these settings lead to
    another machine: folders of this one are not there, and nobody may be led astray in silence.
    """
    url, origin = _local_url()
    if not url.startswith("unix://"):
        raise BadInput(
            f"{origin} leads to {url}, another machine.",
            "Unset it, or name a socket of this machine; `nbseal hosts add` is for others.",
        )
    try:
        return reach(url, url, LOCAL)
    except no_answer() as error:
        raise EngineUnavailable(
            f"No container engine answers at {url}: {reason_of(error)}.",
            "Start Docker, or install it (on Debian or Ubuntu: apt-get install docker.io), "
            "or set DOCKER_HOST to one that is reachable; `nbseal doctor` checks again.",
        ) from error


def reach(url: str, shown: str, host: str, tls: Path | None = None, patience: float = 0) -> Engine:
    """Ask an engine who it is. ``shown`` is its address for people; docker's and requests' errors pass through.

    Another machine's engine gets less time for one answer: a link may be dead without saying so. With ``tls`` it has
    ``patience`` seconds to take a connection.
    """
    import docker
    from docker.constants import DEFAULT_DOCKER_API_VERSION
    from docker.tls import TLSConfig

    config = None
    if tls is not None:
        certificate = (str(tls / "cert.pem"), str(tls / "key.pem"))
        config = TLSConfig(client_cert=certificate, ca_cert=str(tls / "ca.pem"), verify=True)

    def client_of(version: str) -> DockerClient:
        client = docker.DockerClient(
            base_url=url, version=version, timeout=_PATIENCE if host == LOCAL else _PATIENCE_REMOTE, tls=config or False
        )
        # REQUESTS_CA_BUNDLE and proxies are about the web; they would take the place of the certificates said here.
        client.api.trust_env = False
        if tls is not None:
            from engine.hosts.watched import WatchedAdapter

            client.api.mount("https://", WatchedAdapter(patience))
        return client

    # Without a version, the client would ask for it before anything can be set.
    with closing(client_of(DEFAULT_DOCKER_API_VERSION)) as first:
        told = first.api.version(api_version=False)
        client = client_of(str(told["ApiVersion"]))
    try:
        info = read_info(client)
    except BaseException:
        client.close()
        raise
    return Engine(
        client=client,
        url=shown,
        name="podman" if "Podman" in str(told.get("Components")) else "docker",
        version=str(info.get("ServerVersion", "")),
        storage=str(info.get("Driver", "")),
        info=info,
        host=host,
    )


def read_info(client: DockerClient) -> dict[str, Any]:
    """What an engine tells of itself, without what it leaves empty; ValueError where what we read makes no sense."""
    told = client.info()
    if not isinstance(told, dict):
        raise ValueError("it says nothing of itself")
    told = {name: value for name, value in told.items() if value is not None}
    for name in _TOLD.keys() & told.keys():
        value = told[name]
        if type(value) is not _TOLD[name] or (isinstance(value, int) and not 0 <= value < 2**63):
            raise ValueError(f"what it says of itself makes no sense ({name})")
        if isinstance(value, str):
            told[name] = _printable(value)[:1000]
    return told


def _printable(text: str) -> str:
    """An engine's own words, which may be meant for a terminal."""
    return "".join(filter(str.isprintable, text))


def no_answer() -> tuple[type[Exception], ...]:
    """What docker-py raises when nobody answers, or not as an engine does."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    return (DockerException, RequestException, OSError, ValueError, KeyError, TypeError, RecursionError)


def _local_url() -> tuple[str, str]:
    """Where Docker's command would go, and by whose word."""
    from docker.constants import DEFAULT_UNIX_SOCKET
    from docker.context import ContextAPI
    from docker.errors import DockerException

    named, origin = os.environ.get("DOCKER_HOST"), "DOCKER_HOST"
    if not named:
        with suppress(DockerException, OSError, ValueError, KeyError):
            context = ContextAPI.get_current_context()
            named, origin = context.Host, f"The docker context {context.Name}"
    return str(named or DEFAULT_UNIX_SOCKET).replace("http+unix://", "unix://"), origin


def reason_of(error: BaseException) -> str:
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return "its socket refuses this user (is the user in the docker group?)"
    if "FileNotFoundError" in text or "No such file" in text:
        return "its socket does not exist"
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate required" in text:
        return "one of the certificates is not of the authority that the other side was told"
    if "Connection refused" in text or "ConnectionRefused" in text:
        return "nothing listens there"
    lines = text.strip().splitlines() or [""]
    return _printable(lines[0])[:200].rstrip(".") or type(error).__name__


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
    settings: Mapping[str, Any] | None = None,
) -> ToolResult:
    """Run a short-lived helper in ``image``: read-only root, no capabilities, no network unless asked for.

    ``user`` is "uid:gid", by default the caller's; ``settings`` are further ones of the container. It is removed on
    every path out. Raises EngineUnavailable when the engine refuses or ``timeout`` seconds pass.
    """
    from docker.errors import APIError, ImageNotFound
    from docker.types import LogConfig
    from docker.types import Mount as DockerMount
    from requests.exceptions import RequestException

    # What runs there may be somebody else's, and print without end.
    bounded = LogConfig(type="json-file", config={"max-size": "16m", "max-file": "1"})
    container = None
    try:
        container = engine.client.containers.create(
            engine.handle(image),
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
            **{"log_config": bounded, **(settings or {})},
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
    with suppress(*engine_errors()):
        yield


def engine_errors() -> tuple[type[Exception], ...]:
    """What docker-py raises when an engine refuses, or the way to it breaks."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    return (DockerException, RequestException)
