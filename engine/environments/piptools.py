"""pip-tools as resolver, inside a container of the base: what it answers is what pip itself would take there."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from engine.daemon import Engine, Mount, run_tool
from engine.environments.indexes import Indexes, read_indexes
from engine.environments.lockfile import Entry, make_lock, marker_environment, parse_lock
from engine.environments.question import Question
from engine.environments.reasons import resolve_failed
from engine.environments.uvtool import choose_files
from engine.environments.wheels import fetch
from engine.errors import EnvironmentFailed
from engine.progress import Progress
from engine.settings import Home, resources
from engine.software import Base, Image

#: Folders of the host stand under it, at their own paths, so that an index's relative links lead where they should.
_HOST = "/host"
_WORK = "/work"
_SCRATCH = f"{_WORK}/scratch"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_LINK = re.compile(r"""href\s*=\s*["']([^"'#]+)""", re.IGNORECASE)


def solve_with_pip_tools(
    question: Question, base: Base, home: Home, engine: Engine, progress: Progress
) -> tuple[Entry, ...]:
    """The answer to ``question``, each entry with the sha256 of the one wheel that fits ``base`` best.

    pip-tools decides the versions. It would download every file of every platform to hash it where an index has
    no PyPI JSON interface, so the hashes come from the indexes' own pages instead.
    The container has the network and the host's index settings, folders and CA bundle, the latter read-only.
    Raises EnvironmentFailed with pip's reason.
    """
    image = _image(base, home, engine, progress)
    indexes = read_indexes(os.environ)
    if question.before and indexes.folders:
        progress.say("Indexes on this machine have no upload dates: they are left out of a resolution as of a date.")
        indexes = indexes.without_folders()
    home.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="resolve-", dir=home.temporary) as name:
        folder = Path(name)
        for filename, text in question.files().items():
            (folder / filename).write_text(text)
        mounts, inside = _translated(indexes)
        (folder / "scratch").mkdir()
        result = run_tool(
            engine,
            image.id,
            [
                *("/opt/kernel/bin/python3", "-m", "piptools", "compile", "--allow-unsafe"),
                *("--strip-extras", "--no-header", "--no-emit-index-url", "--no-emit-find-links"),
                *("--no-emit-trusted-host", "--no-emit-options", "--no-config", "--cache-dir", f"{_WORK}/cache"),
                *("--constraint", f"{_WORK}/constraints.txt", "--output-file", f"{_WORK}/requirements.txt"),
                f"{_WORK}/requirements.in",
            ],
            mounts=[Mount(folder, _WORK, writable=True), *mounts],
            environment=_environment(inside, question),
            network=True,
        )
        if result.exit_code:
            raise resolve_failed((result.stdout + result.stderr).decode("utf-8", "replace"))
        answer = folder / "requirements.txt"
        if answer.is_symlink() or not answer.is_file():
            raise EnvironmentFailed("pip-tools wrote no lock.")
        entries = parse_lock(answer.read_text(), marker_environment(base), hashed=False)
        return choose_files(entries, question.before, base, folder, indexes)


def _image(base: Base, home: Home, engine: Engine, progress: Progress) -> Image:
    from engine.environments.images import build

    text = (resources() / "images/pip-tools.lock").read_text()
    lock = make_lock(parse_lock(text, marker_environment(base)), "", base)
    return build(base, fetch(lock, base, home, progress), home, engine, progress)


def _environment(indexes: Indexes, question: Question) -> dict[str, str]:
    result = {name: os.environ[name] for name in (*_PROXIES, *map(str.upper, _PROXIES)) if name in os.environ}
    result |= indexes.pip_settings()
    # Downloads go to the disk: the container's own /tmp is memory, and wheels can be gigabytes.
    result |= {"HOME": _SCRATCH, "TMPDIR": _SCRATCH, "PIP_ONLY_BINARY": ":all:", "LC_ALL": "C.UTF-8"}
    if question.before:
        result["PIP_UPLOADED_PRIOR_TO"] = question.before
    return result


def _translated(indexes: Indexes) -> tuple[list[Mount], Indexes]:
    """What to mount of this machine, and the settings as they read inside the container."""
    places = [path for folder in indexes.folders for path in (folder, *_linked(folder))]
    places += [Path(path) for path in (indexes.certificates, indexes.client_certificate) if path]
    mounts = [Mount(path.resolve(), _inside(path)) for path in _outermost(places) if path.exists()]

    def moved(url: str) -> str:
        return "file://" + _HOST + urlsplit(url).path if url.startswith("file:") else url

    inside = replace(
        indexes,
        index_url=moved(indexes.index_url),
        extra_index_urls=tuple(moved(url) for url in indexes.extra_index_urls),
        find_links=tuple(moved(url) for url in indexes.find_links),
        certificates=_inside(Path(indexes.certificates)) if indexes.certificates else "",
        client_certificate=_inside(Path(indexes.client_certificate)) if indexes.client_certificate else "",
    )
    return mounts, inside


def _inside(path: Path) -> str:
    return _HOST + path.as_posix()


def _linked(folder: Path) -> Iterator[Path]:
    """The folders beside an index's own that its pages (PEP 503) link to, as ``../../files``."""
    found: set[Path] = set()
    for page in folder.glob("*/index.html"):
        for link in _LINK.findall(page.read_text(errors="replace")):
            target = urlsplit(urljoin(page.as_uri(), link))
            if target.scheme == "file":
                found.add(Path(unquote(target.path)).parent)
    yield from found


def _outermost(paths: list[Path]) -> list[Path]:
    """``paths`` without those that lie in another of them."""
    every = set(paths)
    return sorted(path for path in every if not any(parent in every for parent in path.parents))
