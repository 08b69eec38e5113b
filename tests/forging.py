"""What a forger needs: an unpacked archive changed in place, and every digest in it made to fit again.

The layout is ``<somewhere>/archive/NAME/...`` for the archive to be changed; an untouched one of the same home and key,
made before its last run was, may lie beside it as ``<somewhere>/another/NAME/...``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine import archives, signing
from engine.archives import layout
from engine.digests import canonical_json
from engine.settings import SOURCE_DATE_EPOCH
from engine.store.seal import MANIFEST as SEAL
from engine.store.seal import NAMESPACE, SIGNATURE, manifest_bytes

#: A key that nobody trusts.
FORGER = Ed25519PrivateKey.from_private_bytes(b"forger's key, known to everybody")
FORGERS = signing.PublicKey(FORGER.public_key().public_bytes_raw())
_TAGS = (layout.BAG_INFO, layout.BAGIT, layout.MANIFEST, layout.TAG_MANIFEST)


# --- files ------------------------------------------------------------------------------------


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a new file there; one that is there, and may have other names, is replaced and not written into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
        path.unlink()
    path.write_bytes(data)
    path.chmod(mode)


def find(bag: Path, pattern: str, number: int = 0) -> Path:
    """One of the files of that pattern, by name; the test that names none of them is wrong."""
    found = sorted(path for path in bag.glob(pattern) if path.is_file())
    assert len(found) > number, f"{bag} has too few of {pattern}"
    return found[number]


def run_folder(bag: Path) -> Path:
    """The first run whose work tree is no tar."""
    return next(path for path in sorted((bag / "data/runs").iterdir()) if (path / layout.PROJECT).is_dir())


def another(bag: Path) -> Path:
    """The untouched archive beside."""
    [found] = (bag.parent.parent / "another").iterdir()
    return found


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change a document, and write it as it was written before, canonically or not."""
    data = path.read_bytes()
    document = json.loads(data)
    canonical = data == canonical_json(document)
    change(document)
    write(path, canonical_json(document) if canonical else json.dumps(document, indent=2).encode() + b"\n")


def copy(source: Path, folder: Path) -> Path:
    """A copy of an unpacked archive, whose files are the same until one is replaced."""
    return Path(shutil.copytree(source, folder, copy_function=os.link, symlinks=True))


# --- making it fit ------------------------------------------------------------------------------


def rebag(bag: Path) -> None:
    """Manifests and oxum anew, as anybody can make them."""
    payload = [path for path in sorted((bag / "data").rglob("*")) if path.is_file() and not path.is_symlink()]
    total = sum(path.stat().st_size for path in payload)
    info = (bag / layout.BAG_INFO).read_bytes().decode().split("\n")
    oxum = f"Payload-Oxum: {total}.{len(payload)}"
    write(bag / layout.BAG_INFO, "\n".join(oxum if line.startswith("Payload-Oxum") else line for line in info).encode())
    names = sorted((path.relative_to(bag).as_posix() for path in payload), key=str.encode)
    write(bag / layout.MANIFEST, "".join(f"{digest(bag / name)}  {name}\n" for name in names).encode())
    retag(bag)


def retag(bag: Path) -> None:
    """The tag manifest alone."""
    lines = (f"{digest(bag / name)}  {name}\n" for name in layout.TAG_FILES)
    write(bag / layout.TAG_MANIFEST, "".join(lines).encode())


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reseal(bag: Path, run: Path) -> None:
    """A run's manifest anew, and its seal wherever it is told; nobody signed that, so no signature of it is left."""
    files = {
        path.relative_to(run).as_posix(): digest(path)
        for path in run.rglob("*")
        if path.is_file() and path not in (run / SEAL, run / SIGNATURE)
    }
    before = digest(run / SEAL)
    write(run / SEAL, manifest_bytes(files))
    (run / SIGNATURE).unlink(missing_ok=True)
    after = digest(run / SEAL)
    for path in (bag / layout.BAG_INFO, bag / "data/archive.json", bag / f"data/ledger/{run.name}.json"):
        write(path, path.read_bytes().replace(before.encode(), after.encode()))
    change_lines(bag / f"data/ledger/{run.name}.json", lambda entry: entry.pop("key", None))


def change_lines(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change each entry of a ledger."""
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    for entry in entries:
        change(entry)
    write(path, b"".join(canonical_json(entry) + b"\n" for entry in entries))


def unsign(bag: Path) -> None:
    """Without attestations: all that a forger without a key can do to them."""
    shutil.rmtree(bag / layout.ATTESTATIONS)


def countersign(bag: Path) -> None:
    """Signature and provenance statement over the tag manifest as it is now, by the forger's key."""
    tag_manifest = (bag / layout.TAG_MANIFEST).read_bytes()
    signature = signing.sshsig.make(tag_manifest, layout.NAMESPACE, FORGERS, FORGER.sign)
    write(bag / layout.ATTESTATIONS / layout.SIGNATURE, signature)
    path = bag / layout.ATTESTATIONS / layout.PROVENANCE
    statement = json.loads(base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(tag_manifest).hexdigest()
    write(path, archives.bundle(canonical_json(statement), FORGERS.fingerprint, FORGER.sign))


def sign_run(run: Path) -> None:
    """A run's seal signed by the forger's key."""
    manifest = (run / SEAL).read_bytes()
    write(run / SIGNATURE, signing.sshsig.make(manifest, NAMESPACE, FORGERS, FORGER.sign))


def change_checkpoint(bag: Path, change: Callable[[bytes], bytes]) -> None:
    """Another checkpoint, in every proof too."""
    path = bag / layout.ATTESTATIONS / layout.CHECKPOINT
    before = path.read_bytes()
    after = change(before)
    write(path, after)
    for proof in (bag / layout.ATTESTATIONS).glob("*.tlog-proof"):
        write(proof, proof.read_bytes().replace(before, after))


# --- one file again -----------------------------------------------------------------------------


def pack(bag: Path, file: Path) -> Path:
    """The tar of all that lies beside a bag and in it, in the order that we write: payload, tag files, attestations."""
    root = bag.parent

    def order(path: Path) -> tuple[int, bytes]:
        inside = path.relative_to(root).as_posix().partition("/")[2]
        part = 0 if inside.startswith("data/") else 2 if inside.startswith("attestations") else 1
        return part, (b"~" if inside == layout.TAG_MANIFEST else b"") + inside.encode()

    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(root.rglob("*"), key=order):
            if path.is_dir() and not path.is_symlink() and any(path.iterdir()):
                continue  # the writer has no entries for folders
            info = tar.gettarinfo(path, path.relative_to(root).as_posix())
            if info.type == tarfile.LNKTYPE:  # our copies are links; what is written is not
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime, info.mode = SOURCE_DATE_EPOCH, 0o755 if info.mode & 0o100 else 0o644
            with path.open("rb") if info.isreg() else open(os.devnull, "rb") as content:  # noqa: PTH123
                tar.addfile(info, content)
    return file


def unpack(file: Path, folder: Path) -> Path:
    """The bag in a folder, with the modes that it has in the tar."""
    folder.mkdir(parents=True)
    with tarfile.open(file) as tar:
        tar.extractall(folder, filter="tar")
    [bag] = folder.iterdir()
    return bag
