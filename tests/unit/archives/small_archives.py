"""A home with a run in it as a real one has it, but small, and its archive, written by the real writer.

Layers, wheels and packages hold a few bytes each. No container is needed to archive or to import, so none is started.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from engine import containers, notebooks, pipeline, store
from engine.digests import bare, digest_of, sha256_bytes
from engine.environments.assemble import image_config
from engine.environments.base_record import keep_record
from engine.environments.debian import Pins
from engine.model import Limits, Outcome, Record, Spec, Status
from engine.pipeline.harvest import finish
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base, DebianPackage, Image, Layer, Wheel

NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": [], "source": "print(1)"}
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def layer(home: Home, content: str) -> Layer:
    """A layer with one file in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo(content)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content.encode()))
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    put(home.layers / f"{digest}.tar", data)
    return Layer(f"sha256:{digest}", len(data), content)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def wheel(home: Home, name: str) -> Wheel:
    data = f"wheel of {name}".encode()
    filename = f"{name}-1.0-py3-none-any.whl"
    digest = hashlib.sha256(data).hexdigest()
    put(home.wheels / digest / filename, data)
    return Wheel(name, "1.0", filename, f"sha256:{digest}", len(data))


def environment(home: Home) -> Image:
    """A base and an image on it, in the home."""
    package = DebianPackage("tiny", "1.0-1", "amd64", "pool/main/t/tiny_1.0-1_amd64.deb", sha256_bytes(b"deb"), 3)
    put(home.packages / bare(package.sha256) / "tiny_1.0-1_amd64.deb", b"deb")
    below = (layer(home, "rootfs"), layer(home, "harness"))
    config = image_config(below, environment={})
    base = Base(
        id=sha256_bytes(config),
        python="3.11.2",
        glibc="2.36",
        layers=below,
        packages=(package,),
        harness=(wheel(home, "nbclient"),),
        protocol=1,
        recipe=digest_of("recipe"),
    )
    keep_record(base, config, Pins({}, (package,)), home)
    layers = (*below, layer(home, "numpy"))
    config = image_config(layers, environment={})
    image = Image(sha256_bytes(config), base.id, (wheel(home, "numpy"),), layers)
    put(home.images / f"{bare(image.id)}.json", json.dumps({**asdict(image), "config": config.decode()}).encode())
    return image


def run(
    home: Home,
    folder: Path,
    work: Callable[[Path], None] | None = None,
    status: Status = "completed",
    rerun_of: str = "",
    **files: str,
) -> Record:
    """A run of a project with these files; ``work`` does in project/ what the notebook would have done."""
    notebook = folder / "n.ipynb"
    put(notebook, json.dumps(NOTEBOOK).encode())
    put(folder / "nbseal.yml", b"")
    for name, text in files.items():
        put(folder / name.replace("__", "/"), text.encode())
    put(folder / "data.csv", b"1,2\n")
    original = notebooks.read(notebook)
    inputs = store.keep_inputs([str(folder / "data.csv")], notebook, folder, home, Silent())
    source = store.snapshot(folder, notebook, home, Silent(), inputs)
    image = environment(home)
    spec = Spec(
        notebook=notebooks.notebook_digest(original),
        flags=(),
        source=source.digest,
        inputs=inputs,
        image=image.id,
        environment=containers.environment(()),
    )
    record = Record(
        id=store.new_id(),
        hash=bare(digest_of(spec.to_json())),
        status="running",
        notebook=original.name,
        image=image.id,
        base=image.base,
        spec=spec.to_json(),
        created=store.now(),
        limits=Limits(),
        source=source.digest,
        wheels=image.wheels,
        inputs=inputs,
        rerun_of=rerun_of,
    )
    document = notebooks.to_document(original)
    lock = "".join(f"{item.name}=={item.version} --hash={item.sha256}\n" for item in image.wheels)
    with store.begin_run(home, record, original.original, document, lock, source) as place:
        (place.spool / "executed.ipynb").write_text(json.dumps(document))
        (place.project / "out.txt").write_text("out")
        (work or ordinary)(place.project)
        return finish(place, record, Outcome(status, started=store.now(), finished=store.now()), source)


def ordinary(project: Path) -> None:
    """What most notebooks leave: a script, a link, an empty folder."""
    (project / "tool.sh").write_text("#!/bin/sh\n")
    (project / "tool.sh").chmod(0o755)
    (project / "link").symlink_to("missing")
    (project / "empty").mkdir()


def awkward(project: Path) -> None:
    """Names that no bag can hold, so that the work tree is packed."""
    ordinary(project)
    for name in (b"a\nb", b"caf\xe9", b"%41", b"Out.txt", b" blank "):
        put(Path(os.fsdecode(os.fsencode(project) + b"/" + name)), b"x")
    os.mkfifo(project / "pipe")


def archive(home: Home, records: list[Record], path: Path, left_out: tuple[str, ...] = ()) -> Path:
    """The real writer."""
    pipeline.archive([record.id for record in records], path, left_out, None, home, Silent())
    return path


# --- taking archives apart ----------------------------------------------------------------------


@dataclass
class Member:
    """An entry of a tar; ``header`` takes the place of the one that would be made for it."""

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    size: int | None = None
    header: bytes | None = None

    def bytes(self) -> bytes:
        head = self.header
        if head is None:
            info = tarfile.TarInfo(self.name)
            info.type, info.linkname, info.mode = self.kind, self.link, self.mode
            info.size = len(self.data) if self.size is None else self.size
            head = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        return head + self.data + bytes(-len(self.data) % tarfile.BLOCKSIZE)


def members(path: Path) -> list[Member]:
    """The entries of an archive."""
    with tarfile.open(path) as tar:
        found = []
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None
            found.append(Member(info.name, file.read(), mode=info.mode))
        return found


def write(path: Path, items: list[Member], end: bytes = bytes(1024)) -> Path:
    """A tar of these entries, whatever they are."""
    path.write_bytes(b"".join(item.bytes() for item in items) + end)
    return path


def rebag(items: list[Member]) -> list[Member]:
    """The same with manifests that fit, as whoever tampers with a bag would make them."""
    top = items[0].name.partition("/")[0] if items else ""
    tags = {"bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"}
    payload = [item for item in items if item.name.startswith(f"{top}/data/")]
    rest = [item for item in items if item not in payload and item.name.removeprefix(f"{top}/") not in tags]

    def listing(of: list[Member]) -> bytes:
        lines = (f"{hashlib.sha256(item.data).hexdigest()}  {item.name.removeprefix(f'{top}/')}\n" for item in of)
        return "".join(lines).encode("utf-8", "surrogateescape")

    known = {item.name.removeprefix(f"{top}/"): item.data for item in items}
    oxum = f"Payload-Oxum: {sum(len(item.data) for item in payload)}.{len(payload)}\n".encode()
    info = b"".join(
        oxum if line.startswith(b"Payload-Oxum") else line + b"\n"
        for line in known.get("bag-info.txt", b"").splitlines()
    )
    made = [
        Member(f"{top}/bag-info.txt", info),
        Member(f"{top}/bagit.txt", known.get("bagit.txt", b"")),
        Member(f"{top}/manifest-sha256.txt", listing(payload)),
    ]
    return [*payload, *made, Member(f"{top}/tagmanifest-sha256.txt", listing(made)), *rest]


def tree(folder: Path) -> dict[str, str]:
    """All that lies below a folder, with its content, as far as it can be told; the index is a cache."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsdecode(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and not name.startswith("index.sqlite"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
