"""Load the lowest layers of an image while others are still being packed or sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from engine.daemon import LABEL, Engine, ignore_engine_errors
from engine.digests import bare
from engine.environments.assemble import Earlier, count_held, image_config, load, skips_layers
from engine.progress import Silent
from engine.settings import Home
from engine.software import Layer

#: Bytes that are worth a load of their own: each costs the engine as much time as ten megabytes more.
_WORTH = 64 << 20
#: Loads under way: the engine registers the layers of one while it receives those of the next.
_AT_ONCE = 2
_KIND = "part"


@contextmanager
def load_early(
    below: Sequence[Layer],
    environment: Mapping[str, str],
    home: Home,
    engine: Engine,
) -> Iterator[EarlyLoader]:
    """Have the engine load layers of the image on ``below`` as soon as they are ready.

    The lowest ones go to the engine in images of their own, whose layers a later load need not send. This saves
    time and decides nothing: whatever fails here is left to that load, which must come before the block ends,
    because then the last such image is removed.
    """
    loader = EarlyLoader(below, environment, home, engine)
    try:
        yield loader
    finally:
        loader.close()


class EarlyLoader:
    """Takes layers from any thread and loads them in threads of its own."""

    def __init__(
        self,
        below: Sequence[Layer],
        environment: Mapping[str, str],
        home: Home,
        engine: Engine,
    ) -> None:
        self._below, self._environment, self._home, self._engine = tuple(below), environment, home, engine
        self._layers: dict[int, Layer] = {}
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._threads = ThreadPoolExecutor(_AT_ONCE)
        self._finished = not skips_layers(engine)
        self._there = 0  # how many of the lowest layers the engine has, or will have after the last load
        self._last: Future[None] | None = None
        self._all: list[Future[None]] = []
        self._loaded: list[str] = []  # images that hold them, to be removed

    def take(self, number: int, layer: Layer) -> None:
        """The layer with this number above ``below``, whose tar is in the home."""
        with self._lock:
            self._layers[number] = layer
            while not self._finished and (part := self._next_part()):
                self._last = self._threads.submit(self._load, part, self._there, self._last)
                self._all.append(self._last)
                self._there = len(part)

    def finish(self) -> Earlier:
        """Begin no other load; returns what those that have begun will have done."""
        with self._lock:
            self._finished = True
        begun = tuple(self._all)
        if not begun:
            return Earlier()

        def wait_for_all() -> None:
            wait(begun)

        return Earlier(self._there, wait_for_all, self._sending)

    def close(self) -> None:
        """Wait for what is under way, drop what is not, and remove what was loaded."""
        self.finish()
        self._threads.shutdown(cancel_futures=True)
        self._remove_loaded()

    def _next_part(self) -> tuple[Layer, ...]:
        """The layers of the image to load next, when enough of them are new to the engine."""
        ready = [*self._below]
        while (number := len(ready) - len(self._below)) in self._layers:
            ready.append(self._layers[number])
        above = len(self._below)
        if self._last is None and _count(ready[above:]):
            with ignore_engine_errors():  # it may have some from another image
                self._there = count_held(ready, self._engine)
        start = max(self._there, above)
        new = _count(ready[start:])
        return tuple(ready[: start + new]) if new else ()

    def _load(self, layers: tuple[Layer, ...], there: int, before: Future[None] | None) -> None:
        # Its own label, so that it is no image that anybody else may hold or want.
        config = image_config(layers, environment=self._environment, labels={LABEL: _KIND})

        def wait_for_those_below() -> None:
            if before is not None:
                before.result()  # raises when they could not be loaded: then neither can these

        earlier = Earlier(there, wait_for_those_below, self._sending)
        image = load(config, layers, self._home, self._engine, Silent(), kind=_KIND, earlier=earlier)
        self._remove_loaded()
        self._loaded.append(image)

    def _remove_loaded(self) -> None:
        for image in self._loaded:
            with ignore_engine_errors():
                self._engine.client.api.remove_image(f"nbseal/{_KIND}:{bare(image)[:12]}")
        self._loaded.clear()


def _count(layers: Sequence[Layer]) -> int:
    """How many of the first of these layers are worth a load of their own; 0 when all of them are not."""
    size = 0
    for number, layer in enumerate(layers, 1):
        size += layer.size
        if size >= _WORTH:
            return number
    return 0
