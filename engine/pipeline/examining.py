"""Everything that can be said about an archive without believing it: one straight list of checks, each with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from engine import archives, environments, signing, store
from engine.archives import layout
from engine.digests import bare
from engine.errors import VerificationFailed
from engine.model import Record, Seal
from engine.pipeline.checks import HINT, Checks
from engine.pipeline.plan import Plan, recorded_plan
from engine.pipeline.rechecking import check_repeats, recheck
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Image

#: What is read of a run's directory; how large these may be is seen to when they are received.
_PARSED = ("run.json", "source.json", "irregular.json", "notebook.ipynb", "original.ipynb", "requirements.lock")


@dataclass
class ExaminedRun:
    """A run of an archive, as far as it could be read."""

    listed: archives.Listed
    origin: archives.Origin
    record: Record | None = None
    plan: Plan | None = None
    seal: Seal | None = None
    untold: Mapping[str, str] = field(default_factory=dict)  # what is too much to be checked again, and why


@dataclass
class Examined:
    """What was found in an archive. Something that is None could not be read, or what it needs could not."""

    received: archives.Received
    staged: Home  # its content, put together as in a home
    listing: archives.Listing | None = None
    words: dict[str, archives.Word] = field(default_factory=dict)
    key: signing.PublicKey | None = None  # that signed the tag manifest
    stamped: datetime | None = None  # when it was there at the latest, if a time stamp that counts says so
    checkpoint: archives.Checkpoint | None = None
    runs: list[ExaminedRun] = field(default_factory=list)
    bases: dict[str, Base] = field(default_factory=dict)
    images: Mapping[str, archives.ArchivedImage] = field(default_factory=dict)


def examine(received: archives.Received, staged: Home, home: Home, checks: Checks, progress: Progress) -> Examined:
    """Run all checks; the content of the archive then lies in ``staged``. Whose keys count is said by ``home``."""
    found = Examined(received, staged)
    checks.run("manifests", "", archives.check_manifests, received)
    found.listing = listing = checks.run("contents", "", archives.read_contents, received)
    if listing is not None:
        checks.run("bag-info", "", archives.check_info, received, listing)
        ends = [(run, checks.run("ledger-entries", run.id, archives.read_end, received, run)) for run in listing.runs]
        found.runs = [ExaminedRun(run, end or archives.Origin(run.id, {})) for run, end in ends]
    _attestations(found, home, checks)
    for folder in archives.BY_DIGEST:
        checks.run("digests", folder, archives.check_digests, received, folder)
    found.images = checks.run("images", "", archives.check_images, received) or {}
    if listing is None:
        return found
    _put_together(received, staged)
    with progress.task("Checking runs", len(found.runs)) as advance:
        for run in found.runs:
            _run(found, listing, run, home, checks)
            advance(1)
    records = {run.record.id: run.record for run in found.runs if run.record}
    for record in records.values():
        if record.rerun_of:
            checks.run("repeats", record.id, check_repeats, record, records)
    checks.run("strays", "", _check_strays, received, listing)
    if all(run.plan for run in found.runs):
        needed = set().union(*(names for run in found.runs for names in _needed(run)))
        checks.run("strays", layout.BLOBS, archives.check_strays, received, layout.BLOBS, needed)
        _environments(found, listing, [run.record for run in found.runs if run.record], checks)
    return found


def _attestations(found: Examined, home: Home, checks: Checks) -> None:
    authorities, _ = signing.authorities(home)
    ends = [time for run in found.runs if (time := store.time_of(str(run.origin.entry.get("time") or ""))) is not None]
    ended = max(ends, default=None)
    judge = checks.run("tag-manifest", "", archives.Judge, found.received, signing.trusted(home)[0], authorities, ended)
    if judge is None:
        return
    found.stamped = judge.stamped()

    def take(word: archives.Word | None) -> None:
        if word is not None:
            found.words[word.what] = word

    signed = checks.run("signature", "", judge.signature)
    if signed is not None:
        found.key = signed[0]
        take(signed[1])
    told = checks.run("ledger", "", judge.checkpoint, found.key)
    if told is not None:
        found.checkpoint = told[0]
        take(told[1])
    listing = found.listing
    if listing is not None:
        for run in found.runs if told is not None else ():
            proven = checks.run("inclusion", run.listed.id, judge.inclusion, run.origin, found.checkpoint, listing)
            run.origin = proven or run.origin
        checks.run("attestations", "", archives.check_attestations, found.received, listing)
    take(checks.run("provenance", "", judge.provenance, found.key))
    take(checks.run("timestamp", "", judge.timestamp))


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


def _run(found: Examined, listing: archives.Listing, run: ExaminedRun, home: Home, checks: Checks) -> None:
    """One run held against its seal, its hash, and what archive.json says of it."""
    received, listed = found.received, run.listed
    place = store.RunDirectory(home, found.staged.runs / listed.id)  # of this home, because its keys are what counts
    run.record = record = checks.run("record", listed.id, _read_record, received, place)
    if record is None:
        return
    checks.run("listed", listed.id, _check_listed, record, listed)
    checks.run("seal", listed.id, _check_seal, place, record, listed, packed=listed.id in listing.packed)
    run.plan = plan = checks.run("hash", listed.id, _read_plan, record, place)
    run.seal = checks.run("seal-signature", listed.id, _read_seal, place, listed, run.origin, found.stamped)
    if plan is not None:
        sources, inputs = _needed(run)
        checks.run("source", listed.id, archives.check_there, received, layout.BLOBS, sources)
        if "inputs" not in listing.left_out:
            checks.run("inputs", listed.id, archives.check_there, received, layout.BLOBS, inputs)
        if ("seal", listed.id) in checks.passed:
            run.untold = recheck(received, place, record, plan, checks)


def _read_record(received: archives.Received, place: store.RunDirectory) -> Record:
    """The record, once everything that is going to be parsed is there and not too much."""
    for name in _PARSED:
        path = f"{layout.PAYLOAD}/{layout.run_folder(place.id)}/{name}"
        if path not in received.files:
            raise received.refused(path, "is missing, and a run needs it")
        archives.check_json(received, path, (place.path / name).read_bytes())
    record = store.read_record(place.record)
    if record.status == "running":
        raise VerificationFailed(f"The run.json of run {place.id} says that it has not ended.", HINT)
    return record


def _check_listed(record: Record, listed: archives.Listed) -> None:
    said = (record.id, bare(record.hash), record.image, record.base, record.status, record.notebook)
    if said != (listed.id, listed.hash, listed.image, listed.base, listed.status, listed.notebook):
        raise VerificationFailed(f"The run.json of run {listed.id} says something else than archive.json.", HINT)


def _check_seal(place: store.RunDirectory, record: Record, listed: archives.Listed, *, packed: bool) -> None:
    """Every file against the seal, after what has no place in a bag was made again."""
    if packed:
        archives.unpack(place.path)
    store.restore_irregular(place)
    store.verify_sealed(place, record, listed.seal)


def _read_plan(record: Record, place: store.RunDirectory) -> Plan:
    plan = recorded_plan(record, place)
    said = (record.source, record.image, record.flags)
    if said != (plan.source.digest, plan.spec.image, plan.spec.flags):
        raise VerificationFailed(f"The run.json of run {record.id} says something else than its hash covers.", HINT)
    return plan


def _read_seal(
    place: store.RunDirectory, listed: archives.Listed, origin: archives.Origin, stamped: datetime | None
) -> Seal:
    end = origin.entry
    told = store.History("ended")  # without the entry of its end, no ledger says who has to have signed it
    if end:
        key, unsigned = str(end.get("key") or ""), str(end.get("unsigned") or "")
        told = store.History("ended", seal=listed.seal, key=key, unsigned=unsigned)
    seal = store.read_seal(place, told, signing.Moment.best(stamped, store.time_of(str(end.get("time") or ""))))
    if seal.signature == "bad":
        raise VerificationFailed(f"The signature of run {listed.id} does not count: {seal.reason}.", HINT)
    return seal


# --- what runs need -----------------------------------------------------------------------------


def _needed(run: ExaminedRun) -> tuple[set[str], set[str]]:
    """The names below blobs/ of a run's source files and of its kept inputs."""
    sources = {bare(item.digest) for item in run.plan.source.files if item.kind != "link"} if run.plan else set()
    inputs = {bare(item.digest) for item in run.record.inputs if item.kept} if run.record else set()
    return sources, inputs


def _environments(found: Examined, listing: archives.Listing, records: Sequence[Record], checks: Checks) -> None:
    """Bases, images and what they are made of: each whole, each of use to a run, each what its id says."""
    received, staged = found.received, found.staged
    bases: dict[str, set[str]] = {}
    for record in records:
        bases.setdefault(record.image, set()).add(record.base)
    for image, of_image in bases.items():
        checks.run("one-base", image, _check_one_base, image, of_image)
    ids = {record.base for record in records}
    files = {f"{bare(i)}/{name}" for i in ids for name in _base_files(received, i)}
    checks.run("bases", "", archives.check_use, received, layout.BASES, files)
    for identity in sorted(ids):
        base = checks.run("base", identity, environments.archived_base, staged, identity)
        if base is not None:
            found.bases[identity] = base
    if found.bases.keys() != ids:
        return
    ingredients = checks.run("ingredients", "", _ingredients, staged, found.bases, records)
    if ingredients is not None:
        wheels, packages = ingredients if "wheels" not in listing.left_out else (set(), set())
        checks.run("wheels", "", archives.check_use, received, layout.WHEELS, wheels)
        checks.run("packages", "", archives.check_use, received, layout.PACKAGES, packages)
    wanted = {record.image for record in records} if "image" not in listing.left_out else set()
    checks.run("image-ids", "", _check_image_ids, received, found.images, wanted)
    for record in {record.image: record for record in records if record.image in found.images}.values():
        checks.run("image", record.image, _keep_image, found, record)
    staged.layers.mkdir()
    for diff_id in {layer for image in found.images.values() for layer, _ in image.layers}:
        blob = received.folder / layout.PAYLOAD / layout.image_blob(bare(diff_id))
        blob.rename(staged.layers / f"{bare(diff_id)}.tar")


def _base_files(received: archives.Received, identity: str) -> tuple[str, ...]:
    """What the record of a base consists of; that the base is one of these is found when it is read."""
    there = received.payload(layout.BASES)
    of_registry = [name for name in layout.REGISTRY_FILES if f"{bare(identity)}/{name}" in there]
    return ("base.json", "config.json", *of_registry) if of_registry else layout.BASE_FILES


def _check_one_base(image: str, bases: set[str]) -> None:
    if len(bases) > 1:
        raise VerificationFailed(f"The run.json of two runs name different bases of the image {image}.", HINT)


def _ingredients(staged: Home, bases: Mapping[str, Base], records: Sequence[Record]) -> tuple[set[str], set[str]]:
    wheels: set[str] = set()
    packages: set[str] = set()
    for record in records:
        of_wheels, of_packages = environments.ingredients(staged, bases[record.base], record.wheels)
        wheels |= of_wheels
        packages |= of_packages
    return wheels, packages


def _check_image_ids(
    received: archives.Received, images: Mapping[str, archives.ArchivedImage], wanted: set[str]
) -> None:
    if images.keys() != wanted:
        raise VerificationFailed(f"{received.source} does not hold the images of its runs.", HINT)


def _keep_image(found: Examined, record: Record) -> None:
    whole, base = found.images[record.image], found.bases[record.base]
    image = Image(record.image, record.base, record.wheels, ())
    environments.keep_archived_image(found.staged, image, whole.config, whole.layers, base)


def _check_strays(received: archives.Received, listing: archives.Listing) -> None:
    """All other folders: what is in them is about a run or an image of the archive."""
    ids = [run.id for run in listing.runs]
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
