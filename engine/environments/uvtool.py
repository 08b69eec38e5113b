"""uv as resolver: for the base's Python and platform, wheels only, no package's code run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.digests import PREFIX
from engine.environments.indexes import Indexes, read_indexes
from engine.environments.lockfile import Entry, marker_environment, parse_lock, platform_of
from engine.environments.question import Question
from engine.environments.reasons import resolve_failed, undated, unreachable
from engine.environments.tags import best
from engine.errors import EnvironmentFailed
from engine.model import Json
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base

#: Of glibc 2.x: `uv pip compile --python-platform`. Files are chosen by the base's own.
_GLIBCS = (17, 28, *range(31, 41))


def solve_with_uv(question: Question, base: Base, home: Home, progress: Progress) -> tuple[Entry, ...]:
    """The answer to ``question``, each entry with the sha256 of the one wheel that fits ``base`` best.

    Raises EnvironmentFailed with uv's reason.
    """
    indexes = read_indexes(os.environ)
    if question.before and indexes.find_links:
        progress.say("The host's find-links have no upload dates: they are left out of a resolution as of a date.")
    home.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="resolve-", dir=home.temporary) as name:
        folder = Path(name)
        for filename, text in question.files().items():
            (folder / filename).write_text(text)
        said = _run(
            ["requirements.in", "--constraints", "constraints.txt", "--output-file", "requirements.txt"],
            *(folder, question.before, base, indexes),
        )
        if left_out := undated(said):
            shown = ", ".join(left_out[:5]) + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else "")
            progress.say(f"Files without an upload date were left out: {shown}.")
        entries = parse_lock((folder / "requirements.txt").read_text(), marker_environment(base), hashed=False)
        return choose_files(entries, question.before, base, folder, indexes)


def choose_files(
    entries: tuple[Entry, ...], before: str, base: Base, folder: Path, indexes: Indexes
) -> tuple[Entry, ...]:
    """``entries``, each with the sha256 of the one wheel of its version that fits ``base`` best.

    uv tells which file a hash stands for (pylock.toml, PEP 751); a requirements file does not. ``folder`` is
    for its files. Raises EnvironmentFailed when there is no such wheel.
    """
    (folder / "pins.in").write_text("".join(f"{entry.pin}\n" for entry in entries))
    _run(
        ["pins.in", "--no-deps", "--generate-hashes", "--output-file", "pylock.pins.toml"],
        *(folder, before, base, indexes),
    )
    packages = tomllib.loads((folder / "pylock.pins.toml").read_text()).get("packages", [])
    files = {str(package.get("name")): package.get("wheels", []) for package in packages}
    return tuple(replace(entry, hashes=(_digest(entry, files.get(entry.name, []), base),)) for entry in entries)


def _platform(base: Base) -> str:
    """The newest of the platforms that uv knows, by their glibc, which ``base`` serves for."""
    number = max((known for known in _GLIBCS if known <= int(base.glibc.split(".")[1])), default=_GLIBCS[0])
    return f"x86_64-manylinux_2_{number}"


def _run(arguments: list[str], folder: Path, before: str, base: Base, indexes: Indexes) -> str:
    """Run ``uv pip compile`` in ``folder``; what it printed beside the result."""
    from uv import find_uv_bin

    if before:  # uv filters indexes by date, and takes all of find-links
        indexes = replace(indexes, find_links=())
    command = [
        *(find_uv_bin(), "pip", "compile", *arguments, *indexes.uv_arguments()),
        *("--python", sys.executable, "--python-version", base.python),
        *("--python-platform", _platform(base), "--only-binary", ":all:"),
        *("--no-header", "--no-progress", "--color", "never"),
        *(["--exclude-newer", before] if before else []),
    ]
    environment = indexes.uv_environment(os.environ)
    code, said = _uv(command, folder, environment)
    if code and "was not found in" in said:
        # Over all indexes uv passes in silence over one that refuses our credentials; one by one it says so.
        strict = ["first-index" if part == "unsafe-best-match" else part for part in command]
        raise resolve_failed(said, unreachable(_uv(strict, folder, environment)[1]))
    if code:
        raise resolve_failed(said)
    return said


def _uv(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return result.returncode, result.stderr


def _digest(entry: Entry, wheels: list[Json], base: Base) -> str:
    """The sha256 of the wheel of ``entry`` that fits ``base`` best."""
    by_name: dict[str, str] = {}
    for wheel in wheels:
        name = wheel.get("name") or unquote(urlsplit(wheel.get("url") or wheel.get("path") or "").path).split("/")[-1]
        digest = wheel.get("hashes", {}).get("sha256")
        if digest:
            by_name.setdefault(name, PREFIX + digest)
    chosen = best(by_name, base)
    if chosen is None:
        raise EnvironmentFailed(
            f"{entry.name} {entry.version} has no wheel for Python {base.python} on {platform_of(base)}.",
            "Ask for a version that has one; this version of nbseal installs wheels only.",
        )
    return by_name[chosen]
