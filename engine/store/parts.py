"""What comes over a network in pieces: kept until it is whole, so that the next attempt goes on with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.digests import bare
from engine.errors import EnvironmentFailed
from engine.files import locked, remove_tree
from engine.settings import Home

_PREFIX = "pull-"
_LOCK = "pull.lock"
#: Pieces of which nobody wanted the rest for so long (seconds) are removed.
_STALE = 86_400


@contextmanager
def parts(home: Home, digest: str) -> Iterator[Path]:
    """A folder for the pieces of ``digest``, ours until the block ends; one at a time in a home.

    It stays when the block ends for want of a network, or is interrupted or killed; else it is gone then.
    """
    with locked(home.temporary / _LOCK):
        folder = home.temporary / f"{_PREFIX}{bare(digest)}"
        _sweep(home, folder.name)
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        except (EnvironmentFailed, KeyboardInterrupt):
            os.utime(folder)
            raise
        except BaseException:
            remove_tree(folder)
            raise
        remove_tree(folder)


def _sweep(home: Home, current: str) -> None:
    for name in os.listdir(home.temporary):  # noqa: PTH208
        if name.startswith(_PREFIX) and name != current:
            with suppress(OSError):
                if time.time() - (home.temporary / name).lstat().st_mtime > _STALE:
                    remove_tree(home.temporary / name)
