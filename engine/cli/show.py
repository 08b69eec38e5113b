"""One run for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine import pipeline
from engine.cli.terminal import complain, print_json, say, seconds_text, size_text, styled, table
from engine.model import Cause, Comparison, Difference, Json, Record, Seal
from engine.pipeline import Shown
from engine.results import clean_text
from engine.store import plain_flags, record_to_json

_STYLES = {"completed": "green", "failed": "red", "interrupted": "yellow", "lost": "yellow", "running": "cyan"}
_VERDICTS = {"identical": "green", "equivalent": "green", "close": "yellow", "different": "red"}


def record_json(record: Record, shown: Shown) -> dict[str, Any]:
    """The stable JSON form (docs/reference/record.md): the record, with the names that scripts rely on."""
    document = record_to_json(record)
    document["flags"] = plain_flags(record.flags)
    document["verdict"] = record.comparison.verdict if record.comparison else None
    document["label"] = shown.label
    document["comments"] = [{"time": item.time, "text": item.text} for item in shown.comments]
    document["seal"] = seal_json(shown.seal)
    document["imported"] = _import_json(shown.imported)
    return document


def seal_json(seal: Seal) -> dict[str, Any] | None:
    """A seal; None for a run without one."""
    if not seal.digest:
        return None
    return {
        "digest": seal.digest,
        "signature": seal.signature,
        "signer": seal.signer,
        "reason": seal.reason,
        "late": seal.late,
    }


def _import_json(entry: Json | None) -> Json | None:
    """Where a run came from, by the entry about its import; None for a run of this home."""
    if entry is None:
        return None
    signed = {"signature": entry.get("archive_signature"), "signer": entry.get("archive_signer") or ""}
    origin = {"ledger": entry.get("from"), "index": entry.get("from_index"), "ended": entry.get("from_time")}
    return {"time": entry.get("time"), "archive": entry.get("archive"), **signed, **origin}


def _import_text(entry: Json) -> str:
    whose = entry.get("archive_signer") or "nobody"
    known = {"trusted": " (trusted)", "unknown": " (unknown key)"}.get(str(entry.get("archive_signature")), "")
    origin = f" of {entry['from']}" if entry.get("from") else ""
    return f"{str(entry.get('time'))[:16].replace('T', ' ')}  from an archive{origin}, signed by {whose}{known}"


def styled_status(record: Record) -> str:
    """How a run ended, in its colour."""
    return styled(record.status, _STYLES[record.status])


def styled_verdict(judged: Comparison | Difference) -> str:
    """A verdict in its colour."""
    return styled(judged.verdict, _VERDICTS[judged.verdict])


def announce(record: Record) -> None:
    """Why a run did not complete, on stderr: the error with its cell and traceback, the limit."""
    outcome = record.outcome
    if outcome and outcome.error:
        say(clean_text(outcome.error.traceback).rstrip(), coloured=True)
        complain(
            f"Cell {outcome.error.cell + 1} raised {clean_text(outcome.error.name)}: {_first(outcome.error.value)}"
        )
    if outcome and outcome.reason and record.status != "completed" and (outcome.limit or not outcome.error):
        complain(_sentence(clean_text(outcome.reason)))


def judge(comparison: Comparison, with_what: str) -> None:
    """A verdict, on stdout, with each unit that is not identical."""
    said = styled_verdict(comparison)
    preposition = "from" if comparison.verdict == "different" else "to"
    print(f"{said} {preposition} {with_what}: {comparison.units} units compared")
    rows = [
        [clean_text(item.where), styled_verdict(item), _why(item), clean_text(item.detail)]
        for item in comparison.differences
    ]
    if rows:
        print(table(["unit", "verdict", "by", "what"], rows))


def explain(causes: Sequence[Cause]) -> None:
    """The cause of each difference, on stdout, with where it enters; then what shows it."""
    if not causes:
        return
    rows = [[clean_text(cause.unit), styled(cause.kind, "cyan"), clean_text(cause.enters)] for cause in causes]
    print()
    print(table(["unit", "cause", "enters at"], rows))
    print()
    shown: dict[tuple[str, str], list[str]] = {}
    for cause in causes:
        shown.setdefault((cause.kind, cause.evidence), []).append(cause.unit)
    for (kind, evidence), units in shown.items():
        print(f"{styled(kind, 'cyan')} ({clean_text(', '.join(units))}): {clean_text(evidence)}")
    if any(cause.kind in ("random", "clock") for cause in causes):
        print("`nbseal run --deterministic` holds seeds and the clock steady.")


def _why(difference: Difference) -> str:
    """What makes a unit equivalent or close: its normalisers, the size of the difference."""
    measures = list(difference.normalisers)
    if difference.largest is not None:
        measures.append(f"numbers {difference.largest:.1g}")
    if difference.likeness is not None:
        measures.append(f"likeness {difference.likeness:.4f}")
    return ", ".join(measures)


def show(record: Record, shown: Shown, *, as_json: bool) -> int:
    """One run, on stdout, with its traceback and its verdict."""
    if as_json:
        print_json(record_json(record, shown))
        return 0
    summarise(record, shown)
    outcome = record.outcome
    if outcome and outcome.error:
        print(clean_text(outcome.error.traceback).rstrip())
    elif outcome and outcome.reason:
        print(_sentence(clean_text(outcome.reason)))
    if record.comparison:
        judge(record.comparison, record.rerun_of)
    return 0


def summarise(record: Record, shown: Shown) -> None:
    """What a run was made from and what came out of it, on stdout."""
    took = f" in {seconds_text(record.outcome.duration)}" if record.outcome and record.outcome.duration else ""
    rows = [
        ("run", f"{record.id}  {styled_status(record)}{took}"),
        ("hash", record.hash),
        ("notebook", record.notebook),
        ("image", record.image),
    ]
    if record.rerun_of:
        rows.append(("rerun of", record.rerun_of))
    if record.experiment:
        rows.append(("part of", f"the diagnosis of {record.parent}: {record.experiment}"))
    elif record.parent:
        rows.append(("parent", record.parent))
    if measures := pipeline.measures(record):
        rows.append(("held", ", ".join(measures)))
    if gpus := pipeline.told_gpus(record):
        rows.append(("gpus", gpus))
    if record.flags:
        rows.append(("flags", "  ".join(f"{flag.name}={flag.literal}" for flag in record.flags)))
    rows += [("scalar", f"{name}  {value:g}") for name, value in record.scalars.items()]
    rows += [("file", f"{item.path}  {item.change}  {size_text(item.size)}") for item in record.outputs]
    rows += [("note", note) for note in record.notes]
    if shown.seal.digest:
        late = "  late" if shown.seal.late else ""
        rows.append(("seal", f"{shown.seal.digest}  {shown.seal}{late}"))
    if shown.imported:
        rows.append(("imported", _import_text(shown.imported)))
    if shown.label:
        rows.append(("label", shown.label))
    rows += [("comment", f"{item.time[:16].replace('T', ' ')}  {item.text}") for item in shown.comments]
    for name, text in rows:
        print(f"{styled(name.ljust(9), 'dim')} {clean_text(text)}")


def _first(text: str) -> str:
    lines = clean_text(text).strip().splitlines()
    return _sentence(lines[0] if lines else "no message")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
