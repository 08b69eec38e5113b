"""A run from a registry: its bag put together from what the registry and the home have, and then imported."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from engine import archives, registry, store
from engine.archives import layout
from engine.digests import PREFIX, bare, sha256_bytes, sha256_file
from engine.errors import EnvironmentFailed, VerificationFailed
from engine.files import open_regular
from engine.pipeline.importing import Imported, import_from
from engine.progress import Progress
from engine.settings import Home

#: What is pulled when nobody said what, as with images.
_DEFAULT_TAG = "latest"


@dataclass(frozen=True)
class Pulled:
    """A run that came from a registry. ``reference`` is by digest, whatever was asked for."""

    reference: registry.Reference
    imported: Imported
    received: int
    skipped: int  # bytes of content that the home had


def pull(place: str, home: Home, progress: Progress) -> Pulled:
    """Take a run into the home, once all of it was found to be what it says; errors as those of ``import_archive``."""
    reference = registry.parse(place)
    if not reference.tag and not reference.digest:
        reference = reference.tagged(_DEFAULT_TAG)
    client = registry.Client(reference, "pull")
    manifest = client.manifest(reference.digest or reference.tag)
    if manifest is None:
        raise client.unknown()
    artifact = registry.read(manifest, str(reference))
    pinned = reference.pinned(sha256_bytes(manifest))
    if reference.tag:
        progress.say(f"{reference} is {pinned.digest}")
    with store.parts(home, pinned.digest) as parts:
        pulling = _Pulling(client, artifact, parts, home, progress)
        imported = import_from(pulling.run, str(reference), home, progress)
    return Pulled(pinned, imported, client.received, pulling.skipped)


class _Pulling:
    """Fills a folder with the files of one artifact."""

    def __init__(
        self, client: registry.Client, artifact: registry.Artifact, parts: Path, home: Home, progress: Progress
    ) -> None:
        self._client, self._artifact, self._parts = client, artifact, parts
        self._home, self._progress = home, progress
        self.skipped = 0

    def run(self, folder: Path) -> archives.Received:
        client, bag = self._client, self._artifact.bag
        image = self._image()
        files = [*self._artifact.files, *image]
        total = bag.size + sum(item.size for item in files)
        self._check_room(2 * bag.size)  # packed, and not
        intake = archives.Intake(str(client.reference), folder)
        with self._progress.task(f"Pulling {client.reference}", total) as advance:
            tar = self._parts / bare(bag.digest)
            registry.download(client, bag.digest, bag.size, tar, "the bag", advance)
            intake.unpack(tar, lambda amount: None)
            for item in files:
                intake.expect(item.title, item.size)
            alike = self._alike(files)
            self._check_room(sum(items[0].size for items in alike if not self._is_here(items[0])))

            def bring(items: list[registry.Descriptor], advance: Callable[[int], None]) -> None:
                self._bring(intake, items, advance)

            registry.each(bring, alike, advance)
        if self._artifact.subject is not None:
            self._keep_manifest(intake, self._artifact.subject)
        return intake.received()

    def _alike(self, files: Sequence[registry.Descriptor]) -> list[list[registry.Descriptor]]:
        """The files by their content."""
        alike: dict[str, list[registry.Descriptor]] = {}
        for item in files:
            alike.setdefault(item.digest, []).append(item)
            if item.size != alike[item.digest][0].size:
                raise VerificationFailed(
                    f"{self._client.reference} has two sizes for {item.digest}.", "Nothing of it entered the home."
                )
        return list(alike.values())

    def _image(self) -> list[registry.Descriptor]:
        """Config and layers of the image, each once, by where an archive has them."""
        subject = self._artifact.subject
        if subject is None:
            return []
        manifest = self._client.manifest(subject.digest)
        if manifest is None:
            raise EnvironmentFailed(
                f"The image of {self._client.reference} is gone from the registry.", "Have the run pushed again."
            )
        self._manifest = manifest
        found = registry.read_image(manifest, f"{self._client.reference}'s image")
        titled = {item.digest: replace(item, title=_place(item.digest)) for item in found}
        return list(titled.values())

    def _keep_manifest(self, intake: archives.Intake, subject: registry.Descriptor) -> None:
        path = _place(subject.digest)
        intake.expect(path, len(self._manifest))
        intake.place(path).write_bytes(self._manifest)
        intake.came(path, archives.File(len(self._manifest), bare(subject.digest)))

    def _bring(self, intake: archives.Intake, items: list[registry.Descriptor], advance: Callable[[int], None]) -> None:
        """One content to all the places that it has in the bag: from the home, or from the registry."""
        first, *others = items
        place = intake.place(first.title)
        source = self._held(first.title)
        if source is not None and _take(source, place, first):
            self.skipped += first.size
            advance(first.size)
        else:
            part = self._parts / bare(first.digest)
            registry.download(self._client, first.digest, first.size, part, f"'{first.title}'", advance)
            _link(part, place)
        intake.came(first.title, archives.File(first.size, bare(first.digest)))
        for item in others:  # never a second name of one file: a run's files are apart from each other
            _copy(place, intake.place(item.title))
            intake.came(item.title, archives.File(item.size, bare(item.digest)))
            advance(item.size)

    def _held(self, title: str) -> Path | None:
        """Where the home has a file of a bag, if it has it; the name was looked at before."""
        home, path = self._home, title.removeprefix(f"{layout.PAYLOAD}/")
        folder, _, rest = path.partition("/")
        if path.startswith(f"{layout.IMAGE_BLOBS}/"):
            return home.layers / f"{path.rpartition('/')[2]}.tar"
        if folder == layout.BLOBS:
            return store.blob_path(home, PREFIX + rest)
        places = {layout.WHEELS: home.wheels, layout.PACKAGES: home.packages}
        return places[folder] / rest if folder in places else None

    def _check_room(self, lacking: int) -> None:
        if lacking > shutil.disk_usage(self._parts).free - archives.RESERVE:
            raise EnvironmentFailed(
                f"There is no room for {self._client.reference}: {lacking:,} bytes of it are not here yet.",
                "Free some of the disk of the home, or pull into another NBSEAL_HOME.",
            )

    def _is_here(self, item: registry.Descriptor) -> bool:
        """In the home, or from an earlier attempt; by the looks of it, since only the room depends on that."""
        places = [self._parts / bare(item.digest), self._held(item.title)]
        return any(place and place.is_file() and place.stat().st_size == item.size for place in places)


def _place(digest: str) -> str:
    return f"{layout.PAYLOAD}/{layout.image_blob(bare(digest))}"


def _take(source: Path, place: Path, item: registry.Descriptor) -> bool:
    """Have a file of the home in the bag, too; False when it is gone, or is not what its name says."""
    try:
        _link(source, place)
        status = place.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size == item.size and sha256_file(place) == item.digest:
            return True
    except OSError:
        pass
    with suppress(OSError):
        place.unlink()
    return False


def _link(source: Path, place: Path) -> None:
    """Another name for a file, or its copy where it lies on another file system."""
    try:
        os.link(source, place, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        _copy(source, place)


def _copy(source: Path, place: Path) -> None:
    with open_regular(source) as file, place.open("xb") as copy:
        shutil.copyfileobj(file, copy)
        os.fchmod(copy.fileno(), 0o444)
