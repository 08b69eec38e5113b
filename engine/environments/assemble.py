"""An image's config, byte for byte, and its way into the engine.

The config follows the OCI image specification 1.1 ("Image Configuration"), which is also Docker's; its
sha256 is the image id.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Any

from engine import imagestore
from engine.daemon import LABEL, Engine
from engine.digests import bare, sha256_bytes
from engine.environments.imagefolder import blob_path, documents
from engine.environments.layers import LayersMissing, find_damaged, has_layer, layer_file
from engine.errors import EnvironmentFailed
from engine.progress import Progress
from engine.settings import SOURCE_DATE_EPOCH, Home
from engine.software import Layer

_CHUNK = 1 << 17  # each is copied twice on its way: larger ones would not stay in the processor's cache
_MOST_COMPARED = 200  # images whose layers are asked for before a load
_ASKED_AT_ONCE = 8


@dataclass(frozen=True)
class Earlier:
    """What loads that are under way will have done: the engine then holds the ``layers`` lowest layers.

    ``wait`` returns when they have ended. One archive at a time is sent, by whoever holds ``sending``: the engine
    begins with none before it has all of it, so that the first must not be held up.
    """

    layers: int = 0
    wait: Callable[[], None] = lambda: None
    sending: AbstractContextManager[Any] = field(default_factory=nullcontext)


_NOTHING_EARLIER = Earlier()


def image_config(
    layers: Sequence[Layer], *, environment: Mapping[str, str], labels: Mapping[str, str] | None = None
) -> bytes:
    """The config of the image with these layers, lowest first; the same arguments give the same bytes.

    ``labels`` must hold only what is the same on every machine. What a layer is called is no part of it.
    """
    variables = [f"{name}={value}" for name, value in sorted(environment.items())]
    return imagestore.config_of([layer.diff_id for layer in layers], variables, {LABEL: "image", **(labels or {})})


def has_image(image_id: str, engine: Engine) -> bool:
    """Whether the engine holds exactly this image."""
    return engine.find_image(image_id) is not None


def load(
    config: bytes,
    layers: Sequence[Layer],
    home: Home,
    engine: Engine,
    progress: Progress,
    *,
    kind: str = "image",
    earlier: Earlier = _NOTHING_EARLIER,
) -> str:
    """Make the engine hold the image of ``config``, tagged ``nbseal/<kind>:<12 hex>``; returns its id.

    Layer tars are streamed from the home. Where the engine has the lowest layers already, or will have them
    after ``earlier`` loads, their bytes are left out, and their tars need not be in the home. Raises
    LayersMissing when others are not there or damaged, EnvironmentFailed when the engine refuses or made
    another image of it.
    """
    image_id = sha256_bytes(config)
    if has_image(image_id, engine):
        return image_id
    tag = f"nbseal/{kind}:{bare(image_id)[:12]}"
    failure = ""
    for start in _starts(layers, earlier.layers, engine):
        missing = [layer for layer in layers[start:] if not has_layer(layer, home)]
        if missing and not failure:
            raise LayersMissing(missing)
        if missing:
            break
        failure = _send(archive(config, layers, start, tag, home, earlier), layers[start:], engine, progress)
        if not failure and has_image(image_id, engine):
            return image_id
        failure = failure or "it made no image of it, or another one"
        damaged = find_damaged(layers[start:], home)
        if damaged:
            raise LayersMissing(damaged)
    raise EnvironmentFailed(f"The container engine did not load the image: {failure}.", "See `nbseal doctor`.")


def skips_layers(engine: Engine) -> bool:
    """Neither of Docker's image stores opens the tar of a layer that it has; others read all."""
    return not engine.is_podman


def _starts(layers: Sequence[Layer], expected: int, engine: Engine) -> Iterator[int]:
    """From which layer on to send, what costs least first; the others are for when the engine lacks some after all."""
    if skips_layers(engine):
        if expected:
            yield expected
        held = count_held(layers, engine)
        if held and held != expected:
            yield held
    yield 0


def _know_none(image_id: str) -> Sequence[str]:
    return ()


def count_held(layers: Sequence[Layer], engine: Engine, known: Callable[[str], Sequence[str]] = _know_none) -> int:
    """How many of the lowest layers belong to one image that the engine holds.

    ``known`` gives the layers of an image by its id, which says all of it; the engine is asked about the others.
    """
    from docker.errors import ImageNotFound

    api: Any = engine.client.api  # the plain API: one request for each image
    ours = api.images(filters={"label": LABEL})
    # Bases first: their layers are the largest part, and there may be more images than are asked for.
    ours.sort(key=lambda listed: not str(listed["RepoTags"]).count("nbseal/base:"))

    def inspect(image_id: str) -> Sequence[str]:
        try:
            return api.inspect_image(image_id)["RootFS"].get("Layers") or ()
        except ImageNotFound:  # removed meanwhile
            return ()

    told = {str(listed["Id"]): known(str(listed["Id"])) for listed in ours}
    asked = [image_id for image_id, there in told.items() if not there][:_MOST_COMPARED]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads:  # on another machine, it is the way there that takes time
        told.update(zip(asked, threads.map(inspect, asked), strict=True))
    return max((_common(layers, there) for there in told.values()), default=0)


def _common(layers: Sequence[Layer], there: Sequence[str]) -> int:
    """How many of the lowest are the same."""
    for number, (wanted, other) in enumerate(zip(layers, there, strict=False)):
        if wanted.diff_id != other:
            return number
    return min(len(layers), len(there))


def _send(data: Generator[bytes, None, None], layers: Sequence[Layer], engine: Engine, progress: Progress) -> str:
    """One load of an archive with these layers; the engine's reason when it refuses."""
    from docker.errors import APIError
    from requests.exceptions import RequestException

    api: Any = engine.client.api
    with progress.task("Loading the image into the engine", sum(layer.size for layer in layers)) as advance:
        done: dict[str, int] = {}  # bytes by layer, as the engine tells them
        try:
            with closing(data):  # a request that broke off would leave it suspended, holding what it holds
                for line in api.load_image(data, quiet=False):
                    if "error" in line:
                        return str(line["error"])
                    current = (line.get("progressDetail") or {}).get("current")
                    if isinstance(current, int):
                        advance(current - done.get(line.get("id", ""), 0))
                        done[line.get("id", "")] = current
        except (APIError, RequestException) as error:
            return str(getattr(error, "explanation", None) or error)
    return ""


def archive(
    config: bytes,
    layers: Sequence[Layer],
    start: int,
    tag: str,
    home: Home,
    earlier: Earlier = _NOTHING_EARLIER,
) -> Generator[bytes, None, None]:
    """An archive to load, piece by piece, with the tars from layer ``start`` on.

    Before its end it waits for ``earlier`` loads: an engine looks at nothing until it has all.
    """
    with earlier.sending:
        for layer in layers[start:]:
            yield from layer_entry(layer, home)
        yield from description(config, layers, tag)
    earlier.wait()
    yield END


#: How such an archive ends.
END = bytes(2 * tarfile.BLOCKSIZE)


def layer_entry(layer: Layer, home: Home) -> Iterator[bytes]:
    """A layer as an entry of such an archive. LayersMissing when its tar is gone or too short."""
    left = layer.size
    yield _header(blob_path(layer.diff_id), left)
    try:
        with layer_file(layer, home).open("rb") as file:
            while left:
                data = file.read(min(_CHUNK, left))
                if not data:
                    raise LayersMissing([layer])
                left -= len(data)
                yield data
    except FileNotFoundError:
        raise LayersMissing([layer]) from None
    yield bytes(-layer.size % tarfile.BLOCKSIZE)


def description(config: bytes, layers: Sequence[Layer], tag: str) -> Iterator[bytes]:
    """The entries that say which image the archive's layers, and those that the engine has, are to become."""
    for path, content in documents(config, layers, tag):
        yield _header(path, len(content))
        yield content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _header(path: str, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mtime = size, SOURCE_DATE_EPOCH
    return info.tobuf(tarfile.GNU_FORMAT)
