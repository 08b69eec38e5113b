"""The whole home held against its seals, its ledger and its digests. What is only a cache is made anew, and told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine import signing
from engine.errors import NbsealError
from engine.hashing import hash_files
from engine.model import Record
from engine.progress import Progress
from engine.settings import EXIT_FILE, Home
from engine.store import sealing
from engine.store.directory import RunDirectory
from engine.store.histories import History
from engine.store.index import all_histories, history_of, rebuild
from engine.store.keeping import catch_up, seal_late
from engine.store.ledger_check import check_ledger
from engine.store.ledger_files import Checkpoint
from engine.store.ledger_files import folder as ledger_folder
from engine.store.locks import is_owned
from engine.store.record import RUN_ID, read_json, read_record
from engine.store.report import Finding, Report, counted
from engine.store.runs import sweep
from engine.store.seal import MANIFEST, SIGNATURE, Check
from engine.store.source import printable

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HOW = {"changed": "was changed", "added": "was added", "removed": "is gone"}


@dataclass(frozen=True)
class _Content:
    """A file that is kept under its digest."""

    where: str
    path: Path
    digest: str
    size: int


def fsck(home: Home, progress: Progress, only: Sequence[str] | None = None, kept: Checkpoint | None = None) -> Report:
    """Check everything, or the ledger and the runs with the ids ``only``; the ledger also against a ``kept`` one."""
    ledger = check_ledger(home, kept)
    findings, repairs = list(ledger.findings), list(ledger.repairs)
    with suppress(OSError):  # of a home that cannot be written, what can be found is found
        sweep(home)
        if only is None and rebuild(home):
            repairs.append("The index was out of step; it was made anew.")
        if ledger.readable:
            repairs += catch_up(home)
    known = all_histories(home)
    runs = _Runs(home, known, readable=ledger.readable)
    for name, run in _directories(home):
        if only is None or name in only:
            runs.take(run)
    contents = [] if only is not None else list(_contents(home))
    notes = list(ledger.notes)
    if only is None:
        findings += runs.missing()
        findings += _damaged_key(home)
        notes += _strays(home)

    files = [(f"{check.run.path}/{path}", size) for check in runs.checks for path, size in check.sizes.items()]
    files += [(os.fspath(content.path), content.size) for content in contents]
    total = sum(size for _, size in files)
    with progress.task(f"checking {len(files):,} files", total) as advance:
        digests = hash_files(files, advance)
        for check in runs.checks:
            findings += runs.judge(check, {path: next(digests) for path in check.sizes})
        bases = _base_layers(home)
        for content, digest in zip(contents, digests, strict=True):
            if digest != content.digest:
                _damaged(content, bases, findings, repairs)
    findings += runs.findings
    repairs += runs.seal_old(findings)
    return Report(
        len(runs.checks), ledger.size, len(files), total, ledger.checkpoint,
        tuple(findings), tuple(repairs), (*notes, *runs.notes()),
    )  # fmt: skip


class _Runs:
    """The runs of a home, in their place or in the trash."""

    def __init__(self, home: Home, known: Mapping[str, History], *, readable: bool) -> None:
        self._home = home
        self._readable = readable  # the ledger; where it is not, nothing can be missing from it
        self._known = known
        self._there: dict[str, Path] = {}
        self._old: dict[str, Record] = {}
        self._unsigned = 0
        self._late = 0
        self._running = 0
        self.checks: list[Check] = []
        self.findings: list[Finding] = []

    def take(self, run: RunDirectory) -> None:
        """Look at everything of a run but the bytes of its files."""
        history = self._known.get(run.id, History())
        if run.id in self._there:
            self._find(run, "added", "It is in the trash and among the runs at once.")
        self._there[run.id] = run.path
        record = self._record(run)
        if (record and record.status == "running" and not history.seal) or is_owned(self._home, run.id):
            self._running += 1
            return
        if not history.seal:  # it may have ended just now
            history, _ = history_of(self._home, run.id)
        if not history.seal:
            self._judge_unknown(run, record)
        for left in (run.spool, run.path / EXIT_FILE):  # of the execution; a seal passes them over while it is made
            if left.is_symlink() or left.exists():
                self._find(run, "added", f"{left.name} was added.")
        self.checks.append(sealing.check(run, record, history, project=True))
        self._judge_seal(run, history)
        if history.state == "deleted" and run.path.parent == self._home.runs:
            self._find(run, "added", "It was deleted, and is among the runs again.")
        elif history.state == "purged":
            self._find(run, "added", "It was deleted and purged, and is there again.")
        elif history.state not in ("deleted", "") and run.path.parent != self._home.runs:
            self._find(run, "removed", "It is in the trash, and the ledger has no entry about that.")

    def judge(self, check: Check, digests: Mapping[str, str | OSError]) -> Iterator[Finding]:
        """What is wrong with a run's files."""
        for fault in check.judge(digests):
            detail = f"{printable(fault.path)} {_HOW[fault.what]}."
            if isinstance(digests.get(fault.path), OSError):
                detail = f"{printable(fault.path)} cannot be read."
            yield Finding(f"run {check.run.id}", fault.what, detail)

    def missing(self) -> Iterator[Finding]:
        """Runs that the ledger has and nobody else."""
        for run_id, history in self._known.items():
            if run_id not in self._there and history.state in ("begun", "ended"):
                yield Finding(f"run {run_id}", "removed", "It is in the ledger, and its directory is gone.")
            elif run_id not in self._there and history.state == "deleted":
                yield Finding(
                    f"run {run_id}",
                    "removed",
                    "It was deleted, and is not in the trash any more; `nbseal purge` would enter that.",
                )

    def seal_old(self, findings: Sequence[Finding]) -> Iterator[str]:
        """Seal the runs of versions that had no seals, unless something was found wrong with them."""
        wrong = {finding.where for finding in findings}
        for run_id, record in self._old.items() if self._readable else ():
            if f"run {run_id}" not in wrong:
                seal_late(self._home, run_id, record)
                yield f"Run {run_id} is of a version without seals; it was sealed now, late, as it is."

    def notes(self) -> Iterator[str]:
        """What is allowed, and should be known."""
        for count, what in (
            (self._unsigned, "unsigned"),
            (self._late, "sealed or entered late"),
            (self._running, "under way, or lost"),
        ):
            if count:
                yield f"{counted(count, 'run')} {'is' if count == 1 else 'are'} {what}."

    def _record(self, run: RunDirectory) -> Record | None:
        try:
            record = read_record(run.record)
            if record.id != run.id:
                self._find(run, "changed", "Its run.json is that of another run.")
        except NbsealError as error:
            self._find(run, "unreadable", error.message)
            return None
        return record

    def _judge_unknown(self, run: RunDirectory, record: Record | None) -> None:
        """A finished run without an end in the ledger: of an earlier version, or put there by hand."""
        sealed = (run.path / MANIFEST).exists() or (run.path / SIGNATURE).exists()
        state = self._known.get(run.id, History()).state
        # Records of versions without seals name the digests of their files.
        if record and record.files and not sealed and state in ("", "begun"):
            self._old[run.id] = record
        elif self._readable:
            self._find(run, "no-entry", "The ledger has no entry about its end.")

    def _judge_seal(self, run: RunDirectory, history: History) -> None:
        try:
            seal = sealing.read_seal(run, history)
        except NbsealError as error:
            self._find(run, "unreadable", error.message)
            return
        self._unsigned += seal.signature == "unsigned"
        self._late += seal.late
        if seal.signature == "bad":
            self._find(run, "bad-signature", f"Its signature does not count: {seal.reason}.")
        elif seal.signature == "unknown":
            self._find(run, "unknown-key", f"It is signed by {seal.signer}, which allowed_signers does not name.")

    def _find(self, run: RunDirectory, what: str, detail: str) -> None:
        self.findings.append(Finding(f"run {run.id}", what, detail))


def _directories(home: Home) -> Iterator[tuple[str, RunDirectory]]:
    for folder in (home.runs, home.trash):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if RUN_ID.fullmatch(path.name):
                    yield path.name, RunDirectory(home, path)


def _strays(home: Home) -> Iterator[str]:
    """What lies where only our files should, and lines of allowed_signers that cannot be read."""
    for folder, ours in (
        (home.runs, RUN_ID),
        (home.trash, RUN_ID),
        (ledger_folder(home), re.compile("entries.jsonl|checkpoint|signed|hashes|lock")),
    ):
        if folder.is_dir():
            for name in sorted(path.name for path in folder.iterdir()):
                if not ours.fullmatch(name):
                    yield f"{printable(name)} in {folder.name}/ is none of ours."
    for problem in signing.trusted(home)[1]:
        yield f"Of keys/allowed_signers, {printable(problem)}."


def _damaged_key(home: Home) -> Iterator[Finding]:
    try:
        signing.signing_key(home)
    except NbsealError as error:
        yield Finding("keys", "unreadable", error.message)


def _contents(home: Home) -> Iterator[_Content]:
    """Everything that is kept under its own digest."""
    for where, folder, depth in (
        ("blobs", home.blobs, 2),
        ("wheels", home.wheels, 2),
        ("packages", home.packages, 2),
        ("layers", home.layers, 1),
    ):
        for path in sorted(folder.glob("/".join("*" * depth))):
            name = path.parent.name if where in ("wheels", "packages") else path.name.removesuffix(".tar")
            if _DIGEST.fullmatch(name):
                yield _Content(where, path, name, path.lstat().st_size)


def _base_layers(home: Home) -> set[str]:
    """The layers of the bases, which are no cache: they may not come out the same again."""
    found = set()
    for path in home.bases.glob("*/base.json"):
        try:
            found |= {str(layer["diff_id"]).rpartition(":")[2] for layer in read_json(path, "base")["layers"]}
        except (NbsealError, KeyError, TypeError):
            continue
    return found


def _damaged(content: _Content, bases: set[str], findings: list[Finding], repairs: list[str]) -> None:
    if content.where == "layers" and content.digest not in bases:
        content.path.unlink(missing_ok=True)
        repairs.append(f"The layer {content.digest} was changed; it was removed, and is made again when it is needed.")
    else:
        detail = f"{printable(content.path.name)} in {content.where}/{content.digest} is not what its name says."
        findings.append(Finding(content.where, "changed", detail))
