"""Images that nbseal did not make, pushed to a registry: root file systems of Debian releases, and what layers can do.

A root file system takes half a minute to make, so it stays in the home of the tests.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import urllib3
import zstandard

from engine.settings import find_home

OCI = "application/vnd.oci.image"
MANIFEST, INDEX = f"{OCI}.manifest.v1+json", f"{OCI}.index.v1+json"
GZIP, ZSTD, PLAIN = f"{OCI}.layer.v1.tar+gzip", f"{OCI}.layer.v1.tar+zstd", f"{OCI}.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Packed:
    """A layer as it is pushed."""

    media_type: str
    data: bytes
    diff_id: str
    said: Mapping[str, Any] = field(default_factory=dict)  # beside what a descriptor has, or in its place

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": digest_of(self.data), "size": len(self.data), **self.said}


def gzipped(tar: bytes, media_type: str = GZIP, **said: Any) -> Packed:
    return Packed(media_type, gzip.compress(tar, 1, mtime=0), digest_of(tar), said)


def zstandarded(tar: bytes) -> Packed:
    return Packed(ZSTD, zstandard.compress(tar, 1), digest_of(tar))


def plain(tar: bytes) -> Packed:
    return Packed(PLAIN, tar, digest_of(tar))


@cache
def debian(suite: str) -> Packed:
    """The root file system of a Debian release with its own python3, and what wheels expect of any Linux (PEP 600)."""
    folder = find_home().root / "tests" / "foreign"
    folder.mkdir(parents=True, exist_ok=True)
    packed, said = folder / f"{suite}.tar.gz", folder / f"{suite}.diff-id"
    if not said.exists():
        with tempfile.TemporaryDirectory(prefix="nbseal-foreign-") as name:
            Path(name).chmod(0o755)
            tar = Path(name, "root.tar")
            subprocess.run(
                [
                    *("mmdebstrap", "--variant=essential", f"--mode={'auto' if os.geteuid() else 'unshare'}"),
                    *("--include=python3,libstdc++6", "--dpkgopt=force-unsafe-io", "--skip=check/qemu"),
                    *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")),
                    *("--customize-hook=rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/*", suite, str(tar)),
                ],
                check=True, capture_output=True,
            )  # fmt: skip
            new = packed.with_suffix(".new")
            with tar.open("rb") as source, gzip.GzipFile(new, "wb", 1, mtime=0) as target:
                shutil.copyfileobj(source, target, 1 << 20)
            new.rename(packed)
            with tar.open("rb") as source:
                said.write_text("sha256:" + hashlib.file_digest(source, "sha256").hexdigest())
    return Packed(GZIP, packed.read_bytes(), said.read_text())


def program_of(layer: Packed, path: str) -> bytes:
    """A file of a root file system."""
    with tarfile.open(fileobj=io.BytesIO(layer.data), mode="r|gz") as archive:
        for member in archive:
            if member.name.removeprefix("./") == path:
                content = archive.extractfile(member)
                assert content is not None
                return content.read()
    raise FileNotFoundError(path)


@dataclass(frozen=True)
class Entry:
    """One entry of a layer."""

    path: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    target: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    owner: int = 0


def tar_of(*entries: Entry) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.type, info.mode, info.linkname, info.size = entry.kind, entry.mode, entry.target, len(entry.content)
            info.pax_headers, info.uid = dict(entry.headers), entry.owner
            if entry.kind == tarfile.CHRTYPE:
                info.devmajor, info.devminor = 1, 3
            archive.addfile(info, io.BytesIO(entry.content))
    return output.getvalue()


def config_of(
    layers: Sequence[Packed], *, env: Sequence[str] = (), platform: tuple[str, str] = ("linux", "amd64")
) -> bytes:
    return json.dumps(
        {
            "architecture": platform[1],
            "os": platform[0],
            "config": {"Env": [*env], "Entrypoint": ["/bin/false"], "User": "daemon", "Volumes": {"/data": {}}},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created_by": "somebody"}],
        },
        indent=1,
    ).encode()


class Repository:
    """A place in a registry that takes what it is given, right or wrong."""

    def __init__(self, address: str, name: str, headers: Mapping[str, str] | None = None) -> None:
        self._base, self.name = f"http://{address}/v2/{name}", f"{address}/{name}"
        self._pool = urllib3.PoolManager(headers={**(headers or {})}, retries=False)

    def blob(self, data: bytes) -> str:
        digest = digest_of(data)
        if self._pool.request("HEAD", f"{self._base}/blobs/{digest}").status != 200:
            begun = self._pool.request("POST", f"{self._base}/blobs/uploads/")
            assert begun.status == 202, begun.data
            place = begun.headers["Location"]
            joint = "&" if "?" in place else "?"
            done = self._pool.request("PUT", f"{place}{joint}digest={digest}", body=data)
            assert done.status == 201, done.data
        return digest

    def manifest(self, data: bytes, media_type: str, tag: str = "") -> str:
        """Its digest."""
        named = tag or digest_of(data)
        headers = {**self._pool.headers, "Content-Type": media_type}
        done = self._pool.request("PUT", f"{self._base}/manifests/{named}", body=data, headers=headers)
        assert done.status == 201, done.data
        return digest_of(data)

    def push(
        self,
        layers: Sequence[Packed],
        *,
        env: Sequence[str] = (),
        platform: tuple[str, str] = ("linux", "amd64"),
        docker: bool = False,
        tag: str = "",
        config: bytes | None = None,
    ) -> str:
        """The digest of an image's manifest."""
        described = config if config is not None else config_of(layers, env=env, platform=platform)
        for layer in layers:
            if "urls" not in layer.said:
                self.blob(layer.data)
        kind, of_config = (DOCKER_MANIFEST, DOCKER_CONFIG) if docker else (MANIFEST, f"{OCI}.config.v1+json")
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {"mediaType": of_config, "digest": self.blob(described), "size": len(described)},
            "layers": [layer.descriptor() for layer in layers],
        }
        return self.manifest(json.dumps(document, indent=3).encode(), kind, tag)

    def push_index(self, images: Sequence[tuple[str, str]], sizes: Mapping[str, int], tag: str = "") -> str:
        """The digest of an index of (digest, platform)."""
        listed = [
            {
                "mediaType": MANIFEST,
                "digest": digest,
                "size": sizes[digest],
                "platform": dict(zip(("os", "architecture"), platform.split("/"), strict=True)),
            }
            for digest, platform in images
        ]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        return self.manifest(json.dumps(document, indent=3).encode(), INDEX, tag)
