"""Reading a file that a user named, or that a project holds, without trusting it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from engine.errors import BadInput
from engine.notebooks.wording import shown


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; a link to one is followed.

    Raises BadInput for everything else: nothing there, a folder, a FIFO or device (which is never
    waited for), a file that may not be read or is too large.
    """
    name = shown(path.name or str(path))
    try:
        # O_NONBLOCK: opening a FIFO must not wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        link = path.is_symlink()
        raise BadInput(
            f"{name} is a link to a file that does not exist."
            if link
            else f"There is no file {shown(str(path), 200)}.",
            "Check the path.",
        ) from None
    except OSError as error:
        reason = (
            "is a link that leads back to itself" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        )
        raise BadInput(f"{name} {reason}.", "Check the path and its permissions.") from None
    except ValueError:  # a NUL in the path
        raise BadInput(f"{name} is not a possible path.", "Check the path.") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        folder = stat.S_ISDIR(mode)
        raise BadInput(
            f"{name} is a folder, not a file." if folder else f"{name} is not a regular file.",
            "Name the file in it." if folder else "Save it as a file first.",
        )
    with os.fdopen(descriptor, "rb") as file:
        # The size that fstat gives may be outdated when the bytes arrive, so the read is bounded itself.
        data = file.read(limit + 1)
    if len(data) > limit:
        raise BadInput(
            f"{name} is larger than {limit // 1_000_000} MB.", "Remove what it need not hold, and try again."
        )
    return data
