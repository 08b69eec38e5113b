"""One load of an image on its way to another machine's engine: some layers, as one stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from engine.daemon import LABEL, Engine, reason_of
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
from engine.environments.layers import LayersMissing, has_layer
from engine.settings import Home
from engine.software import Image, Layer

#: A part ends with the first layer after so many bytes or seconds: each costs the engine as much as ten megabytes more.
_ENOUGH, _LONG = 64 << 20, 10.0
#: Of ISA-L; more gains a few percent, and Docker 20.10 reads gzip alone.
_LEVEL = 2
_KIND = "part"


def part_labels(owner: str) -> dict[str, str]:
    """Of the images that hold what has come so far, for the home with this id."""
    return {LABEL: _KIND, f"{LABEL}.home": owner}


@dataclass(frozen=True)
class Work:
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
        return config, f"nbseal/{_KIND}:{bare(sha256_bytes(config))[:12]}"


class Refused(Exception):
    """The engine did not take layers from ``start`` on."""

    def __init__(self, reason: str, start: int) -> None:
        super().__init__(reason)
        self.reason, self.start = reason, start


class Stopped(Exception):
    """Nobody waits for this any more."""


class Part:
    """One load: the layers from ``start`` on, all or until it is enough; ``end`` is known when they have gone."""

    def __init__(
        self,
        work: Work,
        start: int,
        engine: Engine,
        whole: bool,
        before: Future[None] | None,
        stop: threading.Event,
        count: Callable[[int, int], None],
    ) -> None:
        self._work, self._start, self._engine, self._whole = work, start, engine, whole
        self._before, self._stop, self._count = before, stop, count
        self.end: Future[int] = Future()

    def load(self) -> None:
        """Refused with the engine's words; what a broken link raises passes through."""
        from docker.errors import APIError

        api: Any = self._engine.client.api
        try:
            with closing(self._stream()) as data:  # a request that broke off would leave it suspended
                for line in api.load_image(data, quiet=False):
                    if "error" in line:
                        raise Refused(str(line["error"]), self._start)
        except APIError as error:
            raise Refused(str(error.explanation or reason_of(error)), self._start) from error

    def _stream(self) -> Generator[bytes, None, None]:
        """What goes over the link, as long as somebody waits for it."""
        with closing(self._archive()) as pieces:
            for data in _compressed(pieces) if self._work.compress else pieces:
                if self._stop.is_set():
                    raise Stopped
                self._count(0, len(data))
                yield data

    def _archive(self) -> Generator[bytes, None, None]:
        """As ``docker save`` writes it; which image it is comes last."""
        layers, end, size = self._work.image.layers, self._start, 0
        missing = [layer for layer in layers[end:] if not has_layer(layer, self._work.home)]
        if missing:
            raise LayersMissing(missing)
        began = time.monotonic()
        while end < len(layers) and (self._whole or (size < _ENOUGH and time.monotonic() - began < _LONG)):
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
