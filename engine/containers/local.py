"""A run on this machine: its container sees the run directory's own folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.containers.host import processor_model
from engine.containers.identity import Whereabouts, write_identity
from engine.containers.launch import PROJECT, SPOOL, Folders, Launch, container_name
from engine.containers.mountpoints import make_folder, make_mountpoints, remove_mountpoints
from engine.containers.user import find_user, hand_over, take_back
from engine.containers.worktree import WorkTreeWatch
from engine.daemon import ignore_engine_errors
from engine.files import remove_tree
from engine.link import Link


class Local:
    """Bind mounts of what lies here."""

    patience = 30.0

    def __init__(self, link: Link, folders: Folders, launch: Launch) -> None:
        self.link, self.folders, self.user = link, folders, find_user()
        self._launch = launch
        self._made: Sequence[Path] = ()
        self._watch: WorkTreeWatch | None = None

    def prepare(self, say: Callable[[str], None]) -> None:
        launch, folders = self._launch, self.folders
        make_folder(folders.project, launch.directory)
        places = [(path, item.target) for path, item in launch.inputs]
        self._made = make_mountpoints(folders.project, places, self.user.uid)
        write_identity(folders, self.user, launch, Whereabouts(engine=self.link.engine.id))
        hand_over(folders.project, self.user)
        hand_over(folders.spool, self.user)

    def mounts(self) -> list[Any]:
        from docker.types import Mount

        identity, inputs = self.folders.identity, self._launch.inputs
        return [
            Mount(PROJECT, str(self.folders.project), type="bind"),
            Mount(SPOOL, str(self.folders.spool), type="bind"),
            Mount("/etc/passwd", str(identity / "passwd"), type="bind", read_only=True),
            Mount("/etc/group", str(identity / "group"), type="bind", read_only=True),
            *(Mount(f"{PROJECT}/{item.target}", str(path), type="bind", read_only=True) for path, item in inputs),
        ]

    def watch(self) -> None:
        self._watch = WorkTreeWatch([self.folders.project, self.folders.spool])

    def used(self) -> int:
        return self._watch.used if self._watch else 0

    def news(self) -> list[str]:
        return []

    def processor(self) -> str:
        return processor_model()

    def fetch(self) -> str:
        return ""  # it is here

    def close(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    def release(self) -> None:
        take_back(self.folders.project)
        take_back(self.folders.spool)
        with suppress(OSError):
            remove_tree(self.folders.identity)
        remove_mountpoints(self.folders.project, self._made)

    def remove(self) -> None:
        with ignore_engine_errors():
            self.link.engine.client.api.remove_container(container_name(self._launch.run), v=True, force=True)
