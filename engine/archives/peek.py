"""What the first entries of an archive say: to choose among files, never to believe one."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from engine.archives import layout
from engine.archives.bag import Listing, contents_of
from engine.archives.stream import Tar, opened
from engine.errors import NbsealError

#: `archive` writes README.md and archive.json before everything else; who repacked it may have put folders before them.
_ENTRIES = 64
#: Of these entries together: whoever fills a folder with bombs costs a moment each.
_MAX_BYTES = 64 << 20


def is_archive(path: Path) -> bool:
    """Whether a file is called and begins as an archive, whatever follows: such a one is a product and no source."""
    if not path.name.endswith(layout.ENDINGS):
        return False
    with suppress(NbsealError, OSError), opened(path) as (stream, _):
        for entry in Tar(stream, path.name):
            name, _, rest = entry.name.partition("/")
            return layout.is_archive_name(name) and rest == f"{layout.PAYLOAD}/{layout.README}"
    return False


def peek(path: Path) -> Listing | None:
    """What ``archive.json`` lists, unchecked; None when the file is no archive, or does not begin as ours do."""
    try:
        with opened(path) as (stream, _):
            tar = Tar(stream, path.name)
            total = 0
            for entry, _ in zip(tar, range(_ENTRIES), strict=False):
                total += entry.size
                if total > _MAX_BYTES:
                    return None
                if entry.name.partition("/")[2] == f"{layout.PAYLOAD}/{layout.CONTENTS}":
                    return contents_of(json.loads(b"".join(tar.content())))
                for _data in tar.content():
                    pass
    except (NbsealError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return None
