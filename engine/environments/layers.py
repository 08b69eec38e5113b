"""The home's layers: made once, kept by digest, made again when they are gone or damaged.

``layers/<diff id>.tar`` holds a layer, ``layers/keys/<key>.json`` says which layer came of which
ingredients. Neither is fsynced: they are a cache, an unreadable key counts as none, the engine checks each
tar against its digest when it loads it, and ``find_damaged`` names those that are not what they should be.
"""

from __future__ import annotations

import io
import json
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from engine.daemon import Engine, Mount, run_tool
from engine.digests import bare, digest_of, sha256_file
from engine.environments import tars
from engine.errors import EnvironmentFailed
from engine.files import locked, open_regular, read_regular, remove_tree, write_atomic, write_json
from engine.progress import Progress
from engine.settings import SOURCE_DATE_EPOCH, Home
from engine.software import Base, Layer, Wheel

#: Part of every key: raise it when packing/ or tars.py write other bytes than before.
LAYOUT = 3
_MOST_SECONDS = 3600
_MAX_ANSWER = 1 << 20
#: Told of a group's number and layer, whose tar is in the home.
Ready = Callable[[int, Layer], None]
PACKER = ("-S", "-s", "-B", "-W", "ignore", "-m", "packing")
PACKING = {
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": "/nbseal",
    "LC_ALL": "C.UTF-8",
    # The C library would give memory back after each compiled module, only to ask for it again (mallopt(3)).
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TOP_PAD_": "16777216",
}


def layer_file(layer: Layer, home: Home) -> Path:
    """Where the tar of a layer is, or would be."""
    return home.layers / f"{bare(layer.diff_id)}.tar"


def has_layer(layer: Layer, home: Home) -> bool:
    """Whether the home holds a file of the layer's size; its content is checked where it is used."""
    try:
        return layer_file(layer, home).stat().st_size == layer.size
    except FileNotFoundError:
        return False


class LayersMissing(EnvironmentFailed):
    """Layers are not in the home, or were not what their digest says; then their files have been removed."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        names = ", ".join(layer.of for layer in layers[:5]) + (", ..." if len(layers) > 5 else "")
        super().__init__(
            f"{len(layers)} layers are missing from the home or damaged: {names}.",
            "Build the base and the image again: `nbseal base build`, `nbseal build NOTEBOOK`.",
        )
        self.layers = tuple(layers)


def find_damaged(layers: Sequence[Layer], home: Home) -> tuple[Layer, ...]:
    """Which of these layers are not in the home as their digest says; what is wrong is removed."""
    damaged = []
    for layer in layers:
        path = layer_file(layer, home)
        if not has_layer(layer, home) or sha256_file(path) != layer.diff_id:
            path.unlink(missing_ok=True)
            damaged.append(layer)
    return tuple(damaged)


# --- layers of wheels -------------------------------------------------------------------------


def pack_wheels(
    base: Base,
    groups: Sequence[Sequence[Wheel]],
    prefix: str,
    home: Home,
    engine: Engine,
    progress: Progress,
    ready: Ready = lambda number, layer: None,
) -> tuple[Layer, ...]:
    """One layer per group of wheels, laid out below ``prefix`` for the Python of ``base``, which the engine holds.

    ``ready`` hears of each as soon as its tar is in the home, from another thread too.
    What the home has already costs no container, except one for an image whose Python was never seen.
    Raises EnvironmentFailed for a wheel that cannot be laid out, is damaged or is missing.
    """
    with working(home) as folder:
        identity = _identify(base, home, engine)
        done: dict[int, Layer] = {}
        packed: dict[Wheel, Layer] = {}

        def finish(number: int, layer: Layer) -> None:
            done[number] = layer
            ready(number, layer)

        def finish_complete() -> None:
            for number, group in enumerate(groups):
                if number not in done and all(wheel in packed for wheel in group):
                    finish(number, _merge([packed[wheel] for wheel in group], home, folder, _name_group(group)))

        def keep(wheel: Wheel, layer: Layer) -> None:
            packed[wheel] = layer
            _remember(_wheel_key(wheel, prefix, identity), layer, home)
            finish_complete()

        for number, layer in enumerate(recall_groups(base, groups, prefix, home, engine)):
            if layer is not None and has_layer(layer, home):
                finish(number, layer)
        needed = [wheel for number, group in enumerate(groups) if number not in done for wheel in group]
        known = {wheel: _recall(_wheel_key(wheel, prefix, identity), home) for wheel in needed}
        there = {wheel: layer for wheel, layer in known.items() if layer is not None and has_layer(layer, home)}
        # They are to be merged, and no engine would notice damage: the merged layer has a digest of its own.
        damaged = find_damaged(tuple(there.values()), home)
        packed.update({wheel: layer for wheel, layer in there.items() if layer not in damaged})
        finish_complete()
        missing = [wheel for wheel in needed if wheel not in packed]
        if missing:
            _pack(base, missing, prefix, home, folder, engine, progress, keep)
            finish_complete()
    return tuple(done[number] for number in range(len(groups)))


def recall_groups(
    base: Base, groups: Sequence[Sequence[Wheel]], prefix: str, home: Home, engine: Engine
) -> tuple[Layer | None, ...]:
    """The layers that these groups became before, whether their tars are still there or not."""
    identity = _identify(base, home, engine)
    recalled = []
    for group in groups:
        parts = [_recall(_wheel_key(wheel, prefix, identity), home) for wheel in group]
        known = [layer for layer in parts if layer is not None]
        recalled.append(_recall_merged(known, home) if len(known) == len(group) else None)
    return tuple(recalled)


def _name_group(wheels: Sequence[Wheel]) -> str:
    """What a layer of these wheels is called."""
    return f"{wheels[0].name} {wheels[0].version}" if len(wheels) == 1 else f"{len(wheels)} distributions"


def _wheel_key(wheel: Wheel, prefix: str, identity: str) -> str:
    return digest_of(["wheel", LAYOUT, bare(wheel.sha256), prefix, identity])


def share_interpreter(image: str, other: str, home: Home) -> None:
    """Say that ``other``, an image made of ``image``, has its Python, so that no container need find out."""
    write_json(_interpreter_file(other, home), _read_json(_interpreter_file(image, home)))


def _interpreter_file(image: str, home: Home) -> Path:
    return home.layers / "interpreters" / f"{bare(image).replace('/', '_')}.json"


def _identify(base: Base, home: Home, engine: Engine) -> str:
    """A digest of the interpreter that compiles: its version, magic number and binary.

    What an image of a registry says of its Python is its own word, so its layers are for bases of that image only.
    """
    path = _interpreter_file(base.id, home)
    known = _read_json(path)
    if known is None:
        command = [base.interpreter, *PACKER, "identify"]
        result = run_tool(engine, base.id, command, mounts=program(), environment=PACKING)
        if result.exit_code:
            raise EnvironmentFailed(
                f"The Python of {base.id} does not run: {_last_line(result.stderr)}.",
                "A base needs a Python 3.9 or newer with its whole standard library.",
            )
        known = _object(result.stdout)
        if known is None:
            raise EnvironmentFailed(f"The Python of {base.id} does not say what it is.")
        write_json(path, known)
    return digest_of([known, base.origin.manifest] if base.origin else known)


def _pack(
    base: Base,
    wheels: Sequence[Wheel],
    prefix: str,
    home: Home,
    folder: Path,
    engine: Engine,
    progress: Progress,
    keep: Callable[[Wheel, Layer], None],
) -> None:
    """Run the packer on wheels that the home has no layer of; ``folder`` is for what comes and goes."""
    # Largest first, so that no processor is left with a large one at the end.
    ordered = sorted({wheel.sha256: wheel for wheel in wheels}.values(), key=lambda wheel: (-wheel.size, wheel.name))
    for wheel in ordered:
        if not wheel_file(wheel, home).is_file():
            raise EnvironmentFailed(f"The wheel {wheel.filename} is not in the home.", "Build with the network on.")
    request, output = folder / "request.json", folder / "out"
    output.mkdir()
    listed = [{"sha256": bare(wheel.sha256), "filename": wheel.filename} for wheel in ordered]
    write_json(request, {"prefix": prefix, "mtime": SOURCE_DATE_EPOCH, "wheels": listed})
    mounts = [
        *program(),
        Mount(request.absolute(), "/request.json"),
        Mount(home.wheels.absolute(), "/wheels"),
        Mount(output.absolute(), "/out", writable=True),
    ]
    with progress.task("Packing layers", len(ordered)) as advance:
        left = {bare(wheel.sha256): wheel for wheel in ordered}

        def take_finished() -> None:
            for answer in output.glob("*.json"):
                if answer.stem in left:
                    layer = _take(left[answer.stem], output, home, folder if base.origin else None)
                    keep(left.pop(answer.stem), layer)
                    advance(1)

        with _repeating(take_finished):
            command = [base.interpreter, *PACKER, "/request.json", "/out"]
            result = run_tool(engine, base.id, command, mounts=mounts, environment=PACKING, timeout=_MOST_SECONDS)
        take_finished()
    if result.exit_code or left:
        raise EnvironmentFailed(f"Packing layers failed: {_last_line(result.stderr)}.")


def _take(wheel: Wheel, output: Path, home: Home, apart: Path | None) -> Layer:
    """Move one layer from the packer's output into the home.

    Where the packer ran on a Python that somebody else made, it is copied to ``apart`` first and believed nothing.
    """
    answer = _read_json(output / f"{bare(wheel.sha256)}.json") or {"failed": "the packer's answer is not readable"}
    if "damaged" in answer:
        wheel_file(wheel, home).unlink(missing_ok=True)
        raise EnvironmentFailed(
            f"The wheel {wheel.filename} in the home was damaged; it has been removed.",
            "Run the same command again: the wheel is then fetched anew.",
        )
    if "refused" in answer:
        raise EnvironmentFailed(
            f"The wheel {wheel.filename} cannot be installed: {answer['refused']}.",
            f"Choose another version of {wheel.name}, or tell its makers.",
        )
    if "failed" in answer:
        raise EnvironmentFailed(f"The wheel {wheel.filename} could not be packed: {answer['failed']}.")
    size = answer.get("size")
    layer = Layer(str(answer.get("diff_id")), size if isinstance(size, int) else 0, _name_group([wheel]))
    packed = output / f"{bare(wheel.sha256)}.tar"
    if apart is not None:
        packed = proven(packed, layer, apart)
    packed.rename(layer_file(layer, home))
    return layer


def proven(packed: Path, layer: Layer, folder: Path) -> Path:
    """A copy that nobody else has open, and that is what was said of it."""
    copy = folder / f"{secrets.token_hex(8)}.tar"
    try:
        with open_regular(packed) as source, copy.open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except OSError as error:
        raise EnvironmentFailed(f"Packing layers failed: {error.strerror or error}.") from None
    if copy.stat().st_size != layer.size or sha256_file(copy) != layer.diff_id:
        raise EnvironmentFailed(f"The base's Python packed {layer.of} into other bytes than it says.")
    return copy


def wheel_file(wheel: Wheel, home: Home) -> Path:
    """Where the wheel is in the home."""
    return home.wheels / bare(wheel.sha256) / wheel.filename


def program() -> list[Mount]:
    """The packer's files one by one, without the bytecode that this machine's Python may keep beside them."""
    folder = Path(__file__).resolve().with_name("packing")
    return [Mount(file, f"/nbseal/packing/{file.name}") for file in sorted(folder.glob("*.py"))]


@contextmanager
def _repeating(action: Callable[[], None]) -> Iterator[None]:
    """Call ``action`` again and again in a thread, until the block ends or it fails; the caller calls it once more."""
    done = threading.Event()

    def repeat() -> None:
        with suppress(EnvironmentFailed, OSError):
            while not done.wait(0.1):
                action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# --- other layers -----------------------------------------------------------------------------


def normalise_tar(source: Path | BinaryIO, home: Home, of: str) -> Layer:
    """A layer with the content of any tar (compressed or not, a file or a stream); see ``tars.merge``.

    Numeric owners, modes and whiteouts are kept, so that it serves for a root file system and for a layer of
    ``docker build`` alike. Times become SOURCE_DATE_EPOCH: bytecode that carries its source's time goes stale.
    """
    with working(home) as folder:
        if not isinstance(source, Path):
            stream, source = source, folder / "source.tar"
            with source.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
        return _write_merged([source], home, folder, of)


def pack_tree(files: tars.Tree, home: Home, of: str) -> Layer:
    """A layer of a small tree of ours; it is held in memory."""
    output = io.BytesIO()
    diff_id, size = tars.write_tree(files, output)
    layer = Layer(diff_id, size, of)
    if not has_layer(layer, home):
        write_atomic(layer_file(layer, home), output.getvalue())
    return layer


def merge_layers(layers: Sequence[Layer], home: Home, of: str) -> Layer:
    """One layer of several, the later ones winning. Their tars must be in the home."""
    with working(home) as folder:
        known = _recall_merged(layers, home)
        if known is not None and has_layer(known, home):
            return known
        damaged = find_damaged(layers, home)  # no engine would notice: the merged layer has a digest of its own
        if damaged:
            raise LayersMissing(damaged)
        return _merge(layers, home, folder, of)


def _recall_merged(layers: Sequence[Layer], home: Home) -> Layer | None:
    return layers[0] if len(layers) == 1 else _recall(_merge_key(layers), home)


def _merge(layers: Sequence[Layer], home: Home, folder: Path, of: str) -> Layer:
    """Several layers as one, which is remembered; one alone stays itself."""
    if len(layers) == 1:
        return layers[0]
    layer = _write_merged([layer_file(layer, home) for layer in layers], home, folder, of)
    _remember(_merge_key(layers), layer, home)
    return layer


def _merge_key(layers: Sequence[Layer]) -> str:
    return digest_of(["merged", LAYOUT, [layer.diff_id for layer in layers]])


def _write_merged(sources: Sequence[Path], home: Home, folder: Path, of: str) -> Layer:
    path = folder / "layer.tar"
    with path.open("xb") as output:
        diff_id, size = tars.merge(sources, output)
    layer = Layer(diff_id, size, of)
    path.rename(layer_file(layer, home))
    return layer


@contextmanager
def working(home: Home) -> Iterator[Path]:
    """Be the only process that makes layers in this home; yields an empty folder on the layers' file system."""
    with locked(home.layers / "lock"):
        folder = home.layers / "work" / secrets.token_hex(8)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            for left in folder.parent.iterdir():  # also of processes that were killed
                with suppress(OSError):  # their containers may still be writing
                    remove_tree(left)


def _remember(key: str, layer: Layer, home: Home) -> None:
    document = {"diff_id": layer.diff_id, "size": layer.size, "of": layer.of}
    write_json(home.layers / "keys" / f"{bare(key)}.json", document, durable=False)


def _recall(key: str, home: Home) -> Layer | None:
    known = _read_json(home.layers / "keys" / f"{bare(key)}.json")
    try:
        return Layer(known["diff_id"], int(known["size"]), known["of"]) if known else None
    except (KeyError, TypeError, ValueError):
        return None  # a key file from another version: the layer is made again


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return _object(read_regular(path, _MAX_ANSWER))
    except OSError:
        return None


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
