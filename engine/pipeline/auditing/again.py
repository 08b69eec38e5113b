"""What can be made again of the sealed bytes of an archive, and held against what the archive has of it.

Two versions may word the same thing differently. So what differs is wrong only when the archive says that it was
written by the software that judges it now; else nobody can tell, and it is no more than claimed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from engine import archives, environments, notebooks, results, store
from engine.archives import layout
from engine.digests import bare, sha256_bytes
from engine.errors import VerificationFailed
from engine.model import Json, Record
from engine.pipeline.examining import Examined, ExaminedRun
from engine.pipeline.gathering import documents, lacking, page_of, software
from engine.pipeline.harvest import evidence
from engine.pipeline.plan import Plan, gives
from engine.pipeline.rechecking import check_order
from engine.software import Base

_HINT = "Take the file from where it was made."


def written_by(examined: Examined) -> str:
    """What bag-info.txt says that the archive was written by; nothing when it does not."""
    return archives.written_by(examined.received)


def place_of(examined: Examined, run: ExaminedRun) -> store.RunDirectory:
    return store.RunDirectory(examined.staged, examined.staged.runs / run.listed.id)


def whole(examined: Examined) -> archives.Contents:
    """What the runs are, and what is missing of them, from their own sealed files."""
    told: list[archives.ArchivedRun] = []
    absent: list[archives.Missing] = []
    listing = examined.listing
    assert listing is not None  # noqa: S101 (only called after it was read)
    for run in sorted(examined.runs, key=lambda item: item.listed.id):
        assert run.record is not None  # noqa: S101
        place = place_of(examined, run)
        sealed = store.sealed_digests(place)
        files = {path: (digest, (place.path / path).lstat().st_size) for path, digest in sealed.items()}
        packed = run.listed.id in listing.packed
        told.append(archives.ArchivedRun(run.record, bare(run.listed.seal), files, packed))
        absent += lacking(run.record, place, listing.left_out, in_ledger=bool(run.origin.entry))
    return archives.Contents(tuple(told), listing.left_out, tuple(absent))


def check_contents(examined: Examined, contents: archives.Contents) -> None:
    """archive.json and bag-info.txt, whose form does not change with the version, against the runs."""
    received = examined.received
    if received.read(f"{layout.PAYLOAD}/{layout.CONTENTS}") != archives.to_json(contents):
        raise received.refused(f"{layout.PAYLOAD}/{layout.CONTENTS}", "does not say what the runs say")
    payload = [file for path, file in received.files.items() if path.startswith(f"{layout.PAYLOAD}/")]
    said = written_by(examined)
    facts = [*archives.bag_info(contents), *([(layout.SOFTWARE, said)] if said else [])]
    facts.append(("Payload-Oxum", f"{sum(file.size for file in payload)}.{len(payload)}"))
    if received.read(layout.BAG_INFO) != "".join(f"{label}: {value}\n" for label, value in facts).encode():
        raise received.refused(layout.BAG_INFO, "does not say what the runs say")


def check_document(examined: Examined, contents: archives.Contents, name: str) -> bool:
    """README.md or ro-crate-metadata.json."""
    tops = {path.split("/")[1] for path in examined.received.files if path.startswith(f"{layout.PAYLOAD}/")}
    folders = sorted(tops - {layout.RUNS, layout.README, layout.CRATE, layout.CONTENTS})
    return _same(examined, name, documents(contents, folders)[name])


def check_page(examined: Examined, run: ExaminedRun, record: Record) -> bool:
    """The page of the executed notebook."""
    return _same(examined, layout.page(record.id), page_of(record, place_of(examined, run)).encode())


def check_sboms(examined: Examined, records: Sequence[Record], base: Base) -> bool:
    """The list of the software in an image, by each record of a run in it."""
    return all(
        _same(examined, layout.sbom(bare(record.image)), archives.sbom(record.image, base, record.wheels))
        for record in records
    )


def _same(examined: Examined, name: str, wanted: bytes) -> bool:
    path = f"{layout.PAYLOAD}/{name}"
    if path not in examined.received.files:
        raise examined.received.refused(path, "is missing")
    if f"sha256:{examined.received.files[path].digest}" == sha256_bytes(wanted):
        return True
    if written_by(examined) == software():
        raise examined.received.refused(path, "is not what the sealed files give when it is made again")
    return False


def check_statement(examined: Examined, contents: archives.Contents) -> bool:
    """The statement of provenance, made again for the ledger and the version that it names."""
    path = f"{layout.ATTESTATIONS}/{layout.PROVENANCE}"
    payload = base64.b64decode(json.loads(examined.received.read(path))["dsseEnvelope"]["payload"])
    details: Json = json.loads(payload)["predicate"]["runDetails"]
    identity, version = str(details["builder"]["id"]), str(details["builder"]["version"]["nbseal"])
    if examined.checkpoint is not None and identity != f"urn:{examined.checkpoint.ledger.replace('/', ':')}":
        raise examined.received.refused(path, "names another ledger than the checkpoint")
    tag_manifest = examined.received.read(layout.TAG_MANIFEST)
    if archives.statement(contents, tag_manifest, identity.removeprefix("urn:"), version) == payload:
        return True
    if software().startswith(f"nbseal {version} "):
        raise examined.received.refused(path, "states something else than the runs say")
    return False


# --- runs -------------------------------------------------------------------------------------


def check_notebook(examined: Examined, run: ExaminedRun, plan: Plan) -> bool:
    """That the user's own file with the flags of the spec gives the notebook that was run."""
    place = place_of(examined, run)
    if gives(notebooks.read(place.original), plan.spec):
        return True
    if written_by(examined) == software():
        raise _of(examined, run, "original.ipynb", "with the flags of the spec does not give notebook.ipynb")
    return False


def check_entries(examined: Examined, run: ExaminedRun, record: Record) -> tuple[Json, ...]:
    """The entries of the ledger about a run against its record, and their order; all of them."""
    path = f"{layout.PAYLOAD}/{layout.ledger(record.id)}"
    entries = [json.loads(line) for line in examined.received.read(path).splitlines()]
    places = [entry.get("index") for entry in entries]
    if not all(type(place) is int for place in places) or places != sorted(set(places)):
        raise examined.received.refused(path, "has its entries in another order")
    for entry in entries:
        for name, value in (("hash", record.hash), ("status", record.status)):
            if name in entry and bare(str(entry[name])) != value:
                raise examined.received.refused(path, f"has another {name} than run.json")
    return tuple(entries)


def check_lock(record: Record, plan: Plan, base: Base) -> None:
    """That the lock allows each wheel."""
    environments.check_locked(plan.lock, record.wheels, base)


def check_comparison(examined: Examined, record: Record, repeated: Record) -> bool:
    """The verdict of a rerun, when the run that it repeats is there too, and their order in time."""
    check_order(record, repeated)
    places = [store.RunDirectory(examined.staged, examined.staged.runs / item.id) for item in (repeated, record)]
    old, new = (
        evidence(item, results.read_executed(place.executed), place.project)
        for item, place in zip((repeated, record), places, strict=True)
    )
    if record.comparison is not None and results.compare(old, new).verdict == record.comparison.verdict:
        return True
    if written_by(examined) == software():
        raise VerificationFailed(f"The runs {repeated.id} and {record.id} compare in another way than recorded.", _HINT)
    return False


def _of(examined: Examined, run: ExaminedRun, name: str, why: str) -> VerificationFailed:
    path = f"{layout.PAYLOAD}/{layout.run_folder(run.listed.id)}/{name}"
    return examined.received.refused(path, why)
