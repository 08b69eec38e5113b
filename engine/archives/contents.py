"""What an archive says of itself: archive.json for programs, README.md for people, bag-info.txt for archivists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.archives import layout
from engine.digests import bare, canonical_json
from engine.model import Json, Record


@dataclass(frozen=True)
class ArchivedRun:
    """A run as it is archived: ``files`` are those that its seal covers, digest and size by path."""

    record: Record
    seal: str  # 64 hex digits
    files: Mapping[str, tuple[str, int]]
    packed: bool  # its project/ is one tar


@dataclass(frozen=True)
class Missing:
    """Something that belongs to the runs and is not there, though nobody left it out."""

    what: str
    why: str


@dataclass(frozen=True)
class Contents:
    """All that is in an archive, by its nouns. ``runs`` are sorted by id."""

    runs: tuple[ArchivedRun, ...]
    left_out: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()

    @property
    def name(self) -> str:
        return layout.archive_name(run.record.id for run in self.runs)

    @property
    def day(self) -> str:
        """On which the newest run ended: nothing of today, or the same runs would not give the same bytes."""
        return max(ended(run.record) for run in self.runs)[:10]

    @property
    def images(self) -> tuple[str, ...]:
        """64 hex digits each."""
        return tuple(sorted({bare(run.record.image) for run in self.runs}))


def ended(record: Record) -> str:
    """When a run ended, ISO 8601."""
    return (record.outcome.finished if record.outcome else "") or record.created


def to_json(contents: Contents) -> bytes:
    """archive.json."""
    runs: list[Json] = [
        {
            "id": run.record.id,
            "hash": run.record.hash,
            "seal": f"sha256:{run.seal}",
            "image": run.record.image,
            "base": run.record.base,
            "status": run.record.status,
            "notebook": run.record.notebook,
        }
        for run in contents.runs
    ]
    return canonical_json(
        {
            "schema": layout.SCHEMA,
            "runs": runs,
            "left_out": sorted(contents.left_out),
            "missing": [{"what": item.what, "why": item.why} for item in contents.missing],
            "packed": [run.record.id for run in contents.runs if run.packed],
        }
    )


def bag_info(contents: Contents) -> list[tuple[str, str]]:
    """What bag-info.txt says beside the size."""
    seals = [("External-Identifier", f"sha256:{run.seal}") for run in contents.runs]
    return [("Bagging-Date", contents.day), *seals]


_LEFT_OUT = {
    "image": "the image itself; nbseal makes it again, bit for bit, of its wheels and Debian packages, "
    "or on the image of a registry that its base names",
    "wheels": "the wheels and Debian packages that the image was made of",
    "inputs": "the kept input files; a rerun needs the files with the digests in inputs.json",
}


def readme(contents: Contents) -> str:
    """README.md."""
    first = contents.runs[0]
    runs = "".join(f"| `{run.record.id}` | {_row(run)} |\n" for run in contents.runs)
    gone = [f"- Left out on purpose: {_LEFT_OUT[part]}.\n" for part in sorted(contents.left_out)]
    gone += [f"- {_plain(item.what)}: {_plain(item.why)}.\n" for item in contents.missing]
    image = "" if "image" in contents.left_out else _LOAD.format(tag=layout.image_tag(contents.images[0]))
    places = "".join(
        f"| `{place}` | {what} |\n"
        for place, what, part in _PLACES
        if part not in contents.left_out and (place != "project.tar" or any(run.packed for run in contents.runs))
    )
    return _README.format(
        name=contents.name,
        count=f"{len(contents.runs)} runs" if len(contents.runs) > 1 else "one run",
        runs=runs,
        places=places,
        gone="".join(gone) or "Nothing: all that is known of these runs is here.\n",
        first=first.record.id,
        unpack="tar -xf project.tar && " if first.packed else "",
        offline="" if contents.left_out else " and needs no network",
        hash=first.record.hash,
        image=image,
    )


def _row(run: ArchivedRun) -> str:
    record = run.record
    return f"{_plain(record.notebook)} | {record.status} | {ended(record)[:16].replace('T', ' ')} | `{record.hash}`"


def _plain(text: str) -> str:
    """A name on one line of a table, whatever is in it."""
    return "".join(c if c.isprintable() and c not in "|`<>\\[]" else "?" for c in text)


_PLACES = (
    ("pages/", "each executed notebook as a page for any browser; it runs nothing and fetches nothing", ""),
    ("runs/<id>/executed.ipynb", "the notebook with its outputs", ""),
    ("runs/<id>/notebook.ipynb", "the notebook as it was run, with the values of its flags written in", ""),
    ("runs/<id>/original.ipynb", "the file that the user gave, byte for byte", ""),
    ("runs/<id>/run.json", "the record: what was run, in what, and how it ended", ""),
    ("runs/<id>/project/", "source and outputs; `outputs.json` says which files are outputs", ""),
    ("project.tar", "in place of project/ where names in it cannot stand in a bag", ""),
    ("runs/<id>/scalars.jsonl, events.jsonl, log.txt", "what was measured and logged", ""),
    ("runs/<id>/requirements.lock", "every distribution with its digest", ""),
    ("runs/<id>/manifest-sha256.txt", "the seal: the digest of this file is the run's External-Identifier", ""),
    ("blobs/", "source files and inputs by digest", ""),
    ("wheels/, packages/", "the Python wheels and Debian packages of the image", "wheels"),
    ("image/", "the image, as a folder that docker, podman and skopeo read", "image"),
    ("bases/", "what the base image is made of", ""),
    ("sbom/", "the software in each image (CycloneDX 1.6)", ""),
    ("ledger/", "what the ledger of the home says of each run", ""),
    ("ro-crate-metadata.json", "all of this for machines (RO-Crate 1.1, Process Run Crate 0.5)", ""),
)

_LOAD = """
The image, in a container engine of yours:

    tar -C data/image -cf - . | docker load
    docker run --rm --network none {tag} /opt/kernel/bin/python --version
"""

_README = """\
# {name}

This is an archive of {count} of notebooks, each executed once in a sealed container and recorded by nbseal. It is a
BagIt 1.0 bag (RFC 8493), and its `data` folder is an RO-Crate.

| run | notebook | status | ended (UTC) | hash |
|---|---|---|---|---|
{runs}
## What is in it

| below data/ | what |
|---|---|
{places}
Outside of `data`, `attestations/` may hold a signature of the tag manifest (OpenSSH), a provenance statement (in-toto,
SLSA, in a Sigstore bundle), the ledger's checkpoint with a proof that each run's end is in it, and a time stamp (RFC
3161). Without them the archive still proves that it is whole, but not whose it is.

## What is missing

{gone}
## How to check it

In the folder that holds this bag's `bagit.txt`:

    sha256sum --check --strict --quiet tagmanifest-sha256.txt
    sha256sum --check --strict --quiet manifest-sha256.txt
    find data -type f | wc -l        # as many as manifest-sha256.txt has lines

and each run's own seal:

    (cd data/runs/{first} && {unpack}sha256sum --check --strict --quiet manifest-sha256.txt)

This shows that nothing was changed since the bag was made. Who made it is shown by the signature, if you have got the
maker's public key from the maker and not from here, in a file `allowed_signers`:

    ssh-keygen -Y verify -f allowed_signers -I NAME -n nbseal-archive \\
        -s attestations/tagmanifest-sha256.txt.sig < tagmanifest-sha256.txt

A time stamp:

    openssl ts -verify -data tagmanifest-sha256.txt -in attestations/tagmanifest-sha256.txt.tsr -CAfile tsa.pem

A signature and a ledger prove nothing against whoever holds their key; a time stamp is the word of who gave it.

## How to run it again
{image}
With nbseal, which checks all of the above first{offline}:

    nbseal import FILE
    nbseal rerun {hash}
"""
