"""Dockerfile.base on a root file system, built by the engine, and what it adds as one normalised layer.

A build's own layers hold the time of the build, so that its image would have another id each time. They
are taken out of the engine, flattened into one and normalised. Formats: Docker's image specification 1.2
(``docker save``), OCI image specification 1.1 "Layer Filesystem Changeset" (whiteouts).
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import copy as shallow_copy
from pathlib import Path
from typing import Any

from engine.daemon import LABEL, Engine, ignore_engine_errors
from engine.environments.layers import normalise_tar
from engine.errors import EngineUnavailable, EnvironmentFailed
from engine.progress import Progress
from engine.settings import Home
from engine.software import Layer

#: Path to the archive that holds it and its entry there.
Entries = dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
#: Of whiteouts, which have none that matters: each image store writes another.
_WHITEOUT_MODE = 0o600
#: What an engine puts into every container by itself, and may leave in a build's layers.
_ENGINE_FILES = (".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf", "run/.containerenv")
_ENGINE_FOLDERS = ("dev", "proc", "sys")
_ENGINE_PARENTS = ("etc", "run")


def apply_recipe(
    dockerfile: bytes, context: Mapping[str, bytes], root: str, home: Home, engine: Engine, progress: Progress
) -> Layer:
    """Build ``dockerfile`` from the image ``root`` without a network; what it adds, as one layer.

    ``context`` are the files that it may copy, by name.

    Nothing of the build stays in the engine. Raises EnvironmentFailed with the builder's last words.
    """
    with progress.task("Building Dockerfile.base"):
        built = _build({"Dockerfile": dockerfile, **context}, root, engine)
        try:
            return _added(built, root, home, engine)
        finally:
            with ignore_engine_errors():
                engine.client.api.remove_image(built, force=True)


def _build(context: Mapping[str, bytes], root: str, engine: Engine) -> str:
    """The id of the image that the classic builder makes: BuildKit is not part of every engine."""
    from docker.errors import APIError
    from requests.exceptions import RequestException

    built, said = "", ""
    try:
        lines = engine.client.api.build(
            fileobj=_tar(context),
            custom_context=True,
            buildargs={"ROOTFS": engine.handle(root)},
            labels={LABEL: "build"},
            network_mode="none",
            nocache=True,
            rm=True,
            forcerm=True,
            decode=True,
        )
        for line in lines:
            said = str(line.get("stream", "")).strip() or said
            built = str((line.get("aux") or {}).get("ID", "")) or built
            if "error" in line:
                raise EnvironmentFailed(f"Dockerfile.base failed: {str(line['error']).strip()} (after: {said[:300]})")
    except APIError as error:
        raise EnvironmentFailed(f"The container engine did not build Dockerfile.base: {error.explanation}") from error
    except RequestException as error:
        raise EngineUnavailable(f"The container engine stopped answering: {error}.") from error
    if not built:
        raise EnvironmentFailed(f"The container engine built no image of Dockerfile.base: {said[:300]}.")
    return built


def _tar(files: Mapping[str, bytes]) -> io.BytesIO:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    output.seek(0)
    return output


def _added(built: str, root: str, home: Home, engine: Engine) -> Layer:
    """The layers of ``built`` above those of ``root``, as one."""
    below = len(engine.client.images.get(engine.handle(root)).attrs["RootFS"]["Layers"])
    home.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-", dir=home.temporary) as name:
        saved = Path(name) / "saved.tar"
        with saved.open("wb") as file:
            for chunk in engine.client.api.get_image(built):
                file.write(chunk)
        flat = Path(name) / "flat.tar"
        with tarfile.open(saved) as archive:
            manifest = json.load(_member(archive, "manifest.json"))
            flatten([_member(archive, str(layer)) for layer in manifest[0]["Layers"][below:]], flat)
        return normalise_tar(flat, home, "Dockerfile.base")


def _member(archive: tarfile.TarFile, name: str) -> Any:
    """A file of a ``docker save`` archive, in which equal layers may be links to one another."""
    file = archive.extractfile(name)
    if file is None:
        raise EnvironmentFailed(f"The container engine's archive of the base has no file {name}.")
    return file


def flatten(layers: Sequence[Any], target: Path) -> None:
    """Write the sum of layer tars, lowest first, as one layer tar that does the same to what is below them.

    What a later layer removes is gone, and its whiteout stays, because a still lower layer may have it. What
    engines put into a container by themselves is left out.
    """
    entries: Entries = {}
    with ExitStack() as opened:
        for stream in layers:
            archive = opened.enter_context(tarfile.open(fileobj=stream))
            members = [(member.name.removeprefix("./").strip("/"), member) for member in archive]
            for path, _ in members:
                folder, _, name = path.rpartition("/")
                if name == _OPAQUE:
                    _remove(entries, folder, itself=False)
                elif name.startswith(_WHITEOUT):
                    _remove(entries, "/".join(filter(None, (folder, name.removeprefix(_WHITEOUT)))), itself=True)
            for path, member in members:
                if path and not _from_engine(path):
                    _add(entries, path, archive, member)
        for folder in _ENGINE_PARENTS:
            if not any(path.startswith(f"{folder}/") for path in entries):
                entries.pop(folder, None)  # of some engines it is there for their files' sake
        with tarfile.open(target, "w") as output:
            _write(entries, output)


def _from_engine(path: str) -> bool:
    return path in _ENGINE_FILES or path.split("/")[0] in _ENGINE_FOLDERS


def _add(entries: Entries, path: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    folder, _, name = path.rpartition("/")
    whiteout = entries.pop(f"{folder}/{_WHITEOUT}{name}".lstrip("/"), None)
    before = entries.get(path)
    if member.isdir():
        if whiteout or (before and not before[1].isdir()):
            # What a lower folder of this name holds was hidden, and stays so.
            entries[f"{path}/{_OPAQUE}"] = (archive, tarfile.TarInfo(_OPAQUE))
    else:
        _remove(entries, path, itself=True)
    entries[path] = (archive, member)


def _remove(entries: Entries, path: str, *, itself: bool) -> None:
    """Forget what is in the folder ``path``, and ``itself``."""
    for inside in [name for name in entries if name.startswith(f"{path}/")]:
        del entries[inside]
    if itself:
        entries.pop(path, None)


def _write(entries: Entries, output: tarfile.TarFile) -> None:
    for path, (archive, member) in sorted(entries.items()):
        copy = shallow_copy(member)  # TarInfo.replace is not in Debian's 3.11.2
        copy.name = path
        if path.rpartition("/")[2].startswith(_WHITEOUT):
            copy.mode = _WHITEOUT_MODE
        content = None
        if member.islnk():
            # Its target may be gone by now, or in another layer: every name gets the bytes.
            linked = archive.getmember(member.linkname)
            copy.type, copy.linkname, copy.size, content = tarfile.REGTYPE, "", linked.size, archive.extractfile(linked)
        elif member.isreg() and member.size:
            content = archive.extractfile(member)
        output.addfile(copy, content)
