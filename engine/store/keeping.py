"""What is said and done about runs after they ended: labels, comments, deletion, and entries that are missing."""

from __future__ import annotations

from contextlib import suppress

from engine.digests import digest_of
from engine.errors import BadInput, NbsealError
from engine.files import remove_tree, sync_directory
from engine.model import Record
from engine.settings import Home
from engine.store import ledger, sealing
from engine.store.directory import open_run
from engine.store.histories import History
from engine.store.incoming import finish_imports
from engine.store.index import all_histories, history_of, undone
from engine.store.locks import disown, is_owned, own
from engine.store.record import RUN_ID, read_record

MAX_TEXT = 10_000


def label(home: Home, run_id: str, text: str) -> None:
    """Give a run a short name for people; an empty one takes it away. The last one counts."""
    ledger.append(home, "label", run=run_id, text=_checked(text, "label", 100))


def comment(home: Home, run_id: str, text: str) -> None:
    """Say something about a run."""
    if not text.strip():
        raise BadInput("An empty comment says nothing.", "Give its text in quotes.")
    ledger.append(home, "comment", run=run_id, text=_checked(text, "comment", MAX_TEXT))


def delete(home: Home, run_id: str) -> None:
    """Take a run out of the lists: its directory goes to the trash as it is, its entries stay."""
    with own(home, run_id) as owned:
        if not owned:
            raise BadInput(f"Run {run_id} is being worked on.", "Wait until it has ended.")
        # Somebody else may have been faster than whoever found it.
        if not open_run(home, run_id).path.exists() or history_of(home, run_id)[0].state in ("deleted", "purged"):
            raise BadInput(f"Run {run_id} is deleted already.", "`nbseal runs` lists what is there.")
        if (home.trash / run_id).exists():
            raise BadInput(f"There is a run {run_id} in the trash already.", f"Look into {home.trash / run_id}.")
        ledger.append(home, "deleted", run=run_id)
        _to_trash(home, run_id)
        disown(home, run_id)


def purge(home: Home, run_id: str, archive: str = "") -> None:
    """Remove a deleted run for good, or enter that its directory is gone from the trash.

    ``archive`` is the digest of the tag manifest of an archive that was just seen to hold it.
    """
    with own(home, run_id) as owned:
        if not owned:
            raise BadInput(f"Run {run_id} is being worked on.", "Wait until that is done.")
        if history_of(home, run_id)[0].state != "deleted":
            raise BadInput(f"Run {run_id} is not deleted, or purged already.", "`nbseal runs` lists what is there.")
        ledger.append(home, "purged", run=run_id, **({"archive": archive} if archive else {}))
        _out_of_trash(home, run_id)
        disown(home, run_id)


def find_deleted(home: Home, prefix: str) -> str:
    """The id of the deleted run that a user means by the beginning of it; BadInput for any other."""
    wanted = prefix.strip().lower()
    found = sorted(run for run, history in all_histories(home).items() if history.state == "deleted")
    fitting = [run for run in found if wanted and run.startswith(wanted)]
    if len(fitting) > 1:
        raise BadInput(f"'{prefix[:80]}' is ambiguous: {', '.join(fitting[:10])}.", "Give more of the id.")
    if not fitting:
        raise BadInput(
            f"There is no deleted run '{prefix[:80]}'.",
            f"Only deleted runs are purged; deleted are: {', '.join(found[:10]) or 'none'}.",
        )
    return fitting[0]


def catch_up(home: Home) -> tuple[str, ...]:
    """Do what killed commands left undone: entries that are missing, deleted runs that still lie there; what was done.

    A finished run that the ledger has never heard of is ``fsck``'s to judge.
    """
    done = list(finish_imports(home))
    for run_id, status in undone(home):
        if not is_owned(home, run_id):
            with own(home, run_id) as owned:
                if owned:
                    done += _caught_up(home, run_id)
                if owned and status != "running":
                    disown(home, run_id)
    if home.trash.is_dir() and (left := [path.name for path in home.trash.iterdir() if RUN_ID.fullmatch(path.name)]):
        known = all_histories(home)
        for run_id in left:
            if known.get(run_id, History()).state != "purged":
                continue
            with own(home, run_id) as owned:
                if not owned:
                    continue
                _out_of_trash(home, run_id)
                disown(home, run_id)
                done.append(f"Run {run_id} had been purged but for its directory; it is removed now.")
    return tuple(done)


def _caught_up(home: Home, run_id: str) -> tuple[str, ...]:
    try:
        told = _do(home, run_id, history_of(home, run_id)[0])
    except NbsealError:  # a damaged run, which keeps no other from being read
        return ()
    return (told,) if told else ()


def seal_late(home: Home, run_id: str, record: Record) -> None:
    """Seal a run that was recorded by a version without seals, as it is now."""
    run = open_run(home, run_id)
    # Entered first: whoever is killed before the end is entered leaves what ``catch_up`` completes.
    if not history_of(home, run_id)[0].state:
        ledger.append(home, "begun", run=run_id, hash=record.hash, late=True)
    facts = sealing.seal(run, run.record.read_bytes(), record.limits.work_tree)
    ledger.append(home, "ended", run=run_id, status=record.status, late=True, **facts)


def _do(home: Home, run_id: str, history: History) -> str:
    run = open_run(home, run_id)
    if history.state == "deleted":
        if run.path.is_dir() and not (home.trash / run_id).exists():
            _to_trash(home, run_id)
            return f"Run {run_id} had been deleted but for its directory; it is in the trash now."
        return ""
    record = read_record(run.record)
    if record.status == "running":
        if not history.state:
            ledger.append(home, "begun", run=run_id, hash=record.hash, late=True)
        return ""
    if history.state in ("begun", "discarded") and (facts := sealing.sealed_facts(run)):
        ledger.append(home, "ended", run=run_id, status=record.status, late=True, **facts)
        return f"Run {run_id} had ended without its entry in the ledger; it has one now, which says that it came late."
    return ""


def _to_trash(home: Home, run_id: str) -> None:
    home.trash.mkdir(parents=True, exist_ok=True)
    open_run(home, run_id).path.rename(home.trash / run_id)
    sync_directory(home.runs)
    sync_directory(home.trash)


def _out_of_trash(home: Home, run_id: str) -> None:
    # Renamed first: whoever is killed in between leaves rubbish in tmp/, which is swept, and no half run.
    rubbish = home.temporary / run_id
    home.temporary.mkdir(parents=True, exist_ok=True)
    remove_tree(rubbish)
    with suppress(FileNotFoundError):
        (home.trash / run_id).rename(rubbish)
        sync_directory(home.trash)
        remove_tree(rubbish)


def _checked(text: str, what: str, limit: int) -> str:
    text = text.strip()
    try:
        digest_of(text)
    except ValueError:
        raise BadInput(f"This {what} is not plain text.", "Give it as UTF-8.") from None
    if len(text) > limit or any(ord(character) < 0x20 and character not in "\n\t" for character in text):
        raise BadInput(
            f"This {what} is longer than {limit} characters or has control characters.", "Give a plainer one."
        )
    return text
