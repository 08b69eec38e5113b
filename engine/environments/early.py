"""Load the lowest layers of an image while others are still being packed or sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from engine.daemon import LABEL, Engine, ignore_engine_errors
from engine.digests import bare
from engine.environments.assemble import count_held, image_config, load, skips_layers
from engine.errors import NbsealError
from engine.model import Layer, Wheel
from engine.progress import Silent
from engine.settings import Home

#: Bytes that are worth a load of their own, and after how many it ends: meanwhile more become ready.
_WORTH, _ENOUGH = 32 << 20, 96 << 20
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
        loader.join()
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
        self._changed = threading.Condition()
        self._finished = not skips_layers(engine)
        self._looked = False
        self._there = 0  # how many of all layers the engine has
        self._begun = 0  # how many layers above ``below`` the engine has, or will have after the load under way
        self._loading = False
        self._held = ""

    def take(self, layers: Mapping[Wheel, Layer]) -> None:
        """Layers whose tars are in the home."""
        with self._changed:
            self._layers.update(layers)
            self._changed.notify()

    def finish(self) -> int:
        """Begin no other load, except a last one now if nothing is under way.

        Returns how many of the image's lowest layers the engine will hold when ``join`` returns; 0 if none was loaded.
        """
        with self._changed:
            if not self._finished and not self._loading:
                self._begin()
            self._finished = True
            self._changed.notify()
            return len(self._below) + self._begun if self._held or self._loading else 0

    def remove(self) -> None:
        """Remove the image that holds the layers that were loaded."""
        if self._held:
            with ignore_engine_errors():
                self._engine.client.api.remove_image(f"nbseal/{_KIND}:{bare(self._held)[:12]}")
            self._held = ""

    def run(self) -> None:
        while True:
            with self._changed:
                while not self._loading and not self._finished and not self._begin():
                    self._changed.wait()
                if not self._loading:
                    return
                layers = (*self._below, *self._ready()[: self._begun])
            # Its own label, so that it is no image that anybody else may hold or want.
            config = image_config(layers, environment=self._environment, labels={LABEL: _KIND})
            try:
                image = load(config, layers, self._home, self._engine, Silent(), kind=_KIND, expected=self._there)
                self._there = len(layers)
            except NbsealError:
                image = ""
            self.remove()
            with self._changed:
                self._held, self._loading = image, False
                if not image:
                    self._finished = True

    def _begin(self) -> bool:
        """Choose what to load next, if there is enough."""
        ready = self._ready()
        if not self._worth(ready):
            return False
        if not self._looked:  # the engine may have them from another image
            self._looked = True
            self._there = count_held((*self._below, *ready), self._engine)
            self._begun = max(0, self._there - len(self._below))
            if not self._worth(ready):
                return False
        size = 0
        while self._begun < len(ready) and size < _ENOUGH:
            size += ready[self._begun].size
            self._begun += 1
        self._loading = True
        return True

    def _worth(self, ready: Sequence[Layer]) -> bool:
        return sum(layer.size for layer in ready[self._begun :]) >= _WORTH

    def _ready(self) -> list[Layer]:
        """The layers above ``below`` that are there without a gap."""
        layers = []
        for wheel in self._order:
            if wheel not in self._layers:
                break
            layers.append(self._layers[wheel])
        return layers
