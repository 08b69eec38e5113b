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
from engine.errors import BadInput, VerificationFailed
from engine.model import Base, Json, Record, json_number
from engine.pipeline.examining import Examined, ExaminedRun
from engine.pipeline.gathering import documents, lacking, page_of, software
from engine.pipeline.harvest import evidence
from engine.pipeline.plan import Plan, gives

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


def check_sbom(examined: Examined, record: Record, base: Base) -> bool:
    """The list of the software in an image."""
    return _same(examined, layout.sbom(bare(record.image)), archives.sbom(record.image, base, record.wheels))


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


def check_cells(examined: Examined, run: ExaminedRun) -> None:
    """That the outputs stand under the cells that were to be executed."""
    place = place_of(examined, run)
    wanted, found = (
        [(cell["cell_type"], cell["source"]) for cell in results.read_executed(path)["cells"]]
        for path in (place.notebook, place.executed)
    )
    if wanted != found:
        raise _of(examined, run, "executed.ipynb", "has other cells than notebook.ipynb")


def check_outputs(examined: Examined, run: ExaminedRun, record: Record, plan: Plan) -> None:
    """The list of output files: what project/ holds beyond the source."""
    try:
        found = results.harvest_files(
            place_of(examined, run).project, plan.source, [item.target for item in record.inputs]
        )
    except BadInput:  # as it was when the run ended: such a run has no list
        found = ()
    said, there = (
        [(item.path, item.change, item.size, item.sha256) for item in items] for items in (record.outputs, found)
    )
    if said != there:
        named = min({item[0] for item in {*said} ^ {*there}}, default="")
        raise _of(examined, run, "run.json", f"lists other outputs than project/ holds: {named}")


def check_scalars(examined: Examined, run: ExaminedRun, record: Record) -> None:
    """The values: those that the executed notebook printed."""
    place = place_of(examined, run)
    found = results.harvest_scalars(results.read_executed(place.executed))
    last = {name: json_number(value) for name, value in results.last_values(found).items()}
    if last != {name: json_number(value) for name, value in record.scalars.items()}:
        raise _of(examined, run, "run.json", "has other scalars than executed.ipynb")
    path = f"{layout.PAYLOAD}/{layout.run_folder(record.id)}/{place.scalars.name}"
    there = examined.received.files.get(path)
    if there is None or f"sha256:{there.digest}" != sha256_bytes(store.scalar_lines(found)):
        raise examined.received.refused(path, "does not have the values of executed.ipynb")


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
    """The verdict of a rerun, when the run that it repeats is there too."""
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


def repeats(examined: Examined, runs: Sequence[ExaminedRun], record: Record) -> Record | None:
    """The run that a rerun repeats, when the archive has it."""
    return next((run.record for run in runs if run.record and run.record.id == record.rerun_of), None)
