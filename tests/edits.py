"""How an unpacked archive is edited: each function makes, or is, one edit of the folder that it is given."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import signing
from engine.archives import layout
from engine.digests import bare, digest_of
from tests import forging
from tests.forging import FORGER, FORGERS, another, change_json, find, reseal, run_folder, write

Apply = Callable[[Path], object]

SIG = f"attestations/{layout.SIGNATURE}"
BUNDLE = f"attestations/{layout.PROVENANCE}"
POINT = "attestations/checkpoint"
PROOF = "attestations/*.tlog-proof"
STAMP = f"attestations/{layout.TIMESTAMP}"
SEAL = "data/runs/*/manifest-sha256.txt"


def flip(pattern: str) -> Apply:
    """One bit of the byte in the middle; an empty file gets a byte."""

    def apply(bag: Path) -> None:
        path = find(bag, pattern)
        data = bytearray(path.read_bytes() or b"\1")
        data[len(data) // 2] ^= 1
        write(path, bytes(data))

    return apply


def change(pattern: str, edit: Callable[[bytes], bytes], number: int = 0) -> Apply:
    def apply(bag: Path) -> None:
        path = find(bag, pattern, number)
        before = path.read_bytes()
        after = edit(before)
        assert after != before, f"{pattern} is as it was"
        write(path, after)

    return apply


def last_bit(data: bytes) -> bytes:
    """Of a time stamp: in the authority's signature."""
    return data[:-1] + bytes([data[-1] ^ 1])


def swap(pattern: str, other: str = "") -> Apply:
    """The contents of two files."""

    def apply(bag: Path) -> None:
        one, two = find(bag, pattern), find(bag, other or pattern, 0 if other else 1)
        of_one, of_two = one.read_bytes(), two.read_bytes()
        assert of_one != of_two
        write(one, of_two)
        write(two, of_one)

    return apply


def borrow(pattern: str) -> Apply:
    """The file of the other archive."""
    return lambda bag: write(find(bag, pattern), find(another(bag), pattern).read_bytes())


def add(name: str, data: bytes = b"x") -> Apply:
    return lambda bag: write(bag / name.format(run=run_folder(bag).name), data)


def remove(pattern: str) -> Apply:
    """A file, and the folder that held nothing else."""

    def apply(bag: Path) -> None:
        path = find(bag, pattern)
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()

    return apply


def remove_all(pattern: str) -> Apply:
    def apply(bag: Path) -> None:
        for path in list(bag.glob(pattern)):
            path.unlink()

    return apply


def rename(pattern: str, name: str) -> Apply:
    def apply(bag: Path) -> None:
        path = find(bag, pattern)
        path.rename(path.with_name(name))

    return apply


def document(pattern: str, edit: Callable[[Any], object]) -> Apply:
    return lambda bag: change_json(find(bag, pattern), edit)


def each(*steps: Apply) -> Apply:
    def apply(bag: Path) -> None:
        for step in steps:
            step(bag)

    return apply


def in_run(step: Callable[[Path, Path], object]) -> Apply:
    """What is done to the bag and the folder of a run."""
    return lambda bag: step(bag, run_folder(bag))


def of_record(edit: Callable[[dict[str, Any]], object]) -> Apply:
    return in_run(lambda bag, run: change_json(run / "run.json", edit))


resealed = in_run(reseal)
no_entries = in_run(lambda bag, run: write(bag / f"data/ledger/{run.name}.json", b""))
output = in_run(lambda bag, run: flip(f"data/runs/{run.name}/project/out.txt")(bag))


def input_blob(bag: Path) -> None:
    digest = json.loads((run_folder(bag) / "inputs.json").read_bytes())[0]["digest"]
    flip(f"data/blobs/{digest.removeprefix('sha256:')}")(bag)


def layer(bag: Path) -> None:
    name = json.loads((bag / "data/image/manifest.json").read_bytes())[0]["Layers"][-1]
    flip(f"data/image/{name}")(bag)


def config(bag: Path) -> None:
    flip(f"data/image/{json.loads((bag / 'data/image/manifest.json').read_bytes())[0]['Config']}")(bag)


def image_manifest(bag: Path) -> None:
    digest = json.loads((bag / "data/image/index.json").read_bytes())["manifests"][0]["digest"]
    flip(f"data/image/blobs/sha256/{digest.removeprefix('sha256:')}")(bag)


def link(bag: Path) -> None:
    """A link to a file with the same bytes, which sha256sum follows."""
    path = run_folder(bag) / "project/nbseal.yml"
    blob = bag / "data/blobs" / forging.digest(path)
    path.unlink()
    path.symlink_to(os.path.relpath(blob, path.parent))


def executable(pattern: str) -> Apply:
    def apply(bag: Path) -> None:
        path = find(bag, pattern)
        write(path, path.read_bytes())  # or its other names would become it too
        path.chmod(0o755)

    return apply


def bundle(edit: Callable[[dict[str, Any]], object]) -> Apply:
    return document(BUNDLE, edit)


def malleable(encoded: bytes) -> bytes:
    """The same bytes in another base64: the bits of the last digit that stand for nothing."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = encoded.rstrip(b"=")
    assert body != encoded
    other = body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1 :][:1] + encoded[len(body) :]
    assert base64.b64decode(other) == base64.b64decode(encoded)
    return other


def dsse(data: bytes) -> bytes:
    before = json.loads(data)["dsseEnvelope"]["signatures"][0]["sig"].encode()
    return data.replace(before, malleable(before))


def last_line(data: bytes) -> bytes:
    """The last base64 text of a note, in another form."""
    head, _, last = data.rstrip(b"\n").rpartition(b" ")
    return head + b" " + malleable(last) + b"\n"


def note(edit: Callable[[bytes], bytes]) -> Apply:
    return lambda bag: forging.change_checkpoint(bag, edit)


def foreign_note(data: bytes) -> bytes:
    text, name = data.decode().partition("\n\n")[0] + "\n", data.decode().partition("\n")[0]
    return signing.note.make(text, name, FORGERS, FORGER.sign)


def second_note(data: bytes) -> bytes:
    return data + foreign_note(data).rpartition(b"\n\n")[2]


def other_ledger(data: bytes) -> bytes:
    """A ledger of the forger's own, whose tree happens to be the same."""
    _, _, rest = data.decode().partition("\n\n")[0].partition("\n")
    return signing.note.make(
        f"nbseal/ledger/0000000000000000\n{rest}\n", "nbseal/ledger/0000000000000000", FORGERS, FORGER.sign
    )


def older(bag: Path) -> None:
    """The checkpoint before the last run, and its proofs, all signed by the right key."""
    for path in [*(bag / "attestations").glob("*.tlog-proof"), bag / POINT]:
        path.unlink()
    for path in [*(another(bag) / "attestations").glob("*.tlog-proof"), another(bag) / POINT]:
        write(bag / "attestations" / path.name, path.read_bytes())


def flag(bag: Path) -> None:
    """Another value of a flag, and the hash that it gives; the seal, the bag and all else fit."""
    run = run_folder(bag)

    def edit(record: dict[str, Any]) -> None:
        record["spec"]["flags"] = [["forged", "int", "1"]]
        record["flags"] = [{"name": "forged", "type": "int", "literal": "1"}]
        record["hash"] = bare(digest_of(record["spec"]))

    change_json(run / "run.json", edit)
    told = json.loads((run / "run.json").read_bytes())["hash"]

    def listed(contents: dict[str, Any]) -> None:
        for item in contents["runs"]:
            if item["id"] == run.name:
                item["hash"] = told

    change_json(bag / "data/archive.json", listed)
    forging.change_lines(bag / f"data/ledger/{run.name}.json", lambda entry: entry.update(hash=told))
