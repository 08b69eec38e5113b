"""``push`` and ``pull``: runs to and from a registry."""

from __future__ import annotations

from engine import pipeline
from engine.cli.importing import as_document, tell, vouch
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, print_json, say, size_text
from engine.errors import BadInput
from engine.results import clean_text
from engine.settings import find_home


def push(run: str, place: str, left_out: list[str], *, as_json: bool) -> int:
    """Send a run and say by what it can be fetched."""
    home = find_home()
    unlock(home)
    done = pipeline.push(run, place, left_out, home, Terminal())
    reference = done.reference
    if as_json:
        print_json(
            {
                "reference": str(reference.pinned(done.digest)),
                "digest": done.digest,
                "tag": reference.tag,
                "run": done.contents.runs[0].record.id,
                "image": done.image,
                "sent": done.sent,
                "skipped": done.skipped,
                "left_out": sorted(done.contents.left_out),
                "missing": [{"what": item.what, "why": item.why} for item in done.contents.missing],
                "key": done.key,
                "unsigned": done.unsigned,
            }
        )
        return 0
    for part in sorted(done.contents.left_out):
        say(f"left out: {part}")
    for item in done.contents.missing:
        say(f"missing: {clean_text(item.what)}: {clean_text(item.why)}")
    say(f"{size_text(done.sent)} sent, {size_text(done.skipped)} were there already")
    say(f"signed by {done.key}" if done.key else f"unsigned: {done.unsigned}")
    if done.image:
        say(f"image {done.image}")
    print(f"{reference}\n{reference.pinned(done.digest)}")
    return 0


def pull(place: str, *, as_json: bool) -> int:
    """Take a run from a registry."""
    done = _pulled(place)
    if as_json:
        print_json(
            {
                "reference": str(done.reference),
                "digest": done.reference.digest,
                "received": done.received,
                "skipped": done.skipped,
                **as_document(done.imported),
            }
        )
        return 0
    say(f"{size_text(done.received)} received, {size_text(done.skipped)} were here already")
    tell(done.imported)
    return 0


def fetched(place: str) -> str:
    """The id of the one run that lies there, which is in the home then."""
    done = _pulled(place)
    vouch(done.imported)
    if len(done.imported.runs) != 1:
        ids = ", ".join(item.record.id for item in done.imported.runs[:10])
        raise BadInput(f"There is more than one run at {place}.", f"They are in the home now; rerun one of {ids}.")
    return done.imported.runs[0].record.id


def _pulled(place: str) -> pipeline.Pulled:
    home = find_home()
    unlock(home)
    return pipeline.pull(place, home, Terminal())
