"""A run on another machine: its folders are volumes of the engine there, and a courier carries what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.containers.identity import Whereabouts, write_identity
from engine.containers.launch import Folders, Launch, container_name
from engine.containers.mountpoints import make_folder, make_mountpoints, remove_mountpoints
from engine.containers.remote.courier import Courier
from engine.containers.remote.mirror import Mirror
from engine.containers.remote.parcel import parcel
from engine.containers.user import UNPRIVILEGED, User
from engine.daemon import Engine
from engine.digests import bare
from engine.files import remove_tree
from engine.link import PATIENCE, Link

#: Seconds for which removing is tried; what stays is listed by ``hosts prune``.
_PARTING = 20.0


class Remote:
    """Named volumes, and a mirror of them in ``folders``."""

    patience = PATIENCE

    def __init__(self, link: Link, folders: Folders, launch: Launch) -> None:
        self.link, self.folders, self.user = link, folders, User(UNPRIVILEGED, UNPRIVILEGED)
        self._launch = launch
        self._courier = Courier(launch)
        self._made: Sequence[Path] = ()
        inputs = [(item.target, bare(item.digest)) for _, item in launch.inputs]
        self._mirror = Mirror(link, self._courier, folders, inputs)

    def prepare(self, say: Callable[[str], None]) -> None:
        launch = self._launch
        make_folder(self.folders.project, launch.directory)
        places = [(path, item.target) for path, item in launch.inputs]
        self._made = make_mountpoints(self.folders.project, places, None)
        host = self.link.host
        where = Whereabouts(engine=self.link.engine.id, host=self.link.name, url=host.url if host else "")
        write_identity(self.folders, self.user, launch, where)
        self.link.attempt(
            self._send, on_break=lambda why: say(f"The link to {self.link.name} broke: {why} Trying again.")
        )

    def _send(self, engine: Engine) -> None:
        """Everything again after a break: it is small, but for inputs, which go on where they were."""
        self._courier.create(engine)
        if engine.is_podman:  # with the first start, it gives a volume the owner that the image's folder has
            self._courier.start(engine)
        self._courier.put(engine, parcel(self.folders, self.user))
        if self._launch.inputs:
            self._courier.start(engine)
            self._courier.put_inputs(engine)

    def mounts(self) -> list[Any]:
        return self._courier.mounts()

    def watch(self) -> None:
        self._mirror.start()

    def used(self) -> int:
        return self._mirror.used

    def news(self) -> list[str]:
        return self._mirror.news()

    def processor(self) -> str:
        return self._mirror.processor

    def fetch(self) -> str:
        return self._mirror.finish()

    def close(self) -> None:
        self._mirror.stop()

    def release(self) -> None:
        remove_tree(self.folders.identity)
        remove_mountpoints(self.folders.project, self._made)

    def remove(self) -> None:
        self.link.attempt(
            lambda engine: self._courier.remove(engine, container_name(self._launch.run)), patience=_PARTING
        )
