"""The lines about an archive as a whole: its bytes, who vouches for it, since when, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine import archives
from engine.archives import layout
from engine.pipeline.auditing import again
from engine.pipeline.auditing.tally import Tally, Verdict, claimed, missing, proven
from engine.pipeline.checks import Checks, Named
from engine.pipeline.examining import Examined, ExaminedRun

#: What has to hold before a signature of the tag manifest says anything of the files.
BYTES: tuple[Named, ...] = (("manifests", ""), ("tag-manifest", ""))
_STAMPED: tuple[Named, ...] = (*BYTES, ("timestamp", ""))


@dataclass(frozen=True)
class Kind:
    """Why something is not there, in an archive or in what was gathered of a run."""

    unsigned: str
    unstated: str
    unstamped: str
    left_out: Mapping[str, str]  # by part
    lost: Mapping[str, str] = field(default_factory=dict)  # of a home: "source" or "inputs", and what is gone


NOBODY = "nobody"


def voucher(examined: Examined, run: ExaminedRun, checks: Checks) -> str:
    """Who vouches for what a record says: who sealed the run, else who signed the archive."""
    sealed = {("seal", run.listed.id), ("seal-signature", run.listed.id)} <= checks.passed
    if run.seal is not None and sealed and run.seal.signature == "trusted":
        return run.seal.signer
    if run.seal is not None and sealed and run.seal.signature == "unknown":
        return f"the holder of the key {run.seal.signer}"
    return signer(examined, checks)


def signer(examined: Examined, checks: Checks) -> str:
    """Who vouches for the files of the archive: a name, a key, or nobody."""
    word = examined.words.get("signature")
    if word is None or word.state == "absent" or not set(BYTES) <= checks.passed:
        return NOBODY
    return word.by if word.state == "trusted" else f"the holder of the key {word.by}"


def tell(examined: Examined, contents: archives.Contents | None, checks: Checks, tally: Tally, kind: Kind) -> None:
    """All lines about the archive."""
    _bytes(examined, tally)
    _who(examined, contents, checks, tally, kind)
    _when(examined, tally, kind)
    _itself(examined, contents, checks, tally, kind)


def _bytes(examined: Examined, tally: Tally) -> None:
    files = examined.received.files
    digest = files[layout.TAG_MANIFEST].digest if layout.TAG_MANIFEST in files else ""
    size = sum(file.size for file in files.values())
    tally.add(
        "container", "", "what",
        f"the {len(files):,} files, {size:,} bytes, are those that the manifests name, and no others",
        proven(f"both manifests, recomputed; the tag manifest is sha256:{digest}"),
        own=[*BYTES, ("attestations", ""), ("strays", ""), ("strays", layout.BLOBS),
             *(("digests", folder) for folder in archives.BY_DIGEST)],
    )  # fmt: skip


def _who(examined: Examined, contents: archives.Contents | None, checks: Checks, tally: Tally, kind: Kind) -> None:
    word = examined.words.get("signature", archives.Word("signature", "absent"))
    tally.add(
        "signature", "", "who", "a signature over all of the archive but its attestations",
        _of_word(word, "the signature of the tag manifest by", kind.unsigned),
        own=[("signature", "")], after=BYTES,
    )  # fmt: skip
    word = examined.words.get("provenance", archives.Word("provenance", "absent"))
    verdict = _of_word(word, "the signature of the statement by", kind.unstated)
    if word.state == "unknown" and word.by != (examined.key.fingerprint if examined.key else ""):
        verdict = claimed(f"nobody: without the key {word.by} its signature cannot be checked")
    own: list[Named] = [("provenance", "")]
    if word.state != "absent":
        own.append(("statement", ""))
        same = contents and checks.run("statement", "", again.check_statement, examined, contents)
        if not same and word.state == "trusted":
            verdict = claimed(f"{word.by}: another version wrote it, and this one would state something else")
    tally.add(
        "provenance", "", "who", "a statement about the runs, what they were made of, and the ledger",
        verdict, own=own, after=BYTES,
    )  # fmt: skip
    said = again.written_by(examined)[:500]
    tally.add(
        "software", "", "who", f"the archive was written by {said}" if said else "the software that wrote the archive",
        claimed(signer(examined, checks)) if said else missing(f"{layout.BAG_INFO} does not say by which"),
        after=BYTES,
    )  # fmt: skip


def _of_word(word: archives.Word, trusted: str, absent: str) -> Verdict:
    if word.state == "trusted":
        return signed(f"{trusted} {word.by}", word.by, word.key, word.note)
    if word.state == "absent":
        return missing(absent)
    return claimed(f"the holder of the key {word.by}: {word.note}", word.key)


def signed(how: str, name: str, key: str, note: str) -> Verdict:
    """Proven by a signature: whose, with which key, and as of which time where that is limited."""
    return proven(f"{how}, key {key}{f', {note}' if note else ''}", name, key)


def stamped(examined: Examined, checks: Checks) -> archives.Word | None:
    """The time stamp, where it proves its time."""
    word = examined.words.get("timestamp")
    return word if word and word.state == "trusted" and set(_STAMPED) <= checks.passed else None


def _when(examined: Examined, tally: Tally, kind: Kind) -> None:
    word = examined.words.get("ledger", archives.Word("ledger", "absent"))
    checkpoint = examined.checkpoint
    if checkpoint is None:
        tally.add(
            "ledger", "", "when", "a checkpoint of a ledger with entries about the runs",
            missing("there is no checkpoint"), own=[("ledger", "")],
        )  # fmt: skip
    else:
        if word.state == "trusted":
            verdict = signed(f"the signature of the checkpoint by {word.by}", word.by, word.key, word.note)
        elif word.state == "absent":
            verdict = claimed("nobody: it is not signed")
        else:
            whose = f"the holder of the key {word.key}" if word.key else "whoever signed it"
            verdict = claimed(f"{whose}: {word.note}", word.key)
        tally.add(
            "ledger", "", "when", f"the ledger {checkpoint.ledger} had {checkpoint.size:,} entries with one root",
            verdict, own=[("ledger", "")],
        )  # fmt: skip
        holder = word.by if word.state == "trusted" else "the holder of the ledger"
        tally.add(
            "one-ledger", "", "when", "that ledger is the only one, and hides no run",
            claimed(f"{holder}, who could write another; a checkpoint kept elsewhere would show it"),
            after=[("ledger", "")],
        )  # fmt: skip
    word = examined.words.get("timestamp", archives.Word("timestamp", "absent"))
    statement = (
        f"the archive existed at {word.when}" if word.when else "a time stamp of somebody else's over the archive"
    )
    if word.state == "absent":
        verdict = missing(kind.unstamped)
    elif word.state == "trusted":
        verdict = proven(f"the time stamp of {word.by}, certificate {word.key}", word.by, word.key)
    elif word.by:
        verdict = claimed(f"nobody: {word.by}")
    else:
        whose = f"whoever holds the key of the certificate {word.key}"
        verdict = claimed(f"{whose}: `nbseal keys trust NAME CERT.pem` trusts it, or the root above it", word.key)
    tally.add("timestamp", "", "when", statement, verdict, own=[("timestamp", "")], after=BYTES)


def _itself(examined: Examined, contents: archives.Contents | None, checks: Checks, tally: Tally, kind: Kind) -> None:
    """What the archive says of itself for programs and people, made again of what is sealed."""
    listing = examined.listing
    listed = [("listed", run.listed.id) for run in examined.runs]
    if contents is not None:
        checks.run("said", "", again.check_contents, examined, contents)
    count = f"{len(listing.runs)} run{'s' if len(listing.runs) > 1 else ''}" if listing else "its runs"
    tally.add(
        "contents", "", "what", f"archive.json and bag-info.txt list {count} and what is missing as it is",
        proven("the runs' own records, made again of them"),
        own=[("contents", ""), ("bag-info", ""), *listed, ("said", "")],
    )  # fmt: skip
    for name, path, what in (
        ("readme", layout.README, "README.md tells people what the archive holds"),
        ("crate", layout.CRATE, "ro-crate-metadata.json tells programs what the archive holds"),
    ):
        same = contents and checks.run(name, "", again.check_document, examined, contents, path)
        tally.add(name, "", "what", what, made_again(examined, checks, same=bool(same)), own=[(name, "")])
    if listing and "wheels" in listing.left_out:
        tally.add("packages", "", "from which bytes", _PACKAGES, missing(kind.left_out["wheels"]))
    elif listing:
        tally.add(
            "packages", "", "from which bytes", _PACKAGES,
            proven("their bytes, which have the digests in those records"),
            own=[("packages", "")], after=[("ingredients", ""), ("digests", layout.PACKAGES)],
        )  # fmt: skip


_PACKAGES = "the Debian packages that the records of the bases name"


def made_again(
    examined: Examined, checks: Checks, *, same: bool, whom: str = "", how: str = "making it again of the sealed files"
) -> Verdict:
    """Of something that was made again: what it is worth when that gave the same, or something else."""
    if same:
        return proven(how)
    return claimed(
        f"{whom or signer(examined, checks)}: it was written by {again.written_by(examined) or 'unnamed software'}, "
        "and differs from what this version makes of the sealed files: another version's wording, or forged"
    )
