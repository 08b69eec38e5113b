"""A lock's files: fetched once by hash into the home, by pip with the host's index settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from engine.digests import bare, digest_of, sha256_file
from engine.environments.indexes import read_indexes
from engine.environments.lockfile import Entry, minor, platform_of, render_entries
from engine.environments.reasons import fetch_failed
from engine.environments.tags import platforms, read_wheel_name
from engine.errors import EnvironmentFailed
from engine.files import sync_directory, write_atomic
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Distribution, Lock, Wheel

#: pip fetches one file after another; measured, two of it took a third of the time of one, four were no faster.
PROCESSES = 2
_UNFINISHED = ".fetch-"


def fetch(lock: Lock, base: Base, home: Home, progress: Progress) -> tuple[Wheel, ...]:
    """The wheel of every distribution of ``lock`` for ``base``, in the home as ``wheels/<sha256>/<file name>``.

    Starts no process for what the home has. Of a lock that allows several files, the best one for the base
    is taken, and the choice is remembered. Safe for several processes at once. Raises EnvironmentFailed
    when a file cannot be had, or is not what the lock says.
    """
    found = {item: _kept(item, base, home) for item in lock.distributions}
    missing = [item for item, wheel in found.items() if wheel is None]
    if missing:
        with progress.task(f"fetching {len(missing)} distributions", len(missing)) as advance:
            found |= _fetch(missing, base, home, advance)
    return tuple(wheel for wheel in found.values() if wheel is not None)


def _kept(item: Distribution, base: Base, home: Home) -> Wheel | None:
    """The wheel that the home has for ``item``; one of several allowed files only when it was chosen before."""
    hashes = list(item.hashes)
    if len(hashes) > 1:
        try:
            hashes = [_choice(item, base, home).read_text().strip()]
        except OSError:
            return None
    folder = home.wheels / bare(hashes[0])
    names = sorted(path.name for path in folder.iterdir() if path.suffix == ".whl") if folder.is_dir() else []
    if len(names) > 1:  # one may have come with an archive, under a name of its own
        names = [name for name in names if (named := read_wheel_name(name, base)) and named.name == item.name] or names
    if not names or hashes[0] not in item.hashes:
        return None
    return _wheel(item, base, folder / names[0], hashes[0])


def _choice(item: Distribution, base: Base, home: Home) -> Path:
    key = digest_of([item.name, item.version, sorted(item.hashes), minor(base.python), platform_of(base)])
    return home.resolutions / f"{bare(key)}.wheel"


def _wheel(item: Distribution, base: Base, path: Path, digest: str) -> Wheel:
    named = read_wheel_name(path.name, base)
    if named is None:
        raise EnvironmentFailed(
            f"The lock's file for {item.name} {item.version}, {path.name}, does not fit the base image.",
            "The lock was made for another platform or Python: renew it with `nbseal lock --upgrade`.",
        )
    if named.name != item.name or not _same_version(named.version, item.version):
        raise EnvironmentFailed(f"The lock's file for {item.name} {item.version} is {path.name}.")
    return Wheel(item.name, item.version, path.name, digest, path.stat().st_size)


def _same_version(first: str, second: str) -> bool:
    from packaging.version import Version

    return Version(first) == Version(second)


def _fetch(
    missing: Sequence[Distribution], base: Base, home: Home, advance: Callable[[int], None]
) -> dict[Distribution, Wheel]:
    home.wheels.mkdir(parents=True, exist_ok=True)
    _sweep(home)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=home.wheels) as name:  # a rename away from its place
        parts = [list(missing[start::PROCESSES]) for start in range(min(PROCESSES, len(missing)))]
        folders = [Path(name) / str(number) for number in range(len(parts))]
        environment = read_indexes(os.environ).pip_environment(os.environ)
        with ThreadPoolExecutor(len(parts)) as pool:
            jobs = [
                pool.submit(_download, part, base, folder, environment, advance)
                for part, folder in zip(parts, folders, strict=True)
            ]
        return {item: wheel for job in jobs for item, wheel in _keep_all(job.result(), base, home).items()}


def _sweep(home: Home) -> None:
    """Remove what killed fetches left; one that is a day old is surely dead."""
    for folder in home.wheels.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > 86_400:
                shutil.rmtree(folder)


def _download(
    items: Sequence[Distribution], base: Base, folder: Path, environment: dict[str, str], advance: Callable[[int], None]
) -> dict[Distribution, Path]:
    """Have pip put the file of each of ``items`` into ``folder``; pip itself checks the hashes as it fetches."""
    folder.mkdir()
    listing = folder / "requirements.txt"
    listing.write_text(render_entries(Entry(item.name, item.version, item.hashes) for item in items))
    tag = "cp" + minor(base.python).replace(".", "")
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *(part for platform in platforms(base.glibc) for part in ("--platform", platform)),
        *("--python-version", base.python, "--implementation", "cp"),
        *("--abi", tag, "--abi", "abi3", "--abi", "none", "--progress-bar", "off"),
        *("--dest", str(folder), "--requirement", listing.name),
    ]
    said: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("Collecting "):
                advance(1)
    if process.returncode:
        raise fetch_failed("".join(said))
    found: dict[Distribution, Path] = {}
    by_name = {item.name: item for item in items}
    for path in sorted(folder.glob("*.whl")):
        named = read_wheel_name(path.name, base)
        if named is not None and named.name in by_name:
            found[by_name[named.name]] = path
    for item in items:
        if item not in found:
            raise EnvironmentFailed(f"No file for {item.name} {item.version} was fetched.")
    return found


def _keep_all(paths: dict[Distribution, Path], base: Base, home: Home) -> dict[Distribution, Wheel]:
    return {item: _keep(item, path, base, home) for item, path in paths.items()}


def _keep(item: Distribution, path: Path, base: Base, home: Home) -> Wheel:
    """Move a fetched file into the home, once its own bytes were found to be among the lock's."""
    digest = sha256_file(path)
    if digest not in item.hashes:
        raise EnvironmentFailed(f"The file fetched for {item.name} {item.version} is not the one that the lock names.")
    wheel = _wheel(item, base, path, digest)
    folder = home.wheels / bare(digest)
    folder.mkdir(parents=True, exist_ok=True)
    path.chmod(0o444)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    if not (folder / path.name).exists():
        path.replace(folder / path.name)
        sync_directory(folder)
    if len(item.hashes) > 1:
        write_atomic(_choice(item, base, home), f"{digest}\n".encode())
    return wheel
