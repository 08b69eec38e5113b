"""Load the lowest layers of an image while the others are still being packed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from engine.daemon import LABEL, Engine, ignore_engine_errors
from engine.digests import bare
from engine.environments.assemble import image_config, load, skips_layers
from engine.errors import NbsealError
from engine.model import Layer, Wheel
from engine.progress import Silent
from engine.settings import Home

#: Bytes that are worth a load of their own: each costs an engine some tenths of a second.
_WORTH = 32 << 20
_KIND = "part"


@contextmanager
def load_early(
    below: Sequence[Layer],
    groups: Sequence[Sequence[Wheel]],
    environment: Mapping[str, str],
    home: Home,
    engine: Engine,
) -> Iterator[EarlyLoader]:
    """Have the engine load layers of the image with these ``groups`` on ``below`` as soon as they are ready.

    What is ready of the lowest groups that hold one wheel each goes to the engine as an image of its own, whose
    layers a later load need not send. This saves time and decides nothing: whatever fails here is left to that
    load, which must come before the block ends, because then the last such image is removed.
    """
    loader = EarlyLoader(below, groups, environment, home, engine)
    loader.start()
    try:
        yield loader
    finally:
        loader.finish()
        loader.remove()


class EarlyLoader(threading.Thread):
    """Takes layers from any thread and loads them in its own."""

    def __init__(
        self,
        below: Sequence[Layer],
        groups: Sequence[Sequence[Wheel]],
        environment: Mapping[str, str],
        home: Home,
        engine: Engine,
    ) -> None:
        super().__init__(daemon=True)
        self._below, self._environment, self._home, self._engine = below, environment, home, engine
        self._order = [shared[0] for shared in groups if len(shared) == 1]
        self._layers: dict[Wheel, Layer] = {}
        self._finishing = not skips_layers(engine)
        self._changed = threading.Condition()
        self._held = ""

    def take(self, wheel: Wheel, layer: Layer) -> None:
        """A layer whose tar is in the home."""
        with self._changed:
            self._layers[wheel] = layer
            self._changed.notify()

    def finish(self) -> None:
        """Begin no other load and wait for the one that is under way."""
        with self._changed:
            self._finishing = True
            self._changed.notify()
        self.join()

    def remove(self) -> None:
        """Remove the image that holds the layers that were loaded."""
        if self._held:
            with ignore_engine_errors():
                self._engine.client.api.remove_image(f"nbseal/{_KIND}:{bare(self._held)[:12]}")
            self._held = ""

    def run(self) -> None:
        loaded = 0
        while True:
            with self._changed:
                while not self._finishing and self._size(loaded) < _WORTH:
                    self._changed.wait()
                if self._finishing:
                    return
                layers = self._ready()
            # Its own label, so that it is no image that anybody else may hold or want.
            config = image_config((*self._below, *layers), environment=self._environment, labels={LABEL: _KIND})
            try:
                image = load(config, (*self._below, *layers), self._home, self._engine, Silent(), kind=_KIND)
            except NbsealError:
                return
            self.remove()
            self._held, loaded = image, len(layers)

    def _ready(self) -> list[Layer]:
        """The layers above ``below`` that are there without a gap."""
        layers = []
        for wheel in self._order:
            if wheel not in self._layers:
                break
            layers.append(self._layers[wheel])
        return layers

    def _size(self, loaded: int) -> int:
        return sum(layer.size for layer in self._ready()[loaded:])
