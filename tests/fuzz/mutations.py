"""What may become of an archive on its way: from flipped bits to forgeries whose every digest fits."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from random import Random
from typing import Any

from engine.digests import canonical_json
from engine.store.seal import manifest_bytes
from tests.unit.archives.small_archives import Member, rebag

NAMES = (
    "../x", "/etc/x", "a/../../x", "./x", "x//y", "x/", "", ".", "..", "CON", "x" * 300, "x/" * 200 + "y", "é",
    "e\u0301", "X", "bagit.txt", "data/bagit.txt", "data/x", "data/runs/../x",
    "data/runs/0123456789abcdef/run.json", "x\ny", "x\\y",
    "x%2fy", " x", "x.", "\udcff", "data/runs/0123456789abcdef/project/x", "data/blobs/" + "0" * 64, "\u202e", "-rf",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 53, 1 << 70, 0.5, 1e308, "", "x", "../../x", "/etc/passwd", "\ud800", "\udcff", "a\x00b",
    [], {}, [[]],
    {"x": 1}, "sha256:" + "0" * 64, "0" * 64, "running", "lost", "NaN", ["project/x"], "link", "folder", "device",
    "pipe",
    "project/../../x", "project/a/b", "project", "x" * 5000, "nbseal/ledger/0123456789abcdef",
)  # fmt: skip
KINDS = (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"L", b"K", b"x", b"g", b"\0", b"V", b"Z")


def mutated(rng: Random, items: list[Member]) -> bytes:
    """The bytes of a tar that was an archive."""
    items = deepcopy(items)
    depth = rng.choice(("bytes", "bytes", "members", "members", "bagged", "bagged", "sealed", "sealed", "sealed"))
    if depth == "bytes":
        return _scrambled(rng, _tar(items), rng.randint(1, 8))
    for _ in range(rng.randint(1, 3)):
        if depth == "members":
            _change_members(rng, items)
        else:
            _change_content(rng, items)
    if depth == "sealed":
        items = resealed(items)
    if depth in ("bagged", "sealed"):
        items = rebag(items)
    return _tar(items)


def _tar(items: list[Member]) -> bytes:
    return b"".join(item.bytes() for item in items) + bytes(1024)


def _scrambled(rng: Random, data: bytes, times: int) -> bytes:
    out = bytearray(data)
    for _ in range(times):
        if not out:
            break
        # Most of a tar is content, where any change is the same: half of all changes go to headers.
        place = rng.randrange(len(out))
        if rng.random() < 0.5:
            place = place // 512 * 512 + rng.randrange(345)
            place = min(place, len(out) - 1)
        length = rng.choice((1, 1, 1, 8, 512, 512 * rng.randint(1, 20)))
        what = rng.randrange(6)
        if what == 0:
            out[place] ^= 1 << rng.randrange(8)
        elif what == 1:
            out[place : place + length] = rng.randbytes(min(length, len(out) - place))
        elif what == 2:
            del out[place : place + length]
        elif what == 3:
            out[place:place] = out[place : place + length]
        elif what == 4:
            del out[place:]
        else:
            out[place : place + 1] = rng.choice((b"\0", b"\xff", b"/", b".", b"7", b"\n"))
    return bytes(out)


def _change_members(rng: Random, items: list[Member]) -> None:
    if not items:
        return
    place, other = rng.randrange(len(items)), rng.randrange(len(items))
    item = items[place]
    top = item.name.partition("/")[0]

    def rename() -> None:
        item.name = rng.choice((rng.choice(NAMES), f"{top}/{rng.choice(NAMES)}", _typo(rng, item.name)))

    def retype() -> None:
        item.kind, item.link = rng.choice(KINDS), rng.choice(("", "../../x", "/etc/passwd", items[other].name))

    actions: tuple[Callable[[], object], ...] = (
        lambda: items.pop(place),
        lambda: items.insert(other, deepcopy(item)),
        lambda: rng.shuffle(items),
        rename,
        retype,
        lambda: setattr(item, "size", rng.choice((0, 1, len(item.data) + 1, 1 << 33, 1 << 60))),
        lambda: setattr(item, "data", _scrambled(rng, item.data, 1)),
        lambda: setattr(item, "data", items[other].data),
        lambda: items.insert(place, Member(f"{top}/{rng.choice(NAMES)}", b"x", rng.choice((b"0", *KINDS)))),
    )
    rng.choice(actions)()


def _typo(rng: Random, name: str) -> str:
    place = rng.randrange(len(name) + 1)
    return name[:place] + rng.choice(("", "/", ".", "A", "\0", "é", "%")) + name[place + 1 :]


def _change_content(rng: Random, items: list[Member]) -> None:
    """Change what a file says, mostly as JSON."""
    if rng.random() < 0.2:
        _change_members(rng, items)
        return
    documents = [item for item in items if item.name.endswith((".json", ".ipynb")) or "/image/blobs/" in item.name]
    item = rng.choice(documents if rng.random() < 0.8 else items)
    try:
        document = json.loads(item.data)
    except ValueError:
        if item.name.endswith("project.tar"):
            item.data = _scrambled(rng, item.data, 2)
        else:
            item.data = _scrambled(rng, item.data, 1)
        return
    document = _changed(rng, document)
    try:
        item.data = canonical_json(document)
    except Exception:  # what has no canonical form is written somehow
        item.data = json.dumps(document).encode("utf-8", "surrogatepass")
    if "/ledger/" in item.name:
        item.data += b"\n"


def _changed(rng: Random, document: Any) -> Any:
    """One value somewhere in a document replaced, removed or wrapped."""
    parents: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                parents.append((value, key))
                collect(value[key])

    collect(document)
    if not parents or rng.random() < 0.05:
        return rng.choice(VALUES)
    parent, key = rng.choice(parents)
    what = rng.randrange(6)
    if what == 0:
        del parent[key]
    elif what == 1:
        deep: Any = parent[key]
        for _ in range(rng.choice((1, 2, 90))):
            deep = [deep]
        parent[key] = deep
    elif what == 2 and isinstance(parent, list):
        parent.append(deepcopy(parent[key]))
    elif what == 3 and isinstance(parent[key], str) and parent[key]:
        parent[key] = _typo(rng, parent[key])
    else:
        parent[key] = deepcopy(rng.choice(VALUES))
    return document


def resealed(items: list[Member]) -> list[Member]:
    """The same with seals that fit: what only somebody can make who forges a run and has nobody's key."""
    top = items[0].name.partition("/")[0] if items else ""
    by_name = {item.name: item for item in items}
    seals = {}
    for name, item in by_name.items():
        folder, _, last = name.rpartition("/")
        if last != "manifest-sha256.txt" or not folder.startswith(f"{top}/data/runs/"):
            continue
        start = f"{folder}/"
        files = {
            other.name.removeprefix(start): hashlib.sha256(other.data).hexdigest()
            for other in items
            if other.name.startswith(start) and not other.name.endswith(("/manifest-sha256.txt", ".sig"))
        }
        packed = files.pop("project.tar", "")
        if packed:
            files |= _inside(by_name[f"{start}project.tar"].data)
        item.data = manifest_bytes(files)
        seals[folder.rpartition("/")[2]] = "sha256:" + hashlib.sha256(item.data).hexdigest()
    _tell(by_name, top, seals)
    _unkeyed(by_name, top)
    return [
        item
        for item in items
        if not item.name.startswith(f"{top}/attestations/") and not item.name.endswith("/manifest-sha256.txt.sig")
    ]


def _unkeyed(by_name: dict[str, Member], top: str) -> None:
    """Take from the entries which key had signed a run."""
    for name, item in by_name.items():
        if name.startswith(f"{top}/data/ledger/"):
            with suppress(Exception):  # it was changed too
                entries = [json.loads(line) for line in item.data.splitlines()]
                for entry in entries:
                    entry.pop("key", None)
                item.data = b"".join(canonical_json(entry) + b"\n" for entry in entries)


def _inside(data: bytes) -> dict[str, str]:
    import io

    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for info in tar:
                file = tar.extractfile(info) if info.isreg() else None
                if file is not None:
                    found[info.name] = hashlib.sha256(file.read()).hexdigest()
    except Exception:  # scrambled: what it holds, nobody can say
        return found
    return found


def _tell(by_name: dict[str, Member], top: str, seals: dict[str, str]) -> None:
    """Write the seals to where an archive tells them."""
    contents = by_name.get(f"{top}/data/archive.json")
    if contents is not None:
        with suppress(Exception):  # it was changed too
            document = json.loads(contents.data)
            for run in document["runs"]:
                run["seal"] = seals.get(run["id"], run["seal"])
            contents.data = canonical_json(document)
    for run, seal in seals.items():
        ledger = by_name.get(f"{top}/data/ledger/{run}.json")
        if ledger is None:
            continue
        lines = []
        for line in ledger.data.splitlines():
            try:
                entry = json.loads(line)
                if "seal" in entry:
                    entry["seal"] = seal
                lines.append(canonical_json(entry))
            except Exception:  # it was changed too
                lines.append(line)
        ledger.data = b"".join(line + b"\n" for line in lines)
    info = by_name.get(f"{top}/bag-info.txt")
    if info is not None:
        kept = [line for line in info.data.splitlines() if not line.startswith(b"External-Identifier")]
        told = [f"External-Identifier: {seal}".encode() for _, seal in sorted(seals.items())]
        info.data = b"".join(line + b"\n" for line in (*kept, *told))
