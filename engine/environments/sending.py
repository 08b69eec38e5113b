"""Make another machine's engine hold an image of the home: only the layers that it lacks, compressed, gone on with.

The layers go in parts: each is an image of the lowest ones, and the engine registers one while the next is under way.
What has been registered is not sent again after a break, nor by another process after this one was killed; so the
grain is a layer. Nothing is written on this machine.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engine.daemon import Engine, ignore_engine_errors
from engine.environments.assemble import has_image, skips_layers
from engine.environments.layers import LayersMissing, find_damaged
from engine.environments.part import Part, Refused, Work, part_labels
from engine.errors import EngineUnavailable, EnvironmentFailed
from engine.files import locked
from engine.link import Link
from engine.progress import Progress
from engine.settings import Home
from engine.software import Image

#: Attempts in a row that brought no layer through.
_FRUITLESS = 10
#: How often the engine may lose layers that it had, because somebody removes images there.
_ROUNDS = 5
#: Seconds for threads that are told to stop.
_GRACE = 2.0

T = TypeVar("T")


@dataclass(frozen=True)
class Sent:
    """What it took: layers that went and layers that were there, bytes of those that went, and bytes on the way."""

    layers: int = 0
    held: int = 0
    size: int = 0
    wire: int = 0


def send_image(image: Image, config: bytes, owner: str, home: Home, link: Link, progress: Progress) -> Sent:
    """Make the engine of ``link`` hold exactly this image, whose layers are in the home.

    One process of a home at a time sends to an engine. ``owner`` is the home's id: what is left of a process that was
    killed bears it, and goes with the next that sends. Raises LayersMissing for layers that are gone or damaged,
    EnvironmentFailed when the engine does not take it, EngineUnavailable when the way is lost.
    """
    if link.attempt(lambda engine: has_image(image.id, engine)):
        return Sent(held=len(image.layers))
    with _alone(link, home, progress):
        # A socket of this machine carries more than an engine can unpack.
        compress = link.host is not None and not link.host.url.startswith("unix:")
        work = Work(image, config, part_labels(owner), home, link.name, compress)
        # Another process may have brought it while this one waited.
        held = link.attempt(work.count)
        lacking = image.layers[held:]
        size = sum(layer.size for layer in lacking)
        text = f"Sending {len(lacking)} of {len(image.layers)} layers to {link.name}, {size / 1e6:.1f} MB"
        with progress.task(text, size) as advance:
            sender = _Sender(work, advance)
            try:
                link.attempt(sender.send, on_break=lambda why: progress.say(f"  The link to {link.name} broke: {why}"))
            except EngineUnavailable as error:
                hint = "What has arrived stays there: the same command goes on from it."
                raise EngineUnavailable(error.message, hint) from error
        link.attempt(lambda engine: _remove_parts(owner, engine))
    return Sent(len(lacking), held, size, sender.wire)


def remove_parts(owner: str, home: Home, link: Link) -> tuple[str, ...]:
    """Remove what processes of the home with this id left when they were killed; the names. None while one sends."""
    with locked(_lock_path(link, home), wait=False) as free:
        return link.attempt(lambda engine: _remove_parts(owner, engine)) if free else ()


def _remove_parts(owner: str, engine: Engine) -> tuple[str, ...]:
    api: Any = engine.client.api
    removed: list[str] = []
    with ignore_engine_errors():  # they hinder nobody if they stay
        for part in api.images(filters={"label": [f"{name}={value}" for name, value in part_labels(owner).items()]}):
            with ignore_engine_errors():
                api.remove_image(part["Id"], force=True)
                removed.extend(part["RepoTags"] or [part["Id"]])
    return tuple(removed)


@contextmanager
def _alone(link: Link, home: Home, progress: Progress) -> Iterator[None]:
    """Be the only process of this home that sends to that engine: two would send the same, and clean up too early."""
    path = _lock_path(link, home)
    with locked(path, wait=False) as free:
        if free:
            yield
            return
    progress.say(f"  Another command sends an image to {link.name}; waiting for it.")
    with locked(path):
        yield


def _lock_path(link: Link, home: Home) -> Path:
    identity = link.attempt(lambda engine: engine.id or engine.url)
    return home.layers / "sending" / hashlib.sha256(identity.encode()).hexdigest()[:16]


class _Sender:
    """Sends what is lacking, as often as the link takes; ``wire`` are the bytes that went."""

    def __init__(self, work: Work, advance: Callable[[int], None]) -> None:
        self._work, self._layers = work, work.image.layers
        self._advance, self._shown = advance, -1
        self._most, self._failures = -1, 0
        self._whole = False  # whether the engine wants all layers, whatever it has
        self.wire = 0

    def send(self, engine: Engine) -> None:
        """All that the engine lacks now. Raises as ``send_image``, and what a broken link raises."""
        for _ in range(_ROUNDS):
            if has_image(self._work.image.id, engine):
                return
            self._whole = self._whole or not skips_layers(engine)
            held = 0 if self._whole else self._work.count(engine)
            self._resume(held)
            try:
                self._send_from(held, engine)
            except Refused as refused:
                self._judge(refused, engine)
                continue
            if not has_image(self._work.image.id, engine):
                raise EnvironmentFailed(
                    f"The engine of {self._work.host} made no image of it, or another one than {self._work.image.id}.",
                    f"See `nbseal hosts check {self._work.host}`.",
                )
            return
        raise EnvironmentFailed(
            f"The engine of {self._work.host} loses layers while others are sent.",
            "Somebody removes images there; try again when that has ended.",
        )

    def _resume(self, held: int) -> None:
        """Show what is there, and give up when nothing more arrives."""
        self._failures = 0 if held > self._most else self._failures + 1
        self._most = max(held, self._most)
        if self._failures >= _FRUITLESS:
            size = self._layers[held].size if held < len(self._layers) else 0
            raise EngineUnavailable(
                f"The link to {self._work.host} breaks before a layer of {size / 1e6:.1f} MB is there."
            )
        there = sum(layer.size for layer in self._layers[:held])
        if self._shown >= 0:
            self._advance(there - self._shown)  # what was sent in vain is no progress
        self._shown = there

    def _judge(self, refused: Refused, engine: Engine) -> None:
        """Raise what the engine's refusal means; return when sending again from fewer layers may help."""
        host = self._work.host
        if "no space left" in refused.reason.lower():
            raise EnvironmentFailed(
                f"The disk of {host} has no room for the image.",
                f"`nbseal hosts prune {host} --cache` removes what is there of nbseal and not in use.",
            )
        damaged = find_damaged(self._layers[refused.start :], self._work.home)
        if damaged:
            raise LayersMissing(damaged)
        if self._work.count(engine) >= refused.start:
            if self._whole:
                said = "".join(char for char in refused.reason if char.isprintable())[:300].rstrip(".")
                raise EnvironmentFailed(
                    f"The engine of {host} did not load the image: {said}.", f"See `nbseal hosts check {host}`."
                )
            self._whole = True

    def _send_from(self, start: int, engine: Engine) -> None:
        """Part after part. Two are under way at most, or the host's disk would fill with what waits."""
        stop, running = threading.Event(), list[Future[None]]()
        before: Future[None] | None = None
        try:
            while True:
                part = Part(self._work, start, engine, self._whole, before, stop, self._count)
                now = _in_thread(part.load)
                waiting: list[Future[Any]] = [now, part.end]
                running = [future for future in (before, now) if future is not None]
                wait(waiting, return_when=FIRST_COMPLETED)
                if before is not None:
                    before.result()
                if not part.end.done() or part.end.result() == len(self._layers):
                    now.result()
                    return
                start, before = part.end.result(), now
        finally:
            stop.set()
            wait(running, _GRACE)

    def _count(self, size: int, wire: int) -> None:
        self._shown += size
        self.wire += wire
        if size:
            self._advance(size)


def _in_thread(action: Callable[[], T]) -> Future[T]:
    """Run it in a thread that ends with the process: one that waits for a dead link can be told nothing."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
