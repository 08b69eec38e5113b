"""The harness environment of a base: what is locked for it, and the harness itself."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import time
import zipfile
from dataclasses import replace

from engine.daemon import Engine
from engine.digests import bare, sha256_bytes
from engine.environments.base_ingredients import harness_lock, harness_sources
from engine.environments.frame import frame
from engine.environments.layers import merge_layers, pack_tree, pack_wheels
from engine.environments.lockfile import make_lock, marker_environment, parse_lock
from engine.environments.wheels import fetch
from engine.files import write_atomic
from engine.progress import Progress
from engine.settings import SOURCE_DATE_EPOCH, Home
from engine.software import Base, Layer, Wheel

PREFIX = "/opt/harness"
NAME = "nbseal_harness"
#: How the harness starts a kernel (Jupyter's "Kernel specs"): with the user's environment, never its own.
_KERNELSPEC = {
    "argv": ["/opt/kernel/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Python 3",
    "language": "python",
}


def harness_layers(
    stage: Base, home: Home, engine: Engine, progress: Progress
) -> tuple[tuple[Layer, Layer], tuple[Wheel, ...]]:
    """Two layers on ``stage``, a base without a harness that the engine holds, and the wheels in them.

    What others wrote changes seldom and is large, what we wrote is small: so they are apart.
    """
    lock = harness_lock(stage.python)
    entries = parse_lock(lock, marker_environment(stage))
    theirs = fetch(make_lock(entries, sha256_bytes(lock.encode()), stage), stage, home, progress)
    ours = _make_wheel(stage.protocol, home)
    packed = pack_wheels(stage, (theirs, (ours,)), PREFIX, home, engine, progress)
    kernelspec = {
        f"{PREFIX.lstrip('/')}/share/jupyter/kernels/python3/kernel.json": json.dumps(_KERNELSPEC, indent=1).encode()
    }
    around = pack_tree({**frame(PREFIX, stage), **kernelspec}, home, "frame of the harness environment")
    layers = (
        replace(packed[0], of=f"harness environment, {len(theirs)} distributions"),
        merge_layers([around, packed[1]], home, "harness"),
    )
    return layers, (*theirs, ours)


def _make_wheel(version: int, home: Home) -> Wheel:
    """The harness as a wheel in the home, laid out and compiled like all others."""
    data = wheel_bytes(harness_sources(), str(version))
    filename = f"{NAME}-{version}-py3-none-any.whl"
    wheel = Wheel(NAME.replace("_", "-"), str(version), filename, sha256_bytes(data), len(data))
    path = home.wheels / bare(wheel.sha256) / filename
    if not path.exists():
        write_atomic(path, data, 0o444)
    return wheel


def wheel_bytes(sources: dict[str, bytes], version: str) -> bytes:
    """A wheel (binary distribution format 1.0) of one package, uncompressed, with constant times."""
    info = f"{NAME}-{version}.dist-info"
    files = {f"{NAME}/{name}": source for name, source in sorted(sources.items())}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {NAME.replace('_', '-')}\nVersion: {version}\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: nbseal\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={digest}", len(content)])
    rows.writerow([f"{info}/RECORD", "", ""])
    files[f"{info}/RECORD"] = record.getvalue().encode()
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, time.gmtime(SOURCE_DATE_EPOCH)[:6])
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, whatever this machine is
            archive.writestr(entry, content)
    return output.getvalue()
