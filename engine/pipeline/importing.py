"""Runs from an archive: received, put together apart, held against everything they say of themselves, taken in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from engine import archives, environments, signing, store
from engine.archives import layout
from engine.digests import PREFIX, bare
from engine.errors import BadInput, VerificationFailed
from engine.model import Image, Json, Record, Seal, SourceFile
from engine.pipeline.plan import recorded_plan
from engine.progress import Progress
from engine.settings import Home

#: What is read of a run's directory; how large these may be is seen to when they are received.
_PARSED = ("run.json", "source.json", "irregular.json", "notebook.ipynb", "original.ipynb", "requirements.lock")
_HINT = "Nothing of it entered the home. Take the file from where it was made."


@dataclass(frozen=True)
class Arrived:
    """One run of an archive, and whether the home had it already."""

    record: Record
    seal: Seal
    known: bool


@dataclass(frozen=True)
class Imported:
    """What came out of an archive, who vouches for it, and what it does not hold."""

    runs: tuple[Arrived, ...]
    words: tuple[archives.Word, ...]
    absent: tuple[str, ...]  # parts that were left out, and files that were gone when it was written


def import_archive(path: Path, home: Home, progress: Progress) -> Imported:
    """Take the runs of an archive into the home, once all of it was found to be what it says.

    VerificationFailed names the first thing that is not; BadInput when the file is no archive. Nothing has entered
    the home then, and whoever is killed leaves nothing, or an import that the next command completes.
    """
    with _received(path, home, progress) as (folder, checked):
        arrived = tuple(
            replace(item, known=store.is_known(home, item.record.id, item.seal.digest)) for item in checked.runs
        )
        store.take_in(home, folder, [_arrival(item, checked.attested) for item in arrived])
    return Imported(arrived, checked.attested.words, checked.absent)


def read_archive(path: Path, home: Home, progress: Progress) -> Imported:
    """The same without taking anything in: what an archive holds, after all of it was checked."""
    with _received(path, home, progress) as (_, checked):
        return Imported(checked.runs, checked.attested.words, checked.absent)


@contextmanager
def _received(path: Path, home: Home, progress: Progress) -> Iterator[tuple[Path, _Checked]]:
    """A folder in which an archive was put together, and what was found of it."""
    with store.receiving(home) as folder:
        received = archives.receive(path, folder / "bag", progress)
        try:
            checked = _check(received, store.staged(folder), home, progress)
        except BadInput as error:  # a document that another stage could not read: here, a forged one
            raise VerificationFailed(f"{path.name}: {_printable(error.message)}", _HINT) from None
        except VerificationFailed as error:  # it may cite the document that it is about
            raise VerificationFailed(_printable(error.message), error.hint) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            reason = _printable(f"{type(error).__name__} {error}")[:200]
            raise VerificationFailed(f"{path.name} holds a damaged document: {reason}.", _HINT) from None
        yield folder, checked


def _printable(text: str) -> str:
    """A text that cites an archive, without what a terminal would obey or could not show."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@dataclass(frozen=True)
class _Checked:
    runs: tuple[Arrived, ...]
    attested: archives.Attested
    absent: tuple[str, ...]


def _check(received: archives.Received, staged: Home, home: Home, progress: Progress) -> _Checked:
    """Everything that can be said about an archive without believing it; its content then lies in ``staged``."""
    listing = archives.check_bag(received)
    attested = archives.judge(received, listing, signing.trusted(home)[0])
    archives.check_digests(received)
    images = archives.check_images(received)
    _put_together(received, staged)
    runs: list[Arrived] = []
    blobs: set[str] = set()
    with progress.task("Checking runs", len(listing.runs)) as advance:
        for listed in listing.runs:
            arrived, of_run = _check_run(received, listed, attested, listing, staged, home)
            runs.append(arrived)
            blobs |= of_run
            advance(1)
    _check_leftovers(received, listing, blobs)
    _check_environments(received, listing, [item.record for item in runs], images, staged)
    absent = [f"left out: {part}" for part in listing.left_out]
    return _Checked(tuple(runs), attested, (*absent, *(f"{what}: {why}" for what, why in listing.missing)))


def _put_together(received: archives.Received, staged: Home) -> None:
    """Move what was received to where it has its place in a home."""
    payload = received.folder / layout.PAYLOAD
    staged.root.mkdir()
    for name, place in (
        (layout.RUNS, staged.runs),
        (layout.WHEELS, staged.wheels),
        (layout.PACKAGES, staged.packages),
        (layout.BASES, staged.bases),
    ):
        if (payload / name).is_dir():
            (payload / name).rename(place)
    for digest in received.payload(layout.BLOBS):
        target = staged.blobs / digest[:2] / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        (payload / layout.blob(digest)).rename(target)


# --- runs -------------------------------------------------------------------------------------


def _check_run(
    received: archives.Received,
    listed: archives.Listed,
    attested: archives.Attested,
    listing: archives.Listing,
    staged: Home,
    home: Home,
) -> tuple[Arrived, set[str]]:
    """One run held against its seal, its hash, and what archive.json says of it; and its content below blobs/."""
    folder = staged.runs / listed.id
    run = store.RunDirectory(home, folder)  # of this home, because its keys are those that count
    for name in _PARSED:
        path = f"{layout.PAYLOAD}/{layout.run_folder(listed.id)}/{name}"
        if path not in received.files:
            raise received.refused(path, "is missing, and a run needs it")
        archives.check_json(received, path, (folder / name).read_bytes())
    if listed.id in listing.packed:
        archives.unpack(folder)
    store.restore_irregular(run)
    record = store.read_record(run.record)
    said = (record.id, bare(record.hash), record.image, record.base, record.status, record.notebook)
    if said != (listed.id, listed.hash, listed.image, listed.base, listed.status, listed.notebook):
        raise VerificationFailed(f"The run.json of run {listed.id} says something else than archive.json.", _HINT)
    if record.status in ("running", "lost"):
        raise VerificationFailed(f"Run {listed.id} has not ended.", _HINT)
    store.verify_sealed(run, record, listed.seal)
    plan = recorded_plan(record, run)
    if plan.source.digest != record.source or plan.spec.image != record.image:
        raise VerificationFailed(f"The run.json of run {listed.id} says something else than its hash covers.", _HINT)
    end = attested.origins[listed.id].entry
    key = str(end.get("key") or "")
    seal = store.read_seal(
        run, store.History("ended", seal=listed.seal, key=key, unsigned=str(end.get("unsigned") or ""))
    )
    if seal.signature == "bad" and end:
        raise VerificationFailed(f"The signature of run {listed.id} does not count: {seal.reason}.", _HINT)
    return Arrived(record, seal, known=False), _check_content(received, listing, record, plan.source.files)


def _arrival(item: Arrived, attested: archives.Attested) -> store.Arrival:
    """What the ledger of this home says of a run that came from elsewhere."""
    record, origin = item.record, attested.origins[item.record.id]
    vouched = {word.what: word for word in attested.words}
    facts: Json = {
        "hash": record.hash,
        "status": record.status,
        "archive": PREFIX + attested.tag_manifest,
        "archive_signature": vouched["signature"].state,
        "archive_signer": vouched["signature"].by,
        "ledger_signature": vouched["ledger"].state,
    }
    for name in ("key", "unsigned", "late"):  # of its seal, by the words of the home that it comes from
        if origin.entry.get(name):
            facts[name] = bool(origin.entry[name]) if name == "late" else str(origin.entry[name])[:300]
    if origin.ledger:
        facts |= {"from": origin.ledger, "from_index": origin.index}
    if origin.entry.get("time"):
        facts["from_time"] = str(origin.entry["time"])[:40]
    return store.Arrival(record.id, item.seal.digest, facts)


# --- what runs need -----------------------------------------------------------------------------


def _check_content(
    received: archives.Received, listing: archives.Listing, record: Record, sources: Iterable[SourceFile]
) -> set[str]:
    """The names below blobs/ that a run may have; VerificationFailed when one that it must have is not there."""
    needed = {bare(item.digest) for item in sources if item.kind != "link"}
    inputs = {bare(item.digest) for item in record.inputs if item.kept}
    if "inputs" not in listing.left_out:
        needed |= inputs
    archives.check_there(received, layout.BLOBS, needed)
    return needed | inputs


def _check_environments(
    received: archives.Received,
    listing: archives.Listing,
    records: Sequence[Record],
    images: Mapping[str, archives.ArchivedImage],
    staged: Home,
) -> None:
    """Bases, images and what they are made of: each whole, each of use to a run, each what its id says."""
    ids = {record.base for record in records}
    archives.check_use(received, layout.BASES, {f"{bare(i)}/{name}" for i in ids for name in layout.BASE_FILES})
    bases = {identity: environments.archived_base(staged, identity) for identity in ids}
    wheels: set[str] = set()
    packages: set[str] = set()
    for record in records:
        of_wheels, of_packages = environments.ingredients(staged, bases[record.base], record.wheels)
        wheels |= of_wheels
        packages |= of_packages
    parts = "wheels" not in listing.left_out
    archives.check_use(received, layout.WHEELS, wheels if parts else set())
    archives.check_use(received, layout.PACKAGES, packages if parts else set())
    wanted = {record.image for record in records}
    if images.keys() != (wanted if "image" not in listing.left_out else set()):
        raise VerificationFailed(f"{received.source} does not hold the images of its runs.", _HINT)
    for record in records:
        if record.image in images:
            found = images[record.image]
            image = Image(record.image, record.base, record.wheels, ())
            environments.keep_archived_image(staged, image, found.config, found.layers, bases[record.base])
    staged.layers.mkdir()
    for diff_id in {layer for image in images.values() for layer, _ in image.layers}:
        blob = received.folder / layout.PAYLOAD / layout.image_blob(bare(diff_id))
        blob.rename(staged.layers / f"{bare(diff_id)}.tar")


def _check_leftovers(received: archives.Received, listing: archives.Listing, blobs: set[str]) -> None:
    """All other folders: what is in them is about a run or an image of the archive."""
    ids = [run.id for run in listing.runs]
    archives.check_strays(received, layout.BLOBS, blobs)
    for folder, names in (
        (layout.PAGES, {f"{run}.html" for run in ids}),
        (layout.LEDGER, {f"{run}.json" for run in ids}),
        (layout.SBOM, {f"{bare(run.image)}.cdx.json" for run in listing.runs}),
    ):
        archives.check_use(received, folder, names)
    strays = {path.split("/")[0] for path in received.payload(layout.RUNS)} - set(ids)
    if strays:
        raise received.refused(
            f"{layout.PAYLOAD}/{layout.RUNS}/{min(strays)}", "is a run that archive.json does not list"
        )
