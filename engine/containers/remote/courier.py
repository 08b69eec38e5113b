"""The courier: a container beside the run's own that has its folders, and may do nothing but carry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from engine.containers.launch import PROJECT, SPOOL, Launch, container_name
from engine.containers.remote.session import PYTHON, Session
from engine.daemon import LABEL, Engine
from engine.digests import bare
from engine.errors import VerificationFailed

_CACHE = "/inputs"
_WAIT = "import signal; signal.sigwait([signal.SIGTERM])"
#: It reads and places files whoever owns them; the run's own container can do none of this.
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
_MEMORY = 256 << 20
_CHUNK = 1 << 20
#: Times that an input is sent whose cached bytes turned out to be damaged.
_TRIES = 3


class Courier:
    """Made once for a run, and found again by its name."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self.name = f"{container_name(launch.run)}-courier"

    def mounts(self) -> list[Any]:
        """Those that the run's container has too. Volumes come into being with the first container that has them."""
        from docker.types import Mount

        def volume(target: str, name: str, *, empty: bool = True) -> Any:
            labels = self._launch.labels("volume")
            return Mount(target, f"{container_name(self._launch.run)}-{name}", no_copy=empty, labels=labels)

        # The image's own /etc with another passwd: a file alone cannot be mounted out of a volume, and the root file
        # system is closed. Nobody but root can write there.
        return [volume(PROJECT, "project"), volume(SPOOL, "spool"), volume("/etc", "etc", empty=False)]

    def has_luggage(self, engine: Engine) -> bool:
        """Whether the run's volumes are there: without them, a new courier would find everything deleted."""
        from docker.errors import NotFound

        try:
            engine.client.api.inspect_volume(f"{container_name(self._launch.run)}-project")
        except NotFound:
            return False
        return True

    def start(self, engine: Engine) -> None:
        """Have it run; made when there is none."""
        from docker.errors import NotFound

        try:
            engine.client.api.start(self.name)
        except NotFound:
            self.create(engine)
            engine.client.api.start(self.name)

    def create(self, engine: Engine) -> None:
        """Have it there, and with it the volumes, which can be filled before it runs."""
        from docker.errors import APIError

        api = engine.client.api
        host = api.create_host_config(
            cap_drop=["ALL"],
            cap_add=list(_CAPABILITIES),
            security_opt=["no-new-privileges"],
            network_mode="none",
            mounts=[*self.mounts(), *self._cache()],
            init=True,
            mem_limit=_MEMORY,
        )
        try:
            api.create_container(
                engine.handle(self._launch.image),
                name=self.name,
                entrypoint=[PYTHON, "-I", "-S", "-c", _WAIT],
                command=[],
                working_dir="/",
                user="0:0",
                hostname="courier",
                labels=self._launch.labels("courier"),
                host_config=host,
            )
        except APIError as error:
            if error.response is None or error.response.status_code != 409:
                raise  # but one with its name, made before the link broke, is ours

    def put(self, engine: Engine, parcel: Iterator[bytes]) -> None:
        """Lay out a tar at the root."""
        engine.client.api.put_archive(self.name, "/", parcel)

    def put_inputs(self, engine: Engine) -> None:
        """Inputs into the cache of the host, where they stay, and from there to their places."""
        with Session(engine, self.name) as session:
            for path, item in self._launch.inputs:
                for _ in range(_TRIES):
                    session.ask("keep", digest=bare(item.digest), size=item.size)
                    frame = next(frame for frame in session.frames() if frame.kind != "machine")
                    if frame.kind == "have":
                        with path.open("rb") as file:
                            file.seek(frame.number("bytes"))
                            while data := file.read(_CHUNK):
                                session.send(data)
                        frame = session.frame()
                    if frame.kind == "kept":
                        session.ask("lay", digest=bare(item.digest), target=item.target)
                        frame = session.frame()
                    if frame.kind == "laid":
                        break
                else:
                    raise VerificationFailed(
                        f"The input {item.target} does not arrive on {engine.host} as it is here.",
                        "Its bytes changed while they were sent, or that machine's disk is damaged.",
                    )

    def _cache(self) -> list[Any]:
        """One volume for each input, by its digest and for every run that wants it."""
        from docker.types import Mount

        digests = dict.fromkeys(bare(item.digest) for _, item in self._launch.inputs)
        labels = {LABEL: "input"}
        return [Mount(f"{_CACHE}/{digest}", f"nbseal-input-{digest}", labels=labels) for digest in digests]

    def remove(self, engine: Engine, *others: str) -> None:
        """It, other containers, and the run's volumes; whatever of them there is."""
        from docker.errors import NotFound

        api = engine.client.api
        for name in (*others, self.name):
            with suppress(NotFound):
                api.remove_container(name, force=True)
        for name in ("project", "spool", "etc"):
            with suppress(NotFound):
                api.remove_volume(f"{container_name(self._launch.run)}-{name}")
