"""Make another machine's engine hold an image of the home: only the layers that it lacks, compressed, gone on with.

The layers go in parts: each is an image of the lowest ones, and the engine registers one while the next is under way.
What has been registered is not sent again after a break, nor by another process after this one was killed; so the
grain is a layer. Nothing is written on this machine.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.daemon import LABEL, Engine, ignore_engine_errors, reason_of
from engine.digests import bare, sha256_bytes
from engine.environments.assemble import (
    END,
    count_held,
    description,
    has_image,
    image_config,
    layer_entry,
    skips_layers,
)
from engine.environments.images import known_layers
from engine.environments.layers import LayersMissing, find_damaged, has_layer
from engine.errors import EngineUnavailable, EnvironmentFailed
from engine.files import locked
from engine.link import Link
from engine.model import Image, Layer
from engine.progress import Progress
from engine.settings import Home

#: A part ends with the first layer after so many bytes or seconds: each costs the engine as much as ten megabytes more.
_ENOUGH, _LONG = 64 << 20, 10.0
#: Of ISA-L; more gains a few percent, and Docker 20.10 reads gzip alone.
_LEVEL = 2
#: Attempts in a row that brought no layer through.
_FRUITLESS = 10
#: How often the engine may lose layers that it had, because somebody removes images there.
_ROUNDS = 5
#: Seconds for threads that are told to stop.
_GRACE = 2.0
_PART = "part"

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
        work = _Work(image, config, {LABEL: _PART, f"{LABEL}.home": owner}, home, link.name, compress)
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
        link.attempt(work.clean)
    return Sent(len(lacking), held, size, sender.wire)


@contextmanager
def _alone(link: Link, home: Home, progress: Progress) -> Iterator[None]:
    """Be the only process of this home that sends to that engine: two would send the same, and clean up too early."""
    identity = link.attempt(lambda engine: str(engine.info.get("ID") or engine.url))
    path = home.layers / "sending" / hashlib.sha256(identity.encode()).hexdigest()[:16]
    with locked(path, wait=False) as free:
        if free:
            yield
            return
    progress.say(f"  Another command sends an image to {link.name}; waiting for it.")
    with locked(path):
        yield


@dataclass(frozen=True)
class _Work:
    """What is to be sent where, and how; ``labels`` are those of parts."""

    image: Image
    config: bytes
    labels: dict[str, str]
    home: Home
    host: str
    compress: bool

    def count(self, engine: Engine) -> int:
        """How many of the lowest layers the engine has, and need not be sent."""
        if has_image(self.image.id, engine):
            return len(self.image.layers)
        if not skips_layers(engine):
            return 0
        return count_held(self.image.layers, engine, lambda image_id: known_layers(self.home, image_id))

    def part(self, end: int) -> tuple[bytes, str]:
        """Config and tag of the image with the lowest ``end`` layers."""
        if end == len(self.image.layers):
            return self.config, f"nbseal/image:{bare(self.image.id)[:12]}"
        config = image_config(self.image.layers[:end], environment={}, labels=self.labels)
        return config, f"nbseal/{_PART}:{bare(sha256_bytes(config))[:12]}"

    def clean(self, engine: Engine) -> None:
        """Remove the parts of this home, also those of processes that were killed. They hinder nobody if they stay."""
        api: Any = engine.client.api
        with ignore_engine_errors():
            for listed in api.images(filters={"label": [f"{name}={value}" for name, value in self.labels.items()]}):
                with ignore_engine_errors():
                    api.remove_image(listed["Id"], force=True)


class _Refused(Exception):
    """The engine did not take layers from ``start`` on."""

    def __init__(self, reason: str, start: int) -> None:
        super().__init__(reason)
        self.reason, self.start = reason, start


class _Stopped(Exception):
    """Nobody waits for this any more."""


class _Sender:
    """Sends what is lacking, as often as the link takes; ``wire`` are the bytes that went."""

    def __init__(self, work: _Work, advance: Callable[[int], None]) -> None:
        self._work, self._layers = work, work.image.layers
        self._advance, self._shown = advance, -1
        self._most, self._failures = -1, 0
        self.wire = 0

    def send(self, engine: Engine) -> None:
        """All that the engine lacks now. Raises as ``send_image``, and what a broken link raises."""
        for _ in range(_ROUNDS):
            if has_image(self._work.image.id, engine):
                return
            held = self._work.count(engine)
            self._resume(held)
            try:
                self._send_from(held, engine)
            except _Refused as refused:
                self._judge(refused, engine)
                continue
            if not has_image(self._work.image.id, engine):
                raise EnvironmentFailed(
                    f"The engine of {self._work.host} loaded the image under another id than {self._work.image.id}.",
                    "nbseal needs an engine that identifies images by their config: Docker with its own image store "
                    '(not "containerd-snapshotter"), or Podman.',
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

    def _judge(self, refused: _Refused, engine: Engine) -> None:
        """Raise what the engine's refusal means; return when sending again from fewer layers may help."""
        host = self._work.host
        if "no space left" in refused.reason.lower():
            raise EnvironmentFailed(
                f"The disk of {host} has no room for the image.",
                "Free some there; `docker system df` says what its engine keeps.",
            )
        damaged = find_damaged(self._layers[refused.start :], self._work.home)
        if damaged:
            raise LayersMissing(damaged)
        if self._work.count(engine) >= refused.start:
            raise EnvironmentFailed(
                f"The engine of {host} did not load the image: {refused.reason}.", f"See `nbseal hosts check {host}`."
            )

    def _send_from(self, start: int, engine: Engine) -> None:
        """Part after part. Two are under way at most, or the host's disk would fill with what waits."""
        stop, running = threading.Event(), list[Future[None]]()
        before: Future[None] | None = None
        try:
            while True:
                part = _Part(self._work, start, engine, before, stop, self._count)
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


class _Part:
    """One load: the layers from ``start`` on, until it is enough; ``end`` is known when all of them have gone."""

    def __init__(
        self,
        work: _Work,
        start: int,
        engine: Engine,
        before: Future[None] | None,
        stop: threading.Event,
        count: Callable[[int, int], None],
    ) -> None:
        self._work, self._start, self._engine = work, start, engine
        self._before, self._stop, self._count = before, stop, count
        self.end: Future[int] = Future()

    def load(self) -> None:
        """_Refused with the engine's words; what a broken link raises passes through."""
        from docker.errors import APIError

        api: Any = self._engine.client.api
        try:
            with closing(self._stream()) as data:  # a request that broke off would leave it suspended
                for line in api.load_image(data, quiet=False):
                    if "error" in line:
                        raise _Refused(str(line["error"]), self._start)
        except APIError as error:
            raise _Refused(str(error.explanation or reason_of(error)), self._start) from error

    def _stream(self) -> Generator[bytes, None, None]:
        """What goes over the link, as long as somebody waits for it."""
        with closing(self._archive()) as pieces:
            for data in _compressed(pieces) if self._work.compress else pieces:
                if self._stop.is_set():
                    raise _Stopped
                self._count(0, len(data))
                yield data

    def _archive(self) -> Generator[bytes, None, None]:
        """As ``docker save`` writes it; which image it is comes last."""
        layers, end, size = self._work.image.layers, self._start, 0
        whole = not skips_layers(self._engine)  # an engine that opens each tar has no use for parts
        missing = [layer for layer in layers[end:] if not has_layer(layer, self._work.home)]
        if missing:
            raise LayersMissing(missing)
        began = time.monotonic()
        while end < len(layers) and (whole or (size < _ENOUGH and time.monotonic() - began < _LONG)):
            for piece in layer_entry(layers[end], self._work.home):
                yield piece
                self._count(len(piece), 0)
            size += layers[end].size
            end += 1
        yield from description(*self._described(end))
        self.end.set_result(end)
        if self._before is not None:
            self._before.result()  # the layers below; an engine looks at nothing before the archive's end
        yield END

    def _described(self, end: int) -> tuple[bytes, Sequence[Layer], str]:
        config, tag = self._work.part(end)
        return config, self._work.image.layers[:end], tag


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """One gzip stream."""
    from isal import isal_zlib

    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 16 + isal_zlib.MAX_WBITS)
    for piece in pieces:
        if data := packer.compress(piece):
            yield data
    yield packer.flush()


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
