"""Who is at work on a run: an advisory lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.settings import Home

#: A look at a lock holds it for microseconds, shared; whoever wants it for itself waits that out.
_PATIENCE = 0.5


def locks_folder(home: Home) -> Path:
    """Lock files, ``<id>.lock``: one for each run whose owner lives or died before it was done."""
    return home.root / "locks"


def _lock_path(home: Home, run_id: str) -> Path:
    # Outside the run directory, of which a container sees a part: a notebook must not be able to hold it.
    return locks_folder(home) / f"{run_id}.lock"


def is_owned(home: Home, run_id: str) -> bool:
    """Whether a living process owns the run. Reading only: nothing is created."""
    try:
        descriptor = os.open(_lock_path(home, run_id), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def own(home: Home, run_id: str) -> Iterator[bool]:
    """Own a run; yields False when another process does. Call ``disown`` inside when it is done for good."""
    path = _lock_path(home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def disown(home: Home, run_id: str) -> None:
    """Remove the lock's file, while it is held: the run needs no owner any more."""
    _lock_path(home, run_id).unlink(missing_ok=True)


def _acquire(path: Path) -> int | None:
    until = time.monotonic() + _PATIENCE
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() > until:
                return None
            time.sleep(0.01)
            continue
        if _still_there(path, descriptor):
            return descriptor
        os.close(descriptor)  # removed between open and lock: what we hold is nobody's lock


def _still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
