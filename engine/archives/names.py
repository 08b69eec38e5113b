"""Which names an archive may hold, and how large what they name may be: looked at before a byte is written."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

from engine.archives import layout

MAX_ENTRIES = 500_000
MAX_BYTES = 1 << 44
#: Of a path below the top folder; where one is longer, the writer packs project/.
MAX_PATH = 1024
MAX_LEVELS = 100
_MIB = 1 << 20
#: JSON that is parsed here.
MAX_JSON = 64 * _MIB
MAX_NOTEBOOK = 256 * _MIB
MAX_MANIFEST = 128 * _MIB

_HEX = "[0-9a-f]{64}"
_ID = "[0-9a-f]{16}"
_FILE = r"[A-Za-z0-9][A-Za-z0-9._+~:!-]{0,239}"
_RUN = rf"data/runs/{_ID}"
_ANY = MAX_BYTES

#: What a path must look like, and the most bytes that it may have; the first that fits decides.
_GRAMMAR = tuple(
    (re.compile(pattern), limit)
    for pattern, limit in (
        (r"bagit\.txt|tagmanifest-sha256\.txt", 4096),
        (r"bag-info\.txt", 4 * _MIB),
        (r"manifest-sha256\.txt", MAX_MANIFEST),
        (rf"attestations/({re.escape(layout.SIGNATURE)})", 4096),
        (
            rf"attestations/({re.escape(layout.PROVENANCE)}|checkpoint|{_ID}\.tlog-proof|{re.escape(layout.TIMESTAMP)})",
            _MIB,
        ),
        (r"data/README\.md", 64 * _MIB),
        (r"data/ro-crate-metadata\.json", _ANY),
        (r"data/archive\.json", MAX_JSON),
        (rf"{_RUN}/(run|source|inputs|outputs|irregular)\.json", MAX_JSON),
        (rf"{_RUN}/(original|notebook)\.ipynb|{_RUN}/requirements\.lock", MAX_NOTEBOOK),
        (rf"{_RUN}/manifest-sha256\.txt", MAX_MANIFEST),
        (rf"{_RUN}/manifest-sha256\.txt\.sig", 4096),
        (rf"{_RUN}/images/{_FILE}", _ANY),
        (rf"{_RUN}/(?!project/|project$){_FILE}", _ANY),
        (rf"data/pages/{_ID}\.html", _ANY),
        (rf"data/blobs/{_HEX}", _ANY),
        (rf"data/wheels/{_HEX}/{_FILE}\.whl", _ANY),
        (rf"data/packages/{_HEX}/[A-Za-z0-9][A-Za-z0-9._+~:!-]{{0,239}}\.deb", _ANY),
        (rf"data/bases/{_HEX}/(base|config|packages|index|manifest|image)\.json", 4 * _MIB),
        (r"data/image/oci-layout", 4096),
        (r"data/image/(index|manifest)\.json", MAX_JSON),
        (rf"data/image/blobs/sha256/{_HEX}", _ANY),
        (rf"data/sbom/{_HEX}\.cdx\.json", _ANY),
        (rf"data/ledger/{_ID}\.json", 16 * _MIB),
    )
)
_PROJECT = re.compile(rf"{_RUN}/project/.")


class Names:
    """The paths of an archive so far, all below one top folder."""

    def __init__(self) -> None:
        self.top = ""
        self._spelt: dict[str, str] = {}  # every path and the folders that it lies in, by what file systems may confuse
        self._files: set[str] = set()
        self._above: set[str] = set()  # folders that something lies in
        self._folders: set[str] = set()  # folders with an entry of their own

    def take(self, name: str, *, folder: bool) -> tuple[str, int]:
        """The path below the top folder, and the most bytes it may have; ValueError with what is wrong with it."""
        top, _, path = name.partition("/")
        if not layout.is_archive_name(top):
            raise ValueError("does not lie in the folder of an archive")
        if top != (self.top or top):
            raise ValueError(f"lies beside the folder {self.top}")
        self.top = top
        if folder and not path:
            return "", 0
        if len(path.encode("utf-8", "surrogateescape")) > MAX_PATH or path.count("/") >= MAX_LEVELS:
            raise ValueError("has too long or too deep a name")
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError("is not a plain path")
        if is_work(path) and layout.must_be_packed([path]):
            raise ValueError("has a name that only project.tar may hold")
        limit = 0 if folder else _limit(path)
        self._enter(path, folder=folder)
        if len(self._files) + len(self._folders) > MAX_ENTRIES:
            raise ValueError(f"is one of more than {MAX_ENTRIES:,} entries")
        return path, limit

    def empty_folders(self) -> list[str]:
        """Folders that have an entry, and hold nothing."""
        return sorted(self._folders - self._above)

    def _enter(self, path: str, *, folder: bool) -> None:
        if path in self._files or path in self._folders:
            raise ValueError("is there twice")
        if path in self._above and not folder:
            raise ValueError("is a folder, and a file too")
        *above, _ = accumulate(path.split("/"), "{}/{}".format)
        for whole in (*above, path):
            spelt = self._spelt.setdefault(folded(whole), whole)
            if spelt != whole:
                raise ValueError(f"differs from '{spelt}' in nothing but case or form")
            if whole in self._files:
                raise ValueError(f"lies below '{whole}', which is a file")
        self._above.update(above)
        (self._folders if folder else self._files).add(path)


def is_work(path: str) -> bool:
    """Whether a path lies in a run's work tree."""
    return _PROJECT.match(path) is not None


def folded(path: str) -> str:
    """What paths have in common that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _limit(path: str) -> int:
    if is_work(path):
        return _ANY
    for pattern, limit in _GRAMMAR:
        if pattern.fullmatch(path):
            return limit
    raise ValueError("is none of the files of an archive")
