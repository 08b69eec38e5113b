"""The end of a run on another machine: all that its container left comes here, each file by its digest.

The other machine is not trusted with this one: no path of its list leads out of the run directory, and nothing is
written through a link.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.containers.launch import PROJECT, SPOOL, Folders
from engine.containers.remote.session import Session
from engine.errors import EngineUnavailable
from engine.files import remove_tree

MAX_FILES = 100_000
_KINDS = ("folder", "link", "file", "fifo", "socket", "other")
_SPOOLED = ("events.jsonl", "executed.ipynb", "trace.jsonl")
_INCOMING = ".incoming"
_MAX_PATH = 4096


@dataclass(frozen=True)
class Entry:
    """One thing that a run left. ``path`` is relative to ``root``, ``digest`` the SHA-256 of a file in hex."""

    root: str
    path: str
    kind: str
    mode: int
    size: int
    digest: str
    target: str  # of a link


def read_entries(data: bytes) -> list[Entry]:
    """EngineUnavailable for a list that no courier makes."""
    try:
        return [_entry(item) for item in json.loads(data)]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise EngineUnavailable(
            f"The list of what the run left makes no sense: {str(error)[:200]}.",
            "See who has access to that host.",
        ) from error


def _entry(item: Any) -> Entry:
    entry = Entry(
        root=str(item["root"]),
        path=str(item["path"]),
        kind=str(item["kind"]),
        mode=int(item["mode"]) & 0o777,
        size=int(item["size"]),
        digest=str(item.get("digest", "")),
        target=str(item.get("target", "")),
    )
    parts = entry.path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in entry.path + entry.target:
        raise ValueError("a path that is none")
    if max(len(os.fsencode(text)) for text in (entry.path, entry.target)) > _MAX_PATH:
        raise ValueError("a path longer than one can be")
    if entry.kind not in _KINDS or entry.size < 0 or (entry.kind == "link") != bool(entry.target):
        raise ValueError("an entry that is none")
    if entry.root != PROJECT and not (entry.root == SPOOL and entry.path in _SPOOLED):
        raise ValueError("a place that no run has")
    if entry.kind == "file" and (len(entry.digest) != 64 or set(entry.digest) - set("0123456789abcdef")):
        raise ValueError("a digest that is none")
    return entry


class Listing:
    """All that a run left, as its host tells it piece by piece; what is counted there is counted here again."""

    def __init__(self, project: Path, max_size: int) -> None:
        self.entries: list[Entry] = []
        self._files, self._size = MAX_FILES, max_size
        self._longest = _MAX_PATH - 1 - len(os.fsencode(project / "x"))  # it has a longer name here than there

    def add(self, data: bytes) -> bool:
        """Whether it is still no more than may be fetched, and can be."""
        added = read_entries(data)
        self._files -= sum(entry.root == PROJECT for entry in added)
        self._size -= sum(entry.size for entry in added if entry.kind == "file")
        self.entries += added
        if any(len(os.fsencode(entry.path)) > self._longest for entry in added):
            return False
        return self._files >= 0 and self._size >= 0 and len(self.entries) <= MAX_FILES + len(_SPOOLED)


class Gatherer:
    """Makes ``folders`` what a list says, and fetches no byte that is here already."""

    def __init__(self, folders: Folders, inputs: Sequence[str]) -> None:
        self._folders = folders
        self._inputs = frozenset(inputs)
        self._incoming = folders.spool / _INCOMING

    def gather(self, session: Session, entries: Sequence[Entry]) -> None:
        """Safe to repeat after it was cut off: what has come stays."""
        _check_places(entries, self._inputs)
        project = [entry for entry in entries if entry.root == PROJECT]
        self._incoming.mkdir(exist_ok=True)
        self._clear({entry.path: entry for entry in project})
        for entry in project:
            if entry.kind == "folder":
                _make_folder(self._place(entry))
        self._fetch(session, [entry for entry in entries if entry.kind == "file" and not self._is_here(entry)])
        for entry in project:
            self._make(entry)
        for entry in project:
            if entry.kind in ("folder", "file"):
                self._place(entry).chmod(entry.mode | (0o700 if entry.kind == "folder" else 0o400))
        remove_tree(self._incoming)

    def _place(self, entry: Entry) -> Path:
        return (self._folders.project if entry.root == PROJECT else self._folders.spool) / entry.path

    def _clear(self, wanted: dict[str, Entry]) -> None:
        """Remove what is not there any more, or is of another kind; afterwards every folder here is one there."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with os.scandir(self._folders.project / folder) as entries:
                found = list(entries)
            for item in found:
                path = f"{folder}/{item.name}" if folder else item.name
                if path in self._inputs:
                    continue
                entry, is_folder = wanted.get(path), item.is_dir(follow_symlinks=False)
                if is_folder and (entry.kind == "folder" if entry else self._leads_to_input(path)):
                    waiting.append(path)
                elif is_folder:
                    remove_tree(Path(item.path))
                elif entry is None or entry.kind != "file" or not item.is_file(follow_symlinks=False):
                    Path(item.path).unlink()

    def _leads_to_input(self, path: str) -> bool:
        return any(target.startswith(f"{path}/") for target in self._inputs)

    def _is_here(self, entry: Entry) -> bool:
        try:
            status = self._place(entry).lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
            return False
        return _digest(self._place(entry)) == entry.digest

    def _fetch(self, session: Session, missing: Sequence[Entry]) -> None:
        """Each content once, from where it was cut off."""
        for _ in range(2):  # what was damaged on its way is asked for a second time
            wanted = {entry.digest: entry for entry in missing if not self._arrived(entry.digest).exists()}
            if not wanted:
                break
            order = list(wanted.values())
            session.ask("send", wanted=[[entry.root, entry.path, self._have(entry)] for entry in order])
            for entry in order:
                self._receive(session, entry)
        left = Counter(entry.digest for entry in missing)
        for entry in missing:
            left[entry.digest] -= 1
            self._put(entry, last=not left[entry.digest])

    def _arrived(self, digest: str) -> Path:
        return self._incoming / digest

    def _have(self, entry: Entry) -> int:
        part = self._incoming / f"{entry.digest}.part"
        return part.stat().st_size if part.exists() and part.stat().st_size <= entry.size else 0

    def _receive(self, session: Session, entry: Entry) -> None:
        part, have = self._incoming / f"{entry.digest}.part", self._have(entry)
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            for frame in session.frames("sent"):
                have += len(frame.data)
                if have > entry.size:
                    raise EngineUnavailable(
                        f"The host sends more of {entry.path[:200]!r} than there is.",
                        "See who has access to that host.",
                    )
                file.write(frame.data)
        if _digest(part) == entry.digest:
            part.rename(self._arrived(entry.digest))
        else:
            part.unlink()

    def _put(self, entry: Entry, *, last: bool) -> None:
        """From what has arrived to its place; others may want the same content unless it is the last one."""
        source, place = self._arrived(entry.digest), self._place(entry)
        if not source.exists():
            raise EngineUnavailable(
                f"{entry.path[:200]!r} does not arrive as it is on the host.", "That machine's disk may be damaged."
            )
        if entry.path == "events.jsonl" and entry.root == SPOOL:
            shutil.copyfile(source, place)  # in its place, because somebody is reading it
            return
        if not last:
            source = Path(shutil.copyfile(source, self._incoming / "copy"))
        source.replace(place)

    def _make(self, entry: Entry) -> None:
        """What has no content."""
        place = self._place(entry)
        if entry.kind == "link":
            place.symlink_to(entry.target)
        elif entry.kind in ("fifo", "socket"):
            os.mknod(place, (stat.S_IFIFO if entry.kind == "fifo" else stat.S_IFSOCK) | 0o600)


def _check_places(entries: Sequence[Entry], inputs: Collection[str]) -> None:
    """Everything lies in folders and has one name, and nothing is told of where inputs are."""
    folders = {entry.path for entry in entries if entry.root == PROJECT and entry.kind == "folder"}
    seen = set()
    for entry in entries:
        parent = entry.path.rpartition("/")[0]
        is_input = entry.root == PROJECT and entry.path in inputs
        if is_input or (parent and parent not in folders) or (entry.root, entry.path) in seen:
            raise EngineUnavailable(
                f"The list of what the run left makes no sense at {entry.path[:200]!r}.",
                "See who has access to that host.",
            )
        seen.add((entry.root, entry.path))


def _make_folder(path: Path) -> None:
    if not path.is_symlink() and path.is_dir():
        path.chmod(0o700)
    else:
        path.mkdir(mode=0o700)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
