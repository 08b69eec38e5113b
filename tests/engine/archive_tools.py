"""An archive opened, and the programs that an auditor holds it against; none of them is ours."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.files import locked
from engine.settings import Home

TOOLS = Path(__file__).parents[1] / "tools"


def call(*command: object, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*map(str, command)], input=stdin, cwd=cwd, capture_output=True, check=False)


def opened(archive: Path, into: Path) -> Path:
    """Unpack with the system's own tar; the bag."""
    into.mkdir()
    done = call("tar", "-xf", archive, "-C", into)
    assert done.returncode == 0, done.stderr
    [bag] = into.iterdir()
    return bag


def names(archive: Path) -> list[str]:
    """The members of an uncompressed archive, in order."""
    with tarfile.open(archive, "r:") as tar:
        return tar.getnames()


def without_attestations(archive: Path) -> bytes:
    """The digest of all members up to the attestations."""
    digest = hashlib.sha256()
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            if "/attestations/" not in member.name:
                content = tar.extractfile(member)
                assert content is not None
                digest.update(member.tobuf() + hashlib.file_digest(content, "sha256").digest())
    return digest.digest()


def is_valid_bag(bag: Path) -> None:
    done = call(sys.executable, "-m", "bagit", "--validate", bag)
    assert done.returncode == 0, done.stderr
    for manifest in ("tagmanifest-sha256.txt", "manifest-sha256.txt"):
        done = call("sha256sum", "--check", "--strict", "--quiet", manifest, cwd=bag)
        assert done.returncode == 0, (done.stdout, done.stderr)
    listed = {line.partition("  ")[2] for line in (bag / "manifest-sha256.txt").read_text().splitlines()}
    there = {str(path.relative_to(bag)) for path in (bag / "data").rglob("*") if path.is_file()}
    assert listed == there


def is_valid_crate(bag: Path, profile: str, home: Home) -> None:
    """roc-validator has an environment of its own, because it wants older libraries than nbseal; made once."""
    lock = TOOLS / "roc-validator.lock"
    version = hashlib.sha256(lock.read_bytes() + (TOOLS / "rocrate.py").read_bytes()).hexdigest()[:16]
    folder = home.root.parent / f"roc-validator-{version}"
    with locked(folder.with_suffix(".lock")):
        if not (folder / "ready").exists():
            python = folder / "bin/python"
            for command in (
                [sys.executable, "-m", "uv", "venv", "-q", "--clear", folder],
                [
                    sys.executable,
                    "-m",
                    "uv",
                    "pip",
                    "install",
                    "-q",
                    "--python",
                    python,
                    "--require-hashes",
                    "-r",
                    lock,
                ],
                [python, TOOLS / "rocrate.py", folder / "contexts"],
            ):
                done = call(*command)
                assert done.returncode == 0, done.stderr
            (folder / "ready").touch()
    done = call(
        folder / "bin/rocrate-validator", "-y", "validate", "--offline", "--cache-path", folder / "contexts",
        "-p", profile, "-l", "required", "--no-paging", "-v", "-f", "json", bag,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode()[-3000:]


def is_valid_sbom(path: Path) -> Any:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text()) is None
    return json.loads(path.read_text())


def openssl_verifies(bundle: Any, public: str, folder: Path) -> bool:
    """Whether the envelope's signature is the key's, an OpenSSH line, over the pre-authentication encoding."""
    raw = base64.b64decode(public.split()[1])[-32:]
    key = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
    (folder / "key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n")
    envelope = bundle["dsseEnvelope"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    (folder / "pae").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    [signature] = envelope["signatures"]
    (folder / "signature").write_bytes(base64.b64decode(signature["sig"]))
    done = call(
        "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", folder / "key.pem", "-rawin",
        "-in", folder / "pae", "-sigfile", folder / "signature",
    )  # fmt: skip
    return done.returncode == 0


def is_podmans(payload: Path, image: str) -> None:
    """Whether podman loads the image under its id, into a storage of its own; not every kernel allows overlays."""
    load = 'tar -C "$0" -cf - . | podman --root "$1/root" --runroot "$1/run" --storage-driver "$2" load --quiet'
    tag = f"nbseal/image:{image.removeprefix('sha256:')[:12]}"
    told = b""
    for driver in ("overlay", "vfs"):
        with TemporaryDirectory(prefix="podman-") as folder:  # podman wants a path of less than 50 characters
            done = call("sh", "-c", load, payload / "image", folder, driver)
            told += done.stderr
            if done.returncode == 0:
                storage = ("--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", driver)
                found = call("podman", *storage, "image", "inspect", "--format", "{{.Id}}", tag)
                assert f"sha256:{found.stdout.decode().strip()}" == image, found.stderr
                return
    raise AssertionError(told.decode())


def peak(*command: object, home: Home, cwd: Path) -> int:
    """The most memory that a command held, in bytes (getrusage(2) counts KiB)."""
    program = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], check=True, stdout=2);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    environment = {**os.environ, "NBSEAL_HOME": str(home.root)}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, command)], cwd=cwd, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
