"""A bag (RFC 8493) written as one tar in one pass: each byte is read once, and hashed while it is written.

The payload comes first, then the tag files, then what attests to them, because each is made of what was before it.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.archives import layout, output
from engine.archives.members import Member, content, header, of_bytes, raw, settled
from engine.progress import Progress

#: Given the tag manifest, what stands for it, by name below attestations/.
Attest = Callable[[bytes], Mapping[str, bytes]]


@dataclass(frozen=True)
class Written:
    """What was written: the digest of the tag manifest is what an archive is called by."""

    digest: str
    files: int
    bytes: int


def write(
    path: Path,
    name: str,
    payload: Iterable[Member],
    info: Sequence[tuple[str, str]],
    attest: Attest,
    progress: Progress,
) -> Written:
    """Write the archive ``path`` with the top folder ``name``. Spoiled when bytes are not what they should be."""
    members = list(payload)
    total = sum(member.size or 0 for member in members)
    with output.created(path) as file, progress.task(f"Writing {path.name}", total) as advance:
        return write_around(file, name, members, (), info, attest, advance)


def write_around(
    file: IO[bytes],
    name: str,
    payload: Iterable[Member],
    apart: Container[str],
    info: Sequence[tuple[str, str]],
    attest: Attest,
    advance: Callable[[int], None],
) -> Written:
    """The same into an open file, without the members whose paths are ``apart``: they travel by their digests."""
    bag = _Bag(file, name, advance)
    lines = []
    size = 0
    for member in _made(sorted(payload, key=lambda member: raw(member.path))):
        digest = member.digest if member.path in apart else bag.add(member, f"{layout.PAYLOAD}/")
        lines.append(f"{digest}  {layout.PAYLOAD}/{member.path}\n")
        size += member.size or 0
    facts = [*info, ("Payload-Oxum", f"{size}.{len(lines)}")]
    tags = {
        layout.BAG_INFO: "".join(f"{label}: {value}\n" for label, value in facts).encode(),
        layout.BAGIT: layout.DECLARATION,
        layout.MANIFEST: "".join(lines).encode(),
    }
    tagged = "".join(f"{bag.add(of_bytes(tag, data))}  {tag}\n" for tag, data in sorted(tags.items())).encode()
    digest = bag.add(of_bytes(layout.TAG_MANIFEST, tagged))
    for attestation, data in sorted(attest(tagged).items()):
        bag.add(of_bytes(attestation, data), f"{layout.ATTESTATIONS}/")
    file.write(bytes(2 * tarfile.BLOCKSIZE))
    return Written(f"sha256:{digest}", len(lines), size)


def _made(members: Sequence[Member]) -> Iterator[Member]:
    """The same, with all sizes known. What has to be made is made in a thread while others are written, one ahead."""
    with ThreadPoolExecutor(1) as pool:
        made = (pool.submit(settled, member) for member in members if member.size is None)
        ahead = next(made, None)
        for member in members:
            if member.size is None and ahead is not None:
                member, ahead = ahead.result(), next(made, None)
            yield member


class _Bag:
    """Adds one file after the other below the top folder."""

    def __init__(self, file: IO[bytes], name: str, advance: Callable[[int], None]) -> None:
        self._file = file
        self._name = name
        self._advance = advance

    def add(self, member: Member, folder: str = "") -> str:
        """Write a member; the 64 hex digits of its bytes."""
        digest = ""

        def found(value: str) -> None:
            nonlocal digest
            digest = value

        self._file.write(header(member, f"{self._name}/{folder}"))
        for chunk in content(member, found):
            self._file.write(chunk)
            self._advance(len(chunk))
        return digest
