"""Where a run's container has its folders: on this machine, or on another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from engine.containers.launch import Folders
from engine.containers.user import User
from engine.link import Link


class Site(Protocol):
    """The folders of one run as its container has them. What the notebook leaves there ends up in ``folders``."""

    link: Link
    folders: Folders
    user: User  # that the container runs as
    patience: float  # seconds for which an engine that does not answer is asked again

    def prepare(self, say: Callable[[str], None]) -> None:
        """Everything before the container is created. BadInput for an input that cannot be where it is wanted."""

    def mounts(self) -> list[Any]:
        """The container's mounts, as docker-py has them."""

    def watch(self) -> None:
        """From the start of the container on: events come into the spool, and the work tree is counted."""

    def used(self) -> int:
        """Bytes on disk of work tree and spool, as counted last."""

    def news(self) -> list[str]:
        """What happened to the link since this was asked last, for people."""

    def processor(self) -> str:
        """The model of the machine's processors, once the run is watched."""

    def fetch(self) -> str:
        """After the container's end: have all it left in ``folders``. A sentence when that is more than may be."""

    def close(self) -> None:
        """Stop watching."""

    def release(self) -> None:
        """Give ``folders`` back to the caller, once nothing runs there any more."""

    def remove(self) -> None:
        """Remove the container, killing it if need be, and what is kept for it at the engine."""
