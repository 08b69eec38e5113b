"""Which Python an image of a registry has, found by running it; sealed as always, and its answer is not believed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.daemon import LABEL, Engine, ToolResult, ignore_engine_errors, run_tool
from engine.errors import EnvironmentFailed

_OLDEST = (3, 9)
#: What the wheels are for that are locked as the harness of other Pythons than Debian's.
_OLDEST_GLIBC = (2, 28)
#: Where images have it; the first is looked up along the image's own PATH.
_PLACES = ("python3", "/usr/local/bin/python3", "/usr/bin/python3", "/opt/conda/bin/python3", "python")
#: Nobody: a run's user is not root, and what only root can read does not serve.
NOBODY = "65534:65534"
_SECONDS = 120
_MAX_ANSWER = 64 << 10
_MUSL = ("/lib/ld-musl-x86_64.so.1", "/etc/alpine-release")

_VERSION = re.compile(r"[0-9]{1,2}\.[0-9]{1,3}\.[0-9]{1,3}")
_GLIBC = re.compile(r"glibc ([0-9]{1,2}\.[0-9]{1,3}(?:\.[0-9]{1,3})?)")
_PATH = re.compile(r"/[A-Za-z0-9._+@/-]{1,250}")
_HINT = "Take an image with CPython 3.9 or newer for every user, as those called python, or install one in yours."


@dataclass(frozen=True)
class Python:
    """An image's interpreter."""

    path: str
    version: str
    glibc: str


def find_python(image: str, name: str, folders: Sequence[str], engine: Engine) -> Python:
    """The Python of ``image``, which the engine holds; ``folders`` are those that nbseal is going to make.

    EnvironmentFailed, with the image's ``name``, when it has none that would do.
    """
    refused: EnvironmentFailed | None = None
    for place in _PLACES:
        answer = _asked(image, place, folders, engine)
        if answer is None:
            continue
        try:
            found = _checked(answer, name)
            again = _asked(image, found.path, folders, engine)
            if again is None or _checked(again, name) != found or again.get("prefix") != answer.get("prefix"):
                raise EnvironmentFailed(f"The Python of {name} does not run as {found.path}.", _HINT)
            return found
        except EnvironmentFailed as error:
            refused = refused or error
    if refused is not None:
        raise refused
    if any(_has(image, path, engine) for path in _MUSL):
        raise _musl(name)
    raise EnvironmentFailed(f"{name} has no Python that a user can run.", _HINT)


def _asked(image: str, python: str, folders: Sequence[str], engine: Engine) -> dict[str, Any] | None:
    """What one interpreter says of itself; None when there is none that answers."""
    source = Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
    command = [python, "-I", "-B", "-c", source, *folders]
    said: ToolResult = run_tool(engine, image, command, user=NOBODY, timeout=_SECONDS)
    if said.exit_code or len(said.stdout) > _MAX_ANSWER:
        return None
    try:
        answer = json.loads(said.stdout)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _checked(answer: dict[str, Any], name: str) -> Python:
    """What was said, if a base can stand on it."""
    version, libc, path = (str(answer.get(part)) for part in ("version", "libc", "executable"))
    if libc == "musl":
        raise _musl(name)
    if not _VERSION.fullmatch(version) or answer.get("implementation") != "cpython" or answer.get("bits") != 64:
        raise EnvironmentFailed(f"The Python of {name} is no CPython of 64 bits.", _HINT)
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise EnvironmentFailed(f"{name} has Python {version}, which is older than 3.9.", _HINT)
    glibc = _GLIBC.fullmatch(libc)
    if glibc is None:
        raise EnvironmentFailed(f"{name} has another C library than glibc.", _HINT)
    if tuple(int(part) for part in glibc[1].split(".")[:2]) < _OLDEST_GLIBC:
        raise EnvironmentFailed(f"{name} has glibc {glibc[1]}; what executes notebooks needs 2.28.", _HINT)
    if lacking := answer.get("lacking"):
        raise EnvironmentFailed(
            f"The Python of {name} lacks parts of its standard library: {_listed(lacking)}.",
            "On Debian and Ubuntu python3 has all of it, and python3-minimal has not.",
        )
    if in_the_way := answer.get("in_the_way"):
        raise EnvironmentFailed(
            f"{name} has something where nbseal puts its own: {_listed(in_the_way)}.",
            "Take an image that was not made by nbseal, and in which these are plain folders, or are not there.",
        )
    if not _PATH.fullmatch(path) or ".." in path.split("/"):
        raise EnvironmentFailed(f"The Python of {name} lies where no path of ours leads.", _HINT)
    return Python(path, version, glibc[1])


def _listed(items: Any) -> str:
    found = [str(item) for item in items] if isinstance(items, list) else ["something"]
    return "".join(char for char in ", ".join(found[:5]) if char.isprintable())[:300]


def _musl(name: str) -> EnvironmentFailed:
    return EnvironmentFailed(
        f"{name} has musl as its C library, as Alpine Linux has, and no glibc.",
        "Wheels of Linux are for glibc: take the variant of Debian or Ubuntu, often called slim.",
    )


def _has(image: str, path: str, engine: Engine) -> bool:
    """Whether there is such a file, asked without running anything."""
    from docker.errors import APIError

    api = engine.client.api
    container = api.create_container(image, ["none"], network_disabled=True, labels={LABEL: "tool"})["Id"]
    try:
        stream, _ = api.get_archive(container, path)
        stream.close()
        return True
    except APIError:
        return False
    finally:
        with ignore_engine_errors():
            api.remove_container(container, force=True)
