"""Where each thing lies in an archive: the names that writer and reader share (docs/reference/archive.md).

Paths use forward slashes. Those below ``data/`` are said without it, as the payload's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

SCHEMA = 1
#: What a file's name must end with; the first is not compressed.
ENDINGS = (".tar", ".tar.zst")

# --- the bag (RFC 8493) -----------------------------------------------------------------------

PAYLOAD = "data"
BAGIT = "bagit.txt"
BAG_INFO = "bag-info.txt"
MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"
#: What the tag manifest covers.
TAG_FILES = (BAG_INFO, BAGIT, MANIFEST)
#: The label under which bag-info.txt says what wrote the archive.
SOFTWARE = "Bag-Software-Agent"
DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

# --- the payload ------------------------------------------------------------------------------

README = "README.md"
CRATE = "ro-crate-metadata.json"
CONTENTS = "archive.json"
RUNS = "runs"
PAGES = "pages"
BLOBS = "blobs"
WHEELS = "wheels"
PACKAGES = "packages"
BASES = "bases"
BASE_FILES = ("base.json", "config.json", "packages.json")
#: And of one that was made of an image of a registry: what that said of it, in place of packages.json.
REGISTRY_FILES = ("index.json", "manifest.json", "image.json")
IMAGE = "image"
IMAGE_BLOBS = f"{IMAGE}/blobs/sha256"
OCI_LAYOUT = f"{IMAGE}/oci-layout"
OCI_INDEX = f"{IMAGE}/index.json"
DOCKER_MANIFEST = f"{IMAGE}/manifest.json"
SBOM = "sbom"
LEDGER = "ledger"
#: In a run's folder: its work tree, or that as one tar where a path in it cannot stand in a bag.
PROJECT = "project"
PROJECT_TAR = "project.tar"
#: What may be left out on purpose.
PARTS = ("image", "inputs", "wheels")

# --- attestations, outside of every manifest ---------------------------------------------------

ATTESTATIONS = "attestations"
SIGNATURE = f"{TAG_MANIFEST}.sig"
#: What the signature is made for; ``ssh-keygen -Y verify -n`` takes it.
NAMESPACE = "nbseal-archive"
PROVENANCE = "provenance.sigstore.json"
CHECKPOINT = "checkpoint"
TIMESTAMP = f"{TAG_MANIFEST}.tsr"

_NAME = re.compile(r"run-[0-9a-f]{12}|runs-[1-9][0-9]{0,6}-[0-9a-f]{12}")


def archive_name(runs: Iterable[str]) -> str:
    """The one top folder of an archive of these run ids, whatever their order."""
    ids = sorted(set(runs))
    if len(ids) == 1:
        return f"run-{ids[0][:12]}"
    digest = hashlib.sha256("".join(f"{run}\n" for run in ids).encode()).hexdigest()
    return f"runs-{len(ids)}-{digest[:12]}"


def is_archive_name(name: str) -> bool:
    """Whether a top folder may be called so."""
    return _NAME.fullmatch(name) is not None


def run_folder(run: str) -> str:
    return f"{RUNS}/{run}"


def page(run: str) -> str:
    return f"{PAGES}/{run}.html"


def blob(digest: str) -> str:
    """Of a source file or an input; ``digest`` is 64 hex digits, here and below."""
    return f"{BLOBS}/{digest}"


def wheel(digest: str, filename: str) -> str:
    return f"{WHEELS}/{digest}/{filename}"


def package(digest: str, filename: str) -> str:
    return f"{PACKAGES}/{digest}/{filename}"


def base_file(digest: str, name: str) -> str:
    return f"{BASES}/{digest}/{name}"


def image_blob(digest: str) -> str:
    return f"{IMAGE_BLOBS}/{digest}"


def image_tag(digest: str) -> str:
    """What an engine calls the image after loading it."""
    return f"nbseal/image:{digest[:12]}"


def sbom(digest: str) -> str:
    """Of an image, by its id."""
    return f"{SBOM}/{digest}.cdx.json"


def ledger(run: str) -> str:
    return f"{LEDGER}/{run}.json"


def proof(run: str) -> str:
    """Below attestations/, as the other names of attestations."""
    return f"{run}.tlog-proof"


# --- names in a work tree ----------------------------------------------------------------------

_LONGEST = 240
#: Of a whole path in project/, and how many names it may have: what stands before it in a bag has 28 bytes and 4 names.
_LONGEST_PATH = 990
_DEEPEST = 90
#: BagIt escapes %, CR and LF, and its tools disagree about how; backslashes separate folders on Windows.
_UNFIT = re.compile(r"[%\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def must_be_packed(paths: Sequence[str]) -> bool:
    """Whether one of these paths cannot stand in a bag, or not on another file system: then all become one tar."""
    import unicodedata

    seen: dict[str, str] = {}
    for path in paths:
        if _UNFIT.search(path) or len(path.encode()) > _LONGEST_PATH or path.count("/") >= _DEEPEST:
            return True
        whole = ""
        for part in path.split("/"):
            if part != part.strip() or part.endswith(".") or len(part.encode()) > _LONGEST:
                return True
            whole += f"/{part}"
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", whole).casefold())
            if seen.setdefault(folded, whole) != whole:
                return True
    return False
