"""``import``: what came out of an archive, whose word that is, and what it lacks."""

from __future__ import annotations

from pathlib import Path

from engine import pipeline
from engine.archives import Word
from engine.cli import show as one
from engine.cli.show import seal_json
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, print_json, say, styled, table
from engine.errors import BadInput
from engine.model import Json
from engine.results import clean_text
from engine.settings import find_home

_NAMES = {
    "signature": "signature of the archive",
    "provenance": "provenance statement",
    "ledger": "ledger that it comes from",
    "timestamp": "time stamp",
}
_WHY = {
    "trusted": "its key is in allowed_signers of this home",
    "unknown": "its key is not in allowed_signers of this home; `nbseal keys trust` adds one",
    "absent": "there is none: the archive is whole, but who made it is not proven",
}


_UNJUDGED = "no certificate that this home trusts vouches for it; `nbseal keys trust` adds one"


def import_archive(file: Path, *, as_json: bool) -> int:
    """Take the runs of an archive."""
    home = find_home()
    unlock(home)
    return _told(pipeline.import_archive(file, home, Terminal()), as_json=as_json)


def runs(file: Path, *, as_json: bool) -> int:
    """The runs of an archive, which is checked and not taken in."""
    return _told(pipeline.read_archive(file, find_home(), Terminal()), as_json=as_json, taken_in=False)


def show(prefix: str, file: Path, *, as_json: bool) -> int:
    """One run of an archive, which is checked and not taken in."""
    found = pipeline.read_archive(file, find_home(), Terminal()).runs
    record = pipeline.pick(prefix, [item.record for item in found])
    if record is None:
        names = ", ".join(item.record.id for item in found[:10])
        raise BadInput(f"There is no run '{prefix[:80]}' in {file.name}.", f"It has {names}.")
    (item,) = (item for item in found if item.record is record)
    return one.show(item.record, pipeline.Shown(item.seal, "", ()), as_json=as_json)


def _told(imported: pipeline.Imported, *, as_json: bool, taken_in: bool = True) -> int:
    if as_json:
        print_json(as_document(imported))
        return 0
    tell(imported, taken_in=taken_in)
    return 0


def as_document(imported: pipeline.Imported) -> Json:
    """What ``import --json`` prints."""
    return {
        "runs": [
            {
                "id": item.record.id,
                "hash": item.record.hash,
                "status": item.record.status,
                "notebook": item.record.notebook,
                "image": item.record.image,
                "seal": seal_json(item.seal),
                "known": item.known,
            }
            for item in imported.runs
        ],
        "attestations": [
            {"what": word.what, "state": word.state, "by": word.by, "when": word.when} for word in imported.words
        ],
        "absent": list(imported.absent),
    }


def vouch(imported: pipeline.Imported) -> None:
    """On stderr, who vouches for what came, and what did not."""
    for item in imported.absent:
        say(f"not in the archive: {clean_text(item)}")
    for word in imported.words:
        _tell(word)


def tell(imported: pipeline.Imported, *, taken_in: bool = True) -> None:
    """The same, and the runs."""
    vouch(imported)
    rows = [
        [
            item.record.id,
            item.record.hash[:12],
            item.record.status,
            clean_text(item.record.notebook),
            clean_text(str(item.seal)),
            ("was here already" if item.known else "imported") if taken_in else "",
        ]
        for item in imported.runs
    ]
    print(table(["run", "hash", "status", "notebook", "seal", ""], rows))


def _tell(word: Word) -> None:
    """One attestation, and why it counts or not."""
    if word.what == "timestamp":
        if word.state != "absent":
            why = "the certificate is trusted in this home" if word.state == "trusted" else _UNJUDGED
            whose = f" of {clean_text(word.by)}" if word.state == "trusted" else ""
            say(f"{_NAMES[word.what]}{whose} for {word.when or 'a time that cannot be read'}: {why}")
        return
    if word.what == "provenance" and word.state == "absent":
        return
    colour = {"trusted": "green", "unknown": "yellow", "absent": "yellow"}[word.state]
    whose = f" of {clean_text(word.by)}" if word.by else ""
    state = styled(word.state, colour, to_stderr=True)
    say(f"{_NAMES[word.what]}: {state}{whose}: {_WHY[word.state]}", coloured=True)
