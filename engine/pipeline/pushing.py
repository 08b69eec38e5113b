"""A run into a registry: the same signed bag as an archive's, but in parts that the registry may have already."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from engine import archives, environments, registry
from engine.archives import layout
from engine.digests import PREFIX, bare, sha256_bytes
from engine.errors import BadInput
from engine.files import open_regular
from engine.pipeline.archiving import Attesting, refusal
from engine.pipeline.gathering import Gathered, bag_info, gather
from engine.progress import Progress
from engine.settings import Home

#: Files of a run from this size on are content of their own; smaller ones would cost more questions than bytes.
_APART = 64 << 10


@dataclass(frozen=True)
class Pushed:
    """A run as it lies in a registry, by tag and by digest. ``key`` and ``unsigned`` as of an archive."""

    reference: registry.Reference
    digest: str
    contents: archives.Contents
    image: str  # its reference there; empty when it was left out
    sent: int
    skipped: int
    key: str
    unsigned: str


def push(prefix: str, place: str, left_out: Sequence[str], home: Home, progress: Progress) -> Pushed:
    """Send a run, and all that a rerun needs but what is left out; its tag comes last, when all of it is there."""
    reference = registry.parse(place)
    if reference.digest:
        raise BadInput("A run is pushed to a tag, not to a digest.", "Leave out @sha256:…; `push` says what it became.")
    if reference.tag.startswith(registry.RESERVED):
        raise BadInput(
            f"Tags that start with {' or '.join(registry.RESERVED)} are those of images, not of runs.",
            "Give another tag, or none: the run's id is one.",
        )
    gathered = gather([prefix], left_out, home, progress)
    client = registry.Client(reference, "pull,push")
    try:
        return _push(gathered, client, home, progress)
    except archives.Spoiled as error:
        if error.member.kind != "layer":
            raise refusal(error) from error
    progress.say("A layer of the image is damaged.")
    environments.find_damaged(gathered.layers, home)
    return _push(gather([prefix], left_out, home, progress), client, home, progress)


def _push(gathered: Gathered, client: registry.Client, home: Home, progress: Progress) -> Pushed:
    run = gathered.contents.runs[0]
    members = {member.path: member for member in gathered.members}
    image = {path: member for path, member in members.items() if path.startswith(f"{layout.IMAGE_BLOBS}/")}
    apart = _apart(gathered.members)
    reference = client.reference if client.reference.tag else client.reference.tagged(run.record.id)
    with _scratch(home) as tar:
        attesting = Attesting(gathered, None, home, progress)
        bag = _pack(gathered, apart.keys() | image.keys(), attesting, tar, progress)
        described = manifest_of(members) if layout.OCI_INDEX in members else None
        by_digest = {PREFIX + member.digest: member for member in (*image.values(), *apart.values())}
        if described:
            del by_digest[described.digest]  # goes in as a manifest
        contents = [content(member) for member in by_digest.values()]
        contents.append(registry.Content(bag.digest, bag.size, lambda: os.fdopen(os.dup(tar.fileno()), "rb")))
        contents.append(registry.EMPTY)
        with progress.task(f"Pushing to {reference}", sum(item.size for item in contents)) as advance:
            try:
                skipped = registry.send(client, contents, advance)
            except registry.Damaged as error:
                if error.content.digest not in by_digest:
                    raise BadInput("The run cannot be packed: its tar cannot be read again.") from error
                raise archives.Spoiled(by_digest[error.content.digest]) from error
    image_at = ""
    if described:
        image_at = str(name_image(client, members, described, run.record.image)).removeprefix(registry.SCHEME)
    manifest = registry.render(_artifact(run, bag, apart, described))
    if not registry.refer(client, manifest):
        progress.say(f"{reference.registry} does not list the run among those of its image.")
    client.name(reference.tag, manifest)
    digest, key, unsigned = sha256_bytes(manifest), attesting.key, attesting.unsigned
    return Pushed(reference, digest, gathered.contents, image_at, client.sent, skipped, key, unsigned)


def _scratch(home: Home) -> IO[bytes]:
    """A file without a name, so that who is killed leaves nothing: in the home, or in $TMPDIR if it is read-only."""
    try:
        home.temporary.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=home.temporary)
    except OSError:
        return tempfile.TemporaryFile()


def _artifact(
    run: archives.ArchivedRun,
    bag: registry.Descriptor,
    apart: Mapping[str, archives.Member],
    subject: registry.Descriptor | None,
) -> registry.Artifact:
    files = [
        registry.Descriptor(registry.FILE, PREFIX + member.digest, member.size or 0, f"{layout.PAYLOAD}/{path}")
        for path, member in sorted(apart.items())
    ]
    annotations = {
        registry.CREATED: archives.ended(run.record),
        registry.RUN_ID: run.record.id,
        registry.RUN_HASH: run.record.hash,
        registry.RUN_SEAL: PREFIX + run.seal,
    }
    return registry.Artifact(bag, tuple(files), subject, annotations)


def _apart(members: Sequence[archives.Member]) -> Mapping[str, archives.Member]:
    """What travels as content of its own: wheels and packages, and large files; the largest, if there are too many.

    Not what is executable, which only a tar can say.
    """
    fitting = [
        member
        for member in members
        if member.kind in ("wheel", "package")
        or (member.kind in ("run", "blob") and member.digest and not member.executable and (member.size or 0) >= _APART)
    ]
    fitting.sort(key=lambda member: (-(member.size or 0), member.path))
    return {member.path: member for member in fitting[: registry.MAX_FILES]}


def _pack(
    gathered: Gathered, apart: set[str], attesting: Attesting, tar: IO[bytes], progress: Progress
) -> registry.Descriptor:
    """Write all that does not travel by itself into one tar."""
    contents = gathered.contents
    total = sum(member.size or 0 for member in gathered.members if member.path not in apart)
    try:
        with progress.task(f"Packing {contents.name}", total) as advance:
            info = bag_info(contents)
            archives.write_around(tar, contents.name, gathered.members, apart, info, attesting, advance)
    except OSError as error:
        raise BadInput(
            f"The run cannot be packed: {error.strerror or error}.",
            "Look at the free space of the home, or of $TMPDIR if the home is read-only.",
        ) from error
    tar.flush()
    size = tar.tell()
    tar.seek(0)
    digest = hashlib.file_digest(tar, "sha256").hexdigest()  # type: ignore[arg-type]
    return registry.Descriptor(registry.BAG, PREFIX + digest, size, f"{contents.name}.tar")


def name_image(
    client: registry.Client, members: Mapping[str, archives.Member], described: registry.Descriptor, image: str
) -> registry.Reference:
    """Give an image whose content is there its manifest and its name; what that is."""
    named = client.reference.tagged(f"image-{bare(image)[:12]}")
    client.name(named.tag, b"".join(members[layout.image_blob(bare(described.digest))].read()))
    return named


def manifest_of(members: Mapping[str, archives.Member]) -> registry.Descriptor:
    """The image's manifest, as image/ has it."""
    (found,) = json.loads(b"".join(members[layout.OCI_INDEX].read()))["manifests"]
    return registry.Descriptor(found["mediaType"], found["digest"], found["size"])


def content(member: archives.Member) -> registry.Content:
    """A member as what is uploaded."""
    file = member.file
    if file is not None:
        return registry.Content(PREFIX + member.digest, member.size or 0, lambda: open_regular(file))
    return registry.Content(PREFIX + member.digest, member.size or 0, lambda: io.BytesIO(b"".join(member.read())))
