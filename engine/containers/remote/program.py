"""What runs in the courier: a container beside the run's own, on the same machine, with the same folders.

Its text is given to the image's own interpreter (``python3 -c``), so that nothing has to be installed and older images
do as well: Python 3.9's standard library only. Requests are JSON objects, one a line, on standard input. Answers are
frames on standard output: a JSON object on a line, whose "size" says how many bytes follow. Something is
said at least every few seconds, so that whoever waits knows a dead link from a slow disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import itertools
import json
import os
import select
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from typing import IO, Any

PROJECT, SPOOL, CACHE = "/project", "/run/nbseal", "/inputs"
_ASKED = "/run/courier.pid"
_CHUNK = 1 << 20
_POLL = 0.04  # seconds between two looks at what the harness wrote
_BEAT = 1.0  # seconds between two signs of life
_BATCH = 1 << 18  # bytes of a listing in one frame, or little more
_BLOCK = 512  # of st_blocks (stat(2))


class Ended(Exception):
    """Nobody asks any more."""


_spoke = time.monotonic()
_line = b""


def say(frame: str, data: bytes = b"", **fields: Any) -> None:
    """One frame."""
    global _spoke
    out = sys.stdout.buffer
    out.write(json.dumps({"frame": frame, "size": len(data), **fields}).encode("ascii") + b"\n")
    out.write(data)
    out.flush()
    _spoke = time.monotonic()


def live() -> None:
    """A sign of life, when it is time for one."""
    if time.monotonic() - _spoke > _BEAT:
        say("alive")


def read(size: int) -> bytes:
    """At most so many bytes of what was sent after a request."""
    global _line
    if _line:
        data, _line = _line[:size], _line[size:]
        return data
    data = os.read(0, size)
    if not data:
        raise Ended
    return data


def asked(wait: float | None) -> dict[str, Any] | None:
    """The next request, or None when there is none within so many seconds."""
    global _line
    while b"\n" not in _line:
        if not select.select([0], [], [], wait)[0]:
            return None
        data = os.read(0, _CHUNK)
        if not data:
            raise Ended
        _line += data
    line, _, _line = _line.partition(b"\n")
    request: dict[str, Any] = json.loads(line)
    return request


def opened(path: str) -> io.FileIO | None:
    """A regular file, or None: no link is followed and no FIFO waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return io.FileIO(descriptor, "rb")
    os.close(descriptor)
    return None


# --- while the run goes on ------------------------------------------------------------------------


def follow(events: int, version: str, inputs: list[str]) -> dict[str, Any]:
    """Send what is added to the events from here on, and the notebook whenever it was saved, until asked else."""
    log: io.FileIO | None = None
    due = counted = 0.0
    laid = frozenset(os.path.join(PROJECT, target) for target in inputs)
    while True:
        request = asked(0 if log and events < os.fstat(log.fileno()).st_size else _POLL)
        if request is not None:
            return request
        log = log or opened(SPOOL + "/events.jsonl")
        data = os.pread(log.fileno(), _CHUNK, events) if log else b""
        if data:
            say("events", data, offset=events)
            events += len(data)
        began = time.monotonic()
        if began >= due:
            version = send_notebook(version)
            due = time.monotonic() + max(_BEAT, 20 * (time.monotonic() - began))
        if time.monotonic() >= counted:
            began = time.monotonic()
            say("usage", bytes=usage([PROJECT, SPOOL], live, laid))
            pause = max(_BEAT, 20 * (time.monotonic() - began))
            counted = time.monotonic() + pause
        live()


def processor() -> str:
    """As the first processor calls itself (proc_cpuinfo(5))."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def send_notebook(version: str) -> str:
    """executed.ipynb, when it is another than the one with this version; which it is now."""
    file = opened(SPOOL + "/executed.ipynb")
    if file is None:
        return version
    with file:
        status = os.fstat(file.fileno())
        now = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
        if now == version:
            return version
        left = status.st_size
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                return version  # cut meanwhile: the next one comes soon
            left -= len(data)
            say("notebook", data, version=now, left=left)
        return now


def usage(folders: Sequence[str], meanwhile: Callable[[], None], laid: Collection[str] = ()) -> int:
    """Bytes on disk below the folders. Links are not followed, a file with several names counts once.

    ``meanwhile`` is called after every folder. What is removed meanwhile, or closed to us, does not count, and no
    input that was ``laid``, as long as it is root's: no notebook can make a file that is.
    """
    total, waiting = 0, list(folders)
    seen: set[tuple[int, int]] = set()
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                    if entry.path not in laid or status.st_uid != 0:
                        total += status.st_blocks * _BLOCK
        except OSError:
            continue
        meanwhile()
    return total


# --- after its end --------------------------------------------------------------------------------

_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFREG: "file",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def tell(inputs: dict[str, str], files: int, size: int) -> None:
    """List all that there is but the inputs, and which of these were replaced; digests by target.

    "much" when it is more than so many files or bytes.
    """
    entries: list[str] = []
    held = 0
    spooled = ((SPOOL, name) for name in ("events.jsonl", "executed.ipynb", "trace.jsonl"))
    for root, path in itertools.chain(spooled, walk(inputs)):
        if root == PROJECT:
            files -= 1
        try:
            status = os.lstat(os.path.join(root, path))
        except OSError:
            continue
        entry: dict[str, Any] = {"root": root, "path": path, "kind": _KINDS.get(stat.S_IFMT(status.st_mode), "other")}
        entry.update(mode=stat.S_IMODE(status.st_mode), size=status.st_size)
        if entry["kind"] == "link":
            entry["target"] = os.readlink(os.path.join(root, path))
        if entry["kind"] == "file":
            size -= status.st_size
            if size >= 0 and files >= 0:
                entry["digest"] = hashed(os.path.join(root, path))
        if size < 0 or files < 0:
            say("much")
            return
        entries.append(json.dumps(entry))
        held += len(entries[-1])
        if held >= _BATCH:
            say_entries(entries)
            entries, held = [], 0
        live()
    say_entries(entries)
    say("listed", replaced=[target for target, digest in inputs.items() if not is_laid(digest, target)])


def say_entries(entries: list[str]) -> None:
    """Each is JSON already."""
    say("entries", f"[{','.join(entries)}]".encode("ascii"))


def is_laid(digest: str, target: str) -> bool:
    """Whether an input is still what ``lay`` left there. It is root's and nobody else can change its times."""
    place = os.path.join(PROJECT, target)
    try:
        status, source = os.lstat(place), os.lstat(cached(digest))
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_uid != 0:
        return False
    alike = (status.st_size, status.st_mtime_ns) == (source.st_size, source.st_mtime_ns)
    return alike or hashed(place) == digest


def walk(skip: Container[str]) -> Iterator[tuple[str, str]]:
    """Every path below the project but these, a folder before what is in it."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(os.path.join(PROJECT, folder)) as entries:
                for entry in entries:
                    path = os.path.join(folder, entry.name)
                    if path in skip:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    yield PROJECT, path
        except OSError:
            continue


def hashed(path: str) -> str:
    """The SHA-256 of a file's bytes, or "" for what is none."""
    file = opened(path)
    if file is None:
        return ""
    digest = hashlib.sha256()
    with file:
        while True:
            data = file.read(_CHUNK)
            if not data:
                return digest.hexdigest()
            digest.update(data)
            live()


def send(wanted: list[tuple[str, str, int]]) -> None:
    """Files, each from an offset on."""
    for number, (root, path, offset) in enumerate(wanted):
        file = opened(os.path.join(root, path))
        if file is not None:
            with file:
                file.seek(offset)
                while True:
                    data = file.read(_CHUNK)
                    if not data:
                        break
                    say("data", data, number=number, offset=offset)
                    offset += len(data)
        say("sent", number=number)


# --- before its beginning -------------------------------------------------------------------------


def cached(digest: str) -> str:
    """Where an input lies once it is here, for every run that wants it."""
    return os.path.join(CACHE, digest, "data")


def keep(digest: str, size: int) -> None:
    """Take an input into the cache, from where an earlier attempt was cut off; "kept" when it is whole."""
    path = cached(digest)
    with open(path + ".part", "ab") as file:
        while not locked(file):  # the courier of another run takes the same one
            time.sleep(_POLL)
            live()
        if os.path.exists(path):
            say("kept")
            return
        have = file.seek(0, os.SEEK_END)  # another courier may have added to it while we waited
        if have > size:
            have = file.truncate(0)
        say("have", bytes=have)
        while have < size:
            data = read(min(_CHUNK, size - have))
            file.write(data)
            have += len(data)
            live()
        file.flush()
        os.fsync(file.fileno())
        if hashed(path + ".part") == digest:
            os.rename(path + ".part", path)
            say("kept")
        else:
            file.truncate(0)
            say("wrong")


def locked(file: IO[bytes]) -> bool:
    """Whether the file is ours alone now (flock(2))."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def lay(digest: str, target: str) -> None:
    """Copy an input from the cache to its place, for everybody to read; "wrong" when the cache was damaged."""
    source, place = cached(digest), os.path.join(PROJECT, target)
    computed = hashlib.sha256()
    if os.path.lexists(place):
        os.unlink(place)
    with open(source, "rb") as file, open(place, "xb") as copy:
        while True:
            data = file.read(_CHUNK)
            if not data:
                break
            computed.update(data)
            copy.write(data)
            live()
    os.chmod(place, 0o444)
    times = os.stat(source)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))  # by which it is known again
    if computed.hexdigest() != digest:
        os.unlink(place)
        os.unlink(source)
        say("wrong")
        return
    say("laid", free=shutil.disk_usage(PROJECT).free)


def take_over() -> None:
    """End whoever was asked before, by a link that is dead and does not know it yet."""
    with contextlib.suppress(OSError, ValueError), open(_ASKED) as file:
        os.kill(int(file.read()), signal.SIGKILL)
    with open(_ASKED, "w") as file:
        file.write(str(os.getpid()))


def main() -> None:
    answers: dict[str, Callable[..., dict[str, Any] | None]]
    answers = {"follow": follow, "tell": tell, "send": send, "keep": keep, "lay": lay}
    request = asked(None)
    take_over()
    say("machine", processor=processor())
    while True:
        request = request or asked(None) or {}
        request = answers[request.pop("do")](**request)


if __name__ == "__main__":
    with contextlib.suppress(Ended, BrokenPipeError):
        main()
