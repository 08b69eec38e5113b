"""``python3 -m packing REQUEST OUTPUT`` packs wheels; ``python3 -m packing identify`` says which Python does it.

``python3 -m packing library OUTPUT`` packs the bytecode of its standard library that is not there.

Each distribution is packed by a process of its own, forked from one that compiled nothing before:
marshal writes a reference for whatever has more than one owner, so that strings that another module
left interned would change the bytes. A layer therefore depends on the wheel and the interpreter alone.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import io
import json
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

from .layer import Damaged, bytecode, pack, write_items
from .layout import LARGEST_SOURCE, Item, Refused
from .tarwriter import TarWriter

#: Folders of the library that are not it, or that no notebook imports.
OTHERS = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}
MTIME = 315532800  # 1980-01-01, as in all that nbseal packs
WHEELS = "/wheels"  # <sha256>/<file name>, as in the home


def identify() -> dict[str, str]:
    """What decides the bytes of bytecode: version, magic number and the files that the interpreter is."""
    mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    files = sorted(path for path in mapped if re.search(r"/(lib)?python[\d.]*[a-z]*(\.so[\d.]*)?$", path))
    code = hashlib.sha256()
    for path in files:
        code.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return {"version": sys.version, "magic": importlib.util.MAGIC_NUMBER.hex(), "code": code.hexdigest()}


def pack_one(request: dict[str, Any], wheel: dict[str, str], output: Path) -> None:
    """In a process of its own: leave ``<sha256>.tar`` and ``<sha256>.json`` in ``output``."""
    sha256 = wheel["sha256"]
    answer: dict[str, Any]
    try:
        with (output / f"{sha256}.tar").open("xb") as tar:
            diff_id, size = pack(
                Path(WHEELS, sha256, wheel["filename"]), sha256, tar, request["prefix"], request["mtime"]
            )
        answer = {"diff_id": diff_id, "size": size}
    except Refused as error:
        answer = {"refused": str(error)}
    except Damaged:
        answer = {"damaged": True}
    except (OSError, MemoryError) as error:
        answer = {"failed": str(error) or type(error).__name__}
    write_answer(output, sha256, answer)


def pack_library(output: Path) -> None:
    """Leave ``library.tar`` and ``library.json`` in ``output``: bytecode for the modules that have none.

    Images are often made without any, and a sealed run could keep none: each would compile the library anew.
    """
    library = Path(os.path.realpath(os.__file__)).parent
    found = {}
    for path in sorted(library.rglob("*.py")):
        inside = path.relative_to(library).parts
        cached = importlib.util.cache_from_source(str(path), optimization="")
        if OTHERS.intersection(inside) or not path.is_file() or Path(cached).exists():
            continue
        if os.access(path, os.R_OK) and path.stat().st_size <= LARGEST_SOURCE:
            found[cached] = bytecode(path.read_bytes(), str(path))
    items = {path: Item(code) for path, code in found.items() if code is not None}
    with (output / "library.tar").open("xb") as file, zipfile.ZipFile(io.BytesIO(), "w") as nothing:
        tar = TarWriter(file, MTIME)
        write_items(nothing, items, tar)
        answer = {"diff_id": tar.finish(), "size": tar.size, "count": len(items)}
    write_answer(output, "library", answer)


def write_answer(output: Path, sha256: str, answer: dict[str, Any]) -> None:
    """The host takes an answer as soon as its file is there, so it must be whole then."""
    unfinished = output / f"{sha256}.json.new"
    unfinished.write_text(json.dumps(answer))
    unfinished.rename(output / f"{sha256}.json")


def wait_for_one(running: dict[int, str], output: Path) -> None:
    """Wait for one of the ``running`` processes; one that died without an answer gets one here."""
    process, status = os.wait()
    sha256 = running.pop(process)
    if status:
        write_answer(output, sha256, {"failed": f"its packing ended with status {os.waitstatus_to_exitcode(status)}"})


def main(request_file: str, output_folder: str) -> int:
    """Pack all wheels of the request in its order, as many at a time as there are processors."""
    request, output = json.loads(Path(request_file).read_bytes()), Path(output_folder)
    workers = len(os.sched_getaffinity(0))
    gc.disable()  # there are no cycles to collect, and when it runs must not depend on anything
    running: dict[int, str] = {}
    for wheel in request["wheels"]:
        if len(running) >= workers:
            wait_for_one(running, output)
        process = os.fork()
        if not process:
            try:
                pack_one(request, wheel, output)
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        running[process] = wheel["sha256"]
    while running:
        wait_for_one(running, output)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["identify"]:
        print(json.dumps(identify()))
    elif sys.argv[1:2] == ["library"]:
        gc.disable()
        pack_library(Path(sys.argv[2]))
    else:
        sys.exit(main(*sys.argv[1:]))
