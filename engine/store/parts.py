"""What comes over a network in pieces: kept until it is whole, so that the next attempt goes on with it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from engine.digests import bare
from engine.errors import EnvironmentFailed
from engine.files import locked, remove_tree
from engine.settings import Home

_PREFIX = "pull-"
_LOCK = "lock"
#: Pieces of which nobody wanted the rest for so long (seconds) are removed, by whatever command looks next.
_STALE = 86_400


@contextmanager
def parts(home: Home, digest: str) -> Iterator[Path]:
    """A folder for the pieces of ``digest``, ours until the block ends.

    It stays when the block ends for want of a network or of room, or is interrupted or killed; else it is gone then.
    """
    folder = home.temporary / f"{_PREFIX}{bare(digest)}"
    sweep_parts(home, but=folder.name)
    with ExitStack() as stack:
        while True:
            with suppress(FileNotFoundError):  # its folder may go while we wait for it
                stack.enter_context(locked(folder / _LOCK))
                if (folder / _LOCK).exists():
                    break
            stack.close()
        os.utime(folder)
        try:
            yield folder
        except (EnvironmentFailed, KeyboardInterrupt):
            raise
        except BaseException:
            remove_tree(folder)
            raise
        remove_tree(folder)


def sweep_parts(home: Home, *, but: str = "") -> None:
    """Remove what is old and nobody's, ``but`` a folder of this name."""
    with suppress(OSError):
        for path in home.temporary.iterdir():
            if path.name.startswith(_PREFIX) and path.name != but:
                with suppress(OSError):
                    status = path.lstat()  # a link there would have its lock made elsewhere
                    if stat.S_ISDIR(status.st_mode) and time.time() - status.st_mtime > _STALE:
                        with locked(path / _LOCK, wait=False) as ours:
                            if ours:
                                remove_tree(path)
