"""What may be done to an unpacked archive, one thing at a time, and who must see it.

``caught_by`` names the checks of docs/how-to/audit-without-nbseal.md that each alone see the edit. The archive to be
edited holds two runs, is signed, and lies where ``tests/forging.py`` says; for ``TIMESTAMP_EDITS`` it has a time stamp.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engine.archives import layout
from tests import forging
from tests.edits import (
    BUNDLE,
    POINT,
    PROOF,
    SEAL,
    SIG,
    STAMP,
    Apply,
    add,
    borrow,
    bundle,
    change,
    config,
    document,
    dsse,
    each,
    executable,
    flag,
    flip,
    foreign_note,
    image_manifest,
    in_run,
    input_blob,
    last_bit,
    last_line,
    layer,
    link,
    no_entries,
    note,
    of_record,
    older,
    other_ledger,
    output,
    remove,
    remove_all,
    rename,
    resealed,
    second_note,
    swap,
)
from tests.forging import FORGERS, find, rebag, retag, unsign, write


@dataclass(frozen=True)
class Edit:
    """One edit. ``entry`` is what a refusal must name.

    ``told`` is None where the archive must be refused. Else an archive may well be so, and a program must say these
    words of it, which it does not say of the untouched one: "signature: absent", "run: unsigned".
    """

    name: str
    apply: Apply
    entry: str
    caught_by: frozenset[str] = frozenset()
    told: frozenset[str] | None = None


# --- who sees it ------------------------------------------------------------------------------

_NOBODY: frozenset[str] = frozenset()
_LIST = frozenset({"listing"})
_RUNS = frozenset({"runs"})
_DIGESTS = frozenset({"digests"})
_SIGNATURE = frozenset({"signature"})
_PROVENANCE = frozenset({"provenance"})
_STAMPED = frozenset({"timestamp"})
_LEDGER = frozenset({"ledger"})
_CHECKPOINT = frozenset({"checkpoint"})
_CHANGED = frozenset({"payload", "bagit"})
_EXTRA = frozenset({"payload-complete", "bagit"})
_GONE = _CHANGED | _EXTRA
_TAGS = frozenset({"tag-manifest", "bagit"})
_RUN = _CHANGED | {"runs"}
_NAMED = _CHANGED | {"digests"}
#: Whatever covers the tag manifest.
_SIGNED = frozenset({"signature", "provenance", "timestamp"})
_STRIPPED = _LIST | _SIGNED | {"checkpoint", "ledger"}
_ABSENT = frozenset({"signature: absent", "provenance: absent", "ledger: absent"})
_UNKNOWN = frozenset({"signature: unknown", "provenance: unknown"})


def _flips() -> Iterable[Edit]:
    """A bit of each kind of file."""
    for name in (
        "executed.ipynb", "notebook.ipynb", "original.ipynb", "run.json", "source.json", "inputs.json", "outputs.json",
        "irregular.json", "scalars.jsonl", "events.jsonl", "log.txt", "requirements.lock", "manifest-sha256.txt",
        "manifest-sha256.txt.sig",
    ):  # fmt: skip
        yield Edit(f"flip {name} of a run", flip(f"data/runs/*/{name}"), name, _RUN)
    yield Edit(
        "flip an output file",
        output,
        "out.txt",
        _RUN,
    )
    yield Edit("flip a source file", flip("data/blobs/*"), "data/blobs/", _NAMED)
    yield Edit("flip an input", input_blob, "data/blobs/", _NAMED)
    yield Edit("flip a wheel", flip("data/wheels/*/*.whl"), ".whl", _NAMED)
    yield Edit("flip a Debian package", flip("data/packages/*/*.deb"), ".deb", _NAMED)
    for name in layout.BASE_FILES:
        yield Edit(f"flip {name} of a base", flip(f"data/bases/*/{name}"), f"/{name}", _CHANGED)
    yield Edit("flip a layer", layer, "data/image/blobs/", _NAMED)
    yield Edit("flip an image's config", config, "data/image/blobs/", _NAMED | {"image"})
    yield Edit("flip an image's manifest", image_manifest, "data/image/blobs/", _NAMED)
    for name in (
        "image/index.json",
        "image/manifest.json",
        "image/oci-layout",
        layout.CRATE,
        "README.md",
        "archive.json",
    ):
        yield Edit(f"flip {name}", flip(f"data/{name}"), f"data/{name}", _CHANGED)
    yield Edit("flip an SBOM", flip("data/sbom/*.cdx.json"), ".cdx.json", _CHANGED)
    yield Edit("flip a page", flip("data/pages/*.html"), ".html", _CHANGED)
    yield Edit("flip a ledger's entries", flip("data/ledger/*.json"), "data/ledger/", _CHANGED)
    yield Edit("flip bagit.txt", flip("bagit.txt"), "bagit.txt", _TAGS)
    yield Edit("flip bag-info.txt", flip("bag-info.txt"), "bag-info.txt", _TAGS)
    yield Edit("flip the payload's manifest", flip("manifest-sha256.txt"), "manifest-sha256.txt", _TAGS)
    yield Edit("flip the tag manifest", flip("tagmanifest-sha256.txt"), "tagmanifest-sha256.txt", _SIGNED)
    yield Edit("flip the signature", flip(SIG), layout.SIGNATURE, _SIGNATURE)
    yield Edit("flip the provenance", flip(BUNDLE), layout.PROVENANCE, _PROVENANCE)
    yield Edit("flip the checkpoint", flip(POINT), "checkpoint", _LEDGER)
    yield Edit("flip a proof", flip(PROOF), ".tlog-proof", _LEDGER)


_STRAYS = (
    Edit("stray beside the bag", lambda bag: write(bag.parent / "x", b"x"), "'x'", _LIST),
    Edit("stray in the bag", add("notes.txt"), "notes.txt", _LIST),
    Edit("stray tag folder", add("tags/notes.txt"), "tags/notes.txt", _LIST),
    Edit("stray in data", add("data/notes.txt"), "data/notes.txt", _EXTRA),
    Edit("stray in data/runs", add("data/runs/notes.txt"), "data/runs/notes.txt", _EXTRA),
    Edit("stray run", add("data/runs/0123456789abcdef/run.json", b"{}"), "0123456789abcdef", _EXTRA),
    Edit("stray in a run", add("data/runs/{run}/notes.txt"), "notes.txt", _EXTRA | {"runs"}),
    Edit("stray in project", add("data/runs/{run}/project/notes.txt"), "notes.txt", _EXTRA | {"runs"}),
    Edit("stray in image", add("data/image/notes.txt"), "data/image/notes.txt", _EXTRA),
    Edit("stray layer", add("data/image/blobs/sha256/" + "0" * 64), "0" * 64, _EXTRA | {"digests"}),
    Edit("stray page", add("data/pages/0123456789abcdef.html"), "0123456789abcdef.html", _EXTRA),
    Edit("stray attestation", add("attestations/notes.txt"), "attestations/notes.txt", _LIST),
    Edit("stray proof", add("attestations/0123456789abcdef.tlog-proof"), "0123456789abcdef.tlog-proof", _LIST),
    Edit("second manifest", add("manifest-md5.txt"), "manifest-md5.txt", _LIST),
    Edit("fetch.txt", add("fetch.txt", b"https://example.org/x 1 data/x\n"), "fetch.txt", _LIST),
    Edit("empty folder", lambda bag: (bag / "data/empty").mkdir(), "data/empty", _LIST),
    Edit("link in place of a file", link, "nbseal.yml", _LIST | {"payload-complete"}),
    Edit("executable document", executable("data/pages/*.html"), ".html", _LIST),
    # What a work tree's modes are, nothing records but the tar.
    Edit(
        "executable output",
        in_run(lambda bag, run: executable(f"data/runs/{run.name}/project/out.txt")(bag)),
        "out.txt",
        told=_NOBODY,
    ),
)

_MOVES = (
    Edit("a run's record removed", remove("data/runs/*/run.json"), "run.json", _GONE | {"runs"}),
    Edit("a wheel removed", remove("data/wheels/*/*.whl"), ".whl", _GONE),
    Edit("a page removed", remove("data/pages/*.html"), ".html", _GONE),
    Edit("a ledger's entries removed", remove("data/ledger/*.json"), "data/ledger/", _GONE | {"ledger"}),
    Edit("bagit.txt removed", remove("bagit.txt"), "bagit.txt", _TAGS | _LIST),
    Edit("bag-info.txt removed", remove("bag-info.txt"), "bag-info.txt", _TAGS | _LIST),
    Edit("manifest removed", remove("manifest-sha256.txt"), "manifest-sha256.txt", _TAGS | _LIST | {"payload"}),
    Edit("tag manifest removed", remove("tagmanifest-sha256.txt"), "tagmanifest-sha256.txt", _LIST | {"tag-manifest"}),
    Edit("a page renamed", rename("data/pages/*.html", "0123456789abcdef.html"), ".html", _GONE),
    Edit("README.md in lower case", rename("data/README.md", "readme.md"), "eadme.md", _GONE),
    Edit("two wheels swapped", swap("data/wheels/*/*.whl"), ".whl", _NAMED),
    Edit("two records swapped", swap("data/runs/*/run.json"), "run.json", _RUN),
    Edit("two seals swapped", swap(SEAL), "manifest-sha256.txt", _RUN),
    Edit("two runs' signatures swapped", swap(f"{SEAL}.sig"), "manifest-sha256.txt.sig", _RUN),
    Edit("two pages swapped", swap("data/pages/*.html"), ".html", _CHANGED),
    Edit("two ledgers' entries swapped", swap("data/ledger/*.json"), "data/ledger/", _CHANGED | {"ledger"}),
    Edit("two proofs swapped", swap(PROOF), ".tlog-proof", _LEDGER),
)


def _lines(edit: Callable[[bytes], bytes], name: str = "manifest-sha256.txt") -> Apply:
    """The form of a manifest changed; with the tag manifest made to fit when it is the payload's."""
    return each(change(name, edit), retag) if name == layout.MANIFEST else change(name, edit)


def _first_upper(data: bytes) -> bytes:
    return data[:64].upper() + data[64:]


_FORMS = {
    "a line twice": lambda data: data + data[: data.index(b"\n") + 1],
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "upper-case hex": _first_upper,
    "binary marker": lambda data: data[:65] + b"*" + data[66:],
    "./ before a path": lambda data: data[:66] + b"./" + data[66:],
    "no line end at the end": lambda data: data[:-1],
    "a line less": lambda data: data[data.index(b"\n") + 1 :],
}


def _forms() -> Iterable[Edit]:
    for name, edit in _FORMS.items():
        seen = _SIGNED | (frozenset({"payload-complete"}) if name == "a line less" else _NOBODY)
        # A forger leaves the signature out that would show it, or leaves it in.
        yield Edit(f"manifest: {name}", change(layout.MANIFEST, edit), "manifest-sha256.txt", _TAGS)
        yield Edit(f"manifest: {name}, tagged", _lines(edit), "manifest-sha256.txt", seen)
        yield Edit(f"manifest: {name}, unsigned", each(_lines(edit), unsign), "manifest-sha256.txt", _STRIPPED)
        yield Edit(f"tag manifest: {name}", change(layout.TAG_MANIFEST, edit), "tagmanifest-sha256.txt", _SIGNED)
    for name, old, new in (
        ("a label more", b"Bagging-Date", b"Source-Organization: Forgers\nBagging-Date"),
        ("another date", b"Bagging-Date: 2", b"Bagging-Date: 1"),
        ("another seal", b"External-Identifier: sha256:", b"External-Identifier: sha256:0"),
    ):
        edit_info = change(layout.BAG_INFO, lambda data, old=old, new=new: data.replace(old, new, 1))  # type: ignore[misc]
        yield Edit(f"bag-info: {name}", edit_info, "bag-info.txt", _TAGS)
        told = _ABSENT if name == "another date" else None
        entry = layout.SIGNATURE if told else "bag-info.txt"
        yield Edit(f"bag-info: {name}, tagged", each(edit_info, retag), entry, _SIGNED)
        yield Edit(f"bag-info: {name}, unsigned", each(edit_info, retag, unsign), "bag-info.txt", _STRIPPED, told)


#: Edits whose every digest was made to fit: what else sees them, and what an import must name or say of them unsigned.
_CONSISTENT: tuple[tuple[str, Apply, frozenset[str], str, frozenset[str] | None], ...] = (
    ("an output file", output, _RUNS, "out.txt", None),
    ("a record", of_record(lambda record: record.update(status="failed")), _RUNS, "run.json", None),
    ("a source file", flip("data/blobs/*"), _DIGESTS, "data/blobs/", None),
    ("a wheel", flip("data/wheels/*/*.whl"), _DIGESTS, ".whl", None),
    ("a layer", layer, _DIGESTS, "data/image/blobs/", None),
    ("an SBOM", change("data/sbom/*.cdx.json", lambda data: data + b"\n"), _NOBODY, "", _ABSENT),
    ("a page", change("data/pages/*.html", lambda data: data + b"<p>1"), _NOBODY, "", _ABSENT),
    ("the README", change("data/README.md", lambda data: data + b"\n"), _NOBODY, "", _ABSENT),
    ("the crate", change("data/ro-crate-metadata.json", lambda data: data + b"\n"), _NOBODY, "", _ABSENT),
    ("archive.json", document("data/archive.json", lambda d: d.update(left_out=["wheels"])), _NOBODY, "", None),
    ("an extra file in a run", add("data/runs/{run}/notes.txt"), _RUNS, "notes.txt", None),
    ("an extra wheel", add("data/wheels/" + "0" * 64 + "/x-1-py3-none-any.whl"), _DIGESTS, "x-1-py3", None),
    ("a wheel less", remove("data/wheels/*/*.whl"), _NOBODY, ".whl", None),
    ("a page less", remove("data/pages/*.html"), _NOBODY, ".html", None),
    (
        "another status, resealed",
        each(of_record(lambda record: record.update(status="failed")), resealed),
        _NOBODY,
        "archive.json",
        None,
    ),
    ("another flag and its hash, resealed", each(flag, resealed), _NOBODY, "", _ABSENT | {"run: unsigned"}),
    (
        "another network in the spec, resealed",
        each(of_record(lambda record: record["spec"].update(network=True)), resealed),
        _NOBODY,
        "hash",
        None,
    ),
    (
        "an extra key in run.json, resealed",
        each(of_record(lambda record: record.update(note="x")), resealed),
        _NOBODY,
        "",
        _ABSENT | {"run: unsigned"},
    ),
    (
        "an output, resealed",
        each(in_run(lambda bag, run: flip(f"data/runs/{run.name}/executed.ipynb")(bag)), resealed),
        _NOBODY,
        "",
        _ABSENT | {"run: unsigned"},
    ),
)


def _forgeries() -> Iterable[Edit]:
    for name, apply, also, entry, told in _CONSISTENT:
        yield Edit(f"{name}, bagged anew", each(apply, rebag), layout.SIGNATURE, _SIGNED | also)
        yield Edit(f"{name}, bagged anew, unsigned", each(apply, rebag, unsign), entry, _STRIPPED | also, told)
    more = each(document("data/archive.json", lambda contents: contents.update(note="x")), rebag)
    yield Edit("an extra key in archive.json, bagged anew", more, "archive.json", _SIGNED)
    yield Edit("an extra key in archive.json, bagged anew, unsigned", each(more, unsign), "archive.json", _STRIPPED)
    page = change("data/pages/*.html", lambda data: data + b"<p>1")
    yield Edit(
        "a page, bagged anew, signed by a forger", each(page, rebag, forging.countersign), "", _SIGNED,
        _UNKNOWN,
    )  # fmt: skip
    output = in_run(lambda bag, run: change(f"data/runs/{run.name}/log.txt", lambda data: data + b"1")(bag))
    yield Edit(
        "a log, resealed and all signed by a forger",
        each(output, resealed, in_run(lambda bag, run: forging.sign_run(run)), rebag, forging.countersign),
        ".tlog-proof", _SIGNED | {"ledger", "runs"},
    )  # fmt: skip
    yield Edit(
        "no entries of a run, bagged anew",
        each(no_entries, rebag, forging.countersign),
        ".tlog-proof",
        _SIGNED | {"ledger"},
    )


_ATTESTATIONS = (
    Edit("signature removed", remove(SIG), "", _LIST | {"signature"}, frozenset({"signature: absent"})),
    Edit("provenance removed", remove(BUNDLE), "", _LIST | {"provenance"}, frozenset({"provenance: absent"})),
    Edit(
        "checkpoint and proofs removed",
        each(remove(POINT), remove_all(PROOF)),
        "",
        _LIST | {"ledger"},
        frozenset({"ledger: absent"}),
    ),
    Edit("all attestations removed", unsign, "", _STRIPPED, _ABSENT),
    Edit("checkpoint removed", remove(POINT), ".tlog-proof", _LIST | {"ledger"}),
    Edit("a proof removed", remove(PROOF), ".tlog-proof", _LIST | {"ledger"}),
    # signatures
    Edit("another archive's signature", borrow(SIG), layout.SIGNATURE, _SIGNATURE),
    Edit("another archive's provenance", borrow(BUNDLE), layout.PROVENANCE, _PROVENANCE),
    Edit(
        "a run's signature for the archive's",
        lambda bag: write(bag / SIG, find(bag, f"{SEAL}.sig").read_bytes()),
        layout.SIGNATURE,
        _SIGNATURE,
    ),
    Edit("signed by a forger", forging.countersign, "", frozenset({"signature", "provenance"}), _UNKNOWN),
    Edit("text before the signature", change(SIG, lambda data: b"hello\n" + data), layout.SIGNATURE, _SIGNATURE),
    Edit("text after the signature", change(SIG, lambda data: data + b"hello\n"), layout.SIGNATURE, _SIGNATURE),
    Edit(
        "blanks in the signature",
        change(SIG, lambda data: data[:-1] + b" \n"),
        layout.SIGNATURE,
        _SIGNATURE,
    ),
    # the bundle
    Edit(
        "bundle: another hint",
        bundle(lambda d: d["verificationMaterial"]["publicKey"].update(hint="SHA256:x")),
        layout.PROVENANCE,
        _PROVENANCE,
    ),
    Edit(
        "bundle: another key id",
        bundle(lambda d: d["dsseEnvelope"]["signatures"][0].update(keyid=FORGERS.fingerprint)),
        layout.PROVENANCE,
        _PROVENANCE,
    ),
    Edit(
        "bundle: the forger's key id everywhere",
        each(
            bundle(lambda d: d["verificationMaterial"]["publicKey"].update(hint=FORGERS.fingerprint)),
            bundle(lambda d: d["dsseEnvelope"]["signatures"][0].update(keyid=FORGERS.fingerprint)),
        ),
        "",
        _PROVENANCE,
        frozenset({"provenance: unknown"}),
    ),
    Edit("bundle: a member more", bundle(lambda d: d.update(note="x")), layout.PROVENANCE, _PROVENANCE),
    Edit(
        "bundle: a member more in the envelope",
        bundle(lambda d: d["dsseEnvelope"].update(note="x")),
        layout.PROVENANCE,
        _PROVENANCE,
    ),
    Edit(
        "bundle: a member more in the material",
        bundle(lambda d: d["verificationMaterial"].update(certificate={})),
        layout.PROVENANCE,
        _PROVENANCE,
    ),
    Edit(
        "bundle: an entry of a log",
        bundle(lambda d: d["verificationMaterial"].update(tlogEntries=[{}])),
        layout.PROVENANCE,
        _PROVENANCE,
    ),
    Edit(
        "bundle: a second signature",
        bundle(lambda d: d["dsseEnvelope"]["signatures"].append({"sig": "AAAA", "keyid": "x"})),
        layout.PROVENANCE,
        _PROVENANCE,
    ),
    Edit(
        "bundle: another payload type",
        bundle(lambda d: d["dsseEnvelope"].update(payloadType="text/plain")),
        layout.PROVENANCE,
        _PROVENANCE,
    ),
    Edit(
        "bundle: a key twice",
        change(BUNDLE, lambda data: data.replace(b"{", b'{"dsseEnvelope":{},', 1)),
        layout.PROVENANCE,
        _PROVENANCE,
    ),
    Edit("bundle: blanks", change(BUNDLE, lambda data: data + b"\n"), layout.PROVENANCE, _PROVENANCE),
    Edit("bundle: the same signature in other base64", change(BUNDLE, dsse), layout.PROVENANCE, _PROVENANCE),
    # checkpoint and proofs
    Edit("checkpoint: another archive's", borrow(POINT), "checkpoint", _LEDGER),
    Edit("checkpoint: the older one and its proofs", older, ".tlog-proof", _LEDGER),
    Edit("checkpoint: of another ledger", note(other_ledger), "", _CHECKPOINT, frozenset({"ledger: unknown"})),
    Edit("checkpoint: signed by a forger", note(foreign_note), "", _CHECKPOINT, frozenset({"ledger: unknown"})),
    Edit(
        "checkpoint: no signature",
        note(lambda data: data.partition(b"\n\n")[0] + b"\n\n"),
        "",
        _CHECKPOINT,
        frozenset({"ledger: absent"}),
    ),
    Edit("checkpoint: a second signature", note(second_note), "checkpoint", _CHECKPOINT),
    Edit(
        "checkpoint: an extension line",
        note(lambda data: data.replace(b"\n\n", b"\nmore\n\n", 1)),
        "checkpoint",
        _CHECKPOINT,
    ),
    Edit("checkpoint: the same signature in other base64", note(last_line), "checkpoint", _CHECKPOINT),
    Edit(
        "proof: a hash more",
        change(PROOF, lambda data: data.replace(b"\n\n", b"\n" + base64.b64encode(bytes(32)) + b"\n\n", 1)),
        ".tlog-proof",
        _LEDGER,
    ),
    Edit(
        "proof: another index",
        change(PROOF, lambda data: data.replace(b"\nindex ", b"\nindex 1", 1)),
        ".tlog-proof",
        _LEDGER,
    ),
    Edit(
        "proof: an extra line",
        change(PROOF, lambda data: data.replace(b"\nindex ", b"\nextra eA==\nindex ", 1)),
        ".tlog-proof",
        _LEDGER,
    ),
    Edit("proof: another archive's", borrow(PROOF), ".tlog-proof", _LEDGER),
)

EDITS: tuple[Edit, ...] = (*_flips(), *_STRAYS, *_MOVES, *_forms(), *_forgeries(), *_ATTESTATIONS)

#: Whoever does not have the authority's certificate sees nothing of the first. (Of the certificates that a stamp brings
#: along, some are neither signed nor needed, so that a bit somewhere in it may be flipped unseen.)
TIMESTAMP_EDITS: tuple[Edit, ...] = (
    Edit("flip the time stamp", change(STAMP, last_bit), layout.TIMESTAMP, _STAMPED, _NOBODY),
    Edit("time stamp removed", remove(STAMP), "", frozenset({"timestamp"}), frozenset({"timestamp: absent"})),
    Edit("time stamp that is none", change(STAMP, lambda data: b"x"), layout.TIMESTAMP, _STAMPED),
    Edit("another archive's time stamp", borrow(STAMP), layout.TIMESTAMP, _STAMPED),
)
