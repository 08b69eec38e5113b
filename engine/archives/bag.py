"""The bag held against its manifests, in both directions, and what archive.json says that it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.archives import layout
from engine.archives.documents import read_object
from engine.archives.receive import File, Received
from engine.digests import PREFIX, canonical_json
from engine.errors import VerificationFailed

_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")
_ID = re.compile(r"[0-9a-f]{16}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Listed:
    """One run as archive.json lists it."""

    id: str
    hash: str  # 64 hex digits
    seal: str
    image: str
    base: str
    status: str
    notebook: str


@dataclass(frozen=True)
class Listing:
    """What an archive says that it holds, and what not."""

    runs: tuple[Listed, ...]
    left_out: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]  # what, and why
    packed: tuple[str, ...]  # ids of runs whose project/ is one tar


def check_manifests(received: Received) -> None:
    """VerificationFailed names the first file that is missing, extra or changed."""
    if received.read(layout.BAGIT) != layout.DECLARATION:
        raise received.refused(layout.BAGIT, "does not say BagIt 1.0 and UTF-8")
    tags = _manifest(received, layout.TAG_MANIFEST)
    _compare(received, layout.TAG_MANIFEST, tags, {name: received.files.get(name) for name in layout.TAG_FILES})
    _compare(received, layout.MANIFEST, _manifest(received, layout.MANIFEST), _payload(received))


def check_info(received: Received, listing: Listing) -> None:
    """The folder's name and bag-info.txt against the runs and the payload."""
    if layout.archive_name(run.id for run in listing.runs) != received.name:
        raise received.refused(received.name, "is not what the folder of these runs is called")
    info, payload = _info(received), _payload(received)
    if info["External-Identifier"] != sorted(run.seal for run in listing.runs):
        raise received.refused(layout.BAG_INFO, "does not name the seals of its runs")
    if info["Payload-Oxum"] != [f"{sum(file.size for file in payload.values())}.{len(payload)}"]:
        raise received.refused(layout.BAG_INFO, "counts another payload")


def written_by(received: Received) -> str:
    """The software that bag-info.txt names; nothing when there is none, or the file is not as it should be."""
    try:
        return "".join(_info(received)[layout.SOFTWARE])
    except VerificationFailed:
        return ""


def _payload(received: Received) -> dict[str, File]:
    return {path: file for path, file in received.files.items() if path.startswith(f"{layout.PAYLOAD}/")}


def _manifest(received: Received, path: str) -> dict[str, str]:
    """Digests by path. Names that BagIt would have to escape are in no archive."""
    try:
        text = received.read(path).decode()
    except UnicodeDecodeError:
        raise received.refused(path, "is not UTF-8") from None
    if not text.endswith("\n"):
        raise received.refused(path, "does not end with a line")
    digests: dict[str, str] = {}
    for line in text[:-1].split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in digests:
            raise received.refused(path, "has a line that is not '<digest>  <path>', or one path twice")
        digests[match[2]] = match[1]
    return digests


def _compare(received: Received, manifest: str, listed: Mapping[str, str], there: Mapping[str, File | None]) -> None:
    for path in sorted(listed.keys() | there.keys()):
        file = there.get(path)
        if file is None:
            raise received.refused(path, f"is missing, and {manifest} names it")
        if path not in listed:
            raise received.refused(path, f"is extra: {manifest} does not name it")
        if listed[path] != file.digest:
            raise received.refused(path, f"is not what {manifest} says")


def _info(received: Received) -> dict[str, list[str]]:
    """The values of bag-info.txt by label, of which there are no others."""
    labels = ("Bagging-Date", "External-Identifier", layout.SOFTWARE, "Payload-Oxum")
    found: dict[str, list[str]] = {label: [] for label in labels}
    *lines, rest = received.read(layout.BAG_INFO).decode("utf-8", "replace").split("\n")
    for line in lines:
        label, colon, value = line.partition(": ")
        if not colon or label not in found:
            raise received.refused(layout.BAG_INFO, "has a line that is none of an archive's")
        found[label].append(value)
    days = found["Bagging-Date"]
    if rest or len(found[layout.SOFTWARE]) > 1 or len(days) != 1 or not _DAY.fullmatch(days[0]):
        raise received.refused(layout.BAG_INFO, "has no one day, or more than lines")
    found["External-Identifier"].sort()
    return found


def read_contents(received: Received) -> Listing:
    """What archive.json says; VerificationFailed when that makes no sense."""
    path = f"{layout.PAYLOAD}/{layout.CONTENTS}"
    document = read_object(received, path)
    try:
        if canonical_json(document) != received.read(path):
            raise ValueError("is not canonical JSON")
        contents = contents_of(document)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, ValueError) else "does not say what it should"
        raise received.refused(path, why) from None
    ids = [run.id for run in contents.runs]
    if not ids or len(set(ids)) != len(ids) or not set(contents.packed) <= set(ids):
        raise received.refused(path, "lists no run, or one twice")
    return contents


def contents_of(document: Any) -> Listing:
    """What archive.json says; KeyError, TypeError or ValueError when it is another document."""
    if document["schema"] != layout.SCHEMA or type(document["schema"]) is not int:
        raise ValueError("was written by a newer nbseal; upgrade to read it")
    contents = Listing(
        tuple(_listed(item) for item in _list(document["runs"])),
        tuple(_fitting(re.compile("|".join(layout.PARTS)), item) for item in _list(document["left_out"])),
        tuple((_text(item["what"]), _text(item["why"])) for item in _list(document["missing"])),
        tuple(_fitting(_ID, item) for item in _list(document["packed"])),
    )
    if document.keys() != {"schema", "runs", "left_out", "missing", "packed"}:
        raise ValueError("says more than it should")
    return contents


def _listed(item: Any) -> Listed:
    if item.keys() != {"id", "hash", "seal", "image", "base", "status", "notebook"}:
        raise ValueError("does not say of a run what it should")
    return Listed(
        _fitting(_ID, item["id"]),
        _fitting(_HEX, str(item["hash"]).removeprefix(PREFIX)),
        _fitting(_DIGEST, item["seal"]),
        _fitting(_DIGEST, item["image"]),
        _fitting(_DIGEST, item["base"]),
        _text(item["status"]),
        _text(item["notebook"]),
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("does not say what it should")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 2000:
        raise ValueError("has something else where a text should be")
    return value


def _fitting(form: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"has {str(value)[:60]!r} where it should not")
    return value
