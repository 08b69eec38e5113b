"""An image's config, byte for byte, and its way into the engine.

The config follows the OCI image specification 1.1 ("Image Configuration"), which is also Docker's; its
sha256 is the image id. Loading follows Docker's image specification 1.2 (``docker save`` archives:
manifest.json, a config, layer tars).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Any

from engine.daemon import LABEL, Engine
from engine.digests import bare, canonical_json, sha256_bytes
from engine.environments.layers import LayersMissing, find_damaged, has_layer, layer_file
from engine.errors import EnvironmentFailed
from engine.model import Layer
from engine.progress import Progress
from engine.settings import SOURCE_DATE_EPOCH, Home

_CHUNK = 1 << 17  # each is copied twice on its way: larger ones would not stay in the processor's cache
_TIME = "1980-01-01T00:00:00Z"  # SOURCE_DATE_EPOCH
_MOST_COMPARED = 200  # images whose layers are asked for before a load


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
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": _TIME,
        "config": {
            "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
            "Labels": {LABEL: "image", **(labels or {})},
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": _TIME, "created_by": "nbseal"} for _ in layers],
    }
    return canonical_json(config)


def has_image(image_id: str, engine: Engine) -> bool:
    """Whether the engine holds exactly this image."""
    from docker.errors import ImageNotFound

    try:
        return engine.client.images.get(image_id).id == image_id
    except ImageNotFound:
        return False


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
        if not failure:
            break
        damaged = find_damaged(layers[start:], home)
        if damaged:
            raise LayersMissing(damaged)
    if failure:
        raise EnvironmentFailed(f"The container engine did not load the image: {failure}.", "See `nbseal doctor`.")
    if not has_image(image_id, engine):
        raise EnvironmentFailed(
            f"The container engine loaded the image under another id than {image_id}.",
            "nbseal needs an engine that identifies images by their config: Docker with its own image store "
            '(not "containerd-snapshotter"), or Podman.',
        )
    return image_id


def skips_layers(engine: Engine) -> bool:
    """Docker's own image store does not open the tar of a layer whose whole chain it has; others read all."""
    status = engine.info.get("DriverStatus") or ()
    return engine.name == "docker" and not any("io.containerd" in str(value) for _, value in status)


def _starts(layers: Sequence[Layer], expected: int, engine: Engine) -> Iterator[int]:
    """From which layer on to send, what costs least first; the others are for when the engine lacks some after all."""
    if skips_layers(engine):
        if expected:
            yield expected
        held = count_held(layers, engine)
        if held and held != expected:
            yield held
    yield 0


def count_held(layers: Sequence[Layer], engine: Engine) -> int:
    """How many of the lowest layers belong to one image that the engine holds."""
    from docker.errors import ImageNotFound

    api: Any = engine.client.api  # the plain API: one request for each image
    most = 0
    ours = api.images(filters={"label": LABEL})
    # Bases first: their layers are the largest part, and there may be more images than are asked for.
    ours.sort(key=lambda listed: not str(listed["RepoTags"]).count("nbseal/base:"))
    for listed in ours[:_MOST_COMPARED]:
        try:
            held = api.inspect_image(listed["Id"])["RootFS"].get("Layers") or []
        except ImageNotFound:  # removed meanwhile
            continue
        common = 0
        for wanted, there in zip(layers, held, strict=False):
            if wanted.diff_id != there:
                break
            common += 1
        most = max(most, common)
    return most


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
    """A ``docker save`` archive, piece by piece, with the tars from layer ``start`` on.

    Before its end it waits for ``earlier`` loads: an engine looks at nothing until it has all.
    """
    name = f"{bare(sha256_bytes(config))}.json"
    files = [f"{bare(layer.diff_id)}.tar" for layer in layers]
    manifest: list[dict[str, Any]] = [{"Config": name, "RepoTags": [tag], "Layers": files}]
    with earlier.sending:
        for layer, path in list(zip(layers, files, strict=True))[start:]:
            yield _header(path, layer.size)
            yield from _content(layer, home)
            yield bytes(-layer.size % tarfile.BLOCKSIZE)
        for path, content in ((name, config), ("manifest.json", json.dumps(manifest).encode())):
            yield _header(path, len(content))
            yield content + bytes(-len(content) % tarfile.BLOCKSIZE)
    earlier.wait()
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(layer: Layer, home: Home) -> Iterator[bytes]:
    left = layer.size
    with layer_file(layer, home).open("rb") as file:
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                raise LayersMissing([layer])
            left -= len(data)
            yield data


def _header(path: str, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mtime = size, SOURCE_DATE_EPOCH
    return info.tobuf(tarfile.GNU_FORMAT)
