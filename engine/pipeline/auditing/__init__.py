"""The chain of evidence as lines: who, what, when, from which bytes; each proven, claimed, missing or wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine import __version__, archives, signing, store
from engine.archives import layout
from engine.checklist import Line
from engine.errors import BadInput, EngineUnavailable, EnvironmentFailed, VerificationFailed
from engine.pipeline.auditing import again, executions, images, whole
from engine.pipeline.auditing.reruns import Reruns
from engine.pipeline.auditing.tally import Tally
from engine.pipeline.checks import Checks, printable
from engine.pipeline.examining import Examined, examine
from engine.pipeline.gathering import Gathered, IngredientLost, bag_info, gather
from engine.progress import Progress, Silent
from engine.settings import Home

_MAKES = "no run has one; `nbseal archive` makes one of an archive"
#: All names that lines have, in the order in which they come.
NAMES = (
    "container", "signature", "provenance", "software", "ledger", "one-ledger", "timestamp", "contents", "readme",
    "crate", "packages", "hash", "seal", "sealed-by", "host", "times", "inclusion", "logged", "custody", "trail",
    "notebook", "source", "inputs", "lock", "cells", "outputs", "scalars", "page", "execution", "network", "log",
    "rerun", "base", "image", "wheels", "build", "sbom",
)  # fmt: skip


#: What is said of an archive where something is not there.
ARCHIVE = whole.Kind(
    unsigned="there is no signature: anybody can have made it",
    unstated="there is no statement of provenance",
    unstamped="there is no time stamp",
    left_out={
        "image": "it was left out; its id is in the spec",
        "wheels": "they were left out; their digests are in the records of run and base",
    },
)
_STAMPS = "no run has one; `nbseal archive --tsa URL` makes one of an archive"
_HOME = "this home"
#: What is only of an archive: of a run in the home it would be made for the occasion, and prove nothing.
_OF_ARCHIVES = ("container", "software", "contents", "readme", "crate", "page", "sbom")
#: The names that lines of a run of the home have.
OF_RUNS = tuple(name for name in NAMES if name not in _OF_ARCHIVES)


@dataclass(frozen=True)
class Audit:
    """What was looked at, when and by what, the digest of its tag manifest when it could be read, and the lines."""

    source: str
    title: str
    place: str  # what the lines without a subject are about
    digest: str
    runs: tuple[str, ...]
    lines: tuple[Line, ...]
    problems: tuple[str, ...]  # of what this home says about keys and certificates
    made: str = field(default_factory=store.now)
    version: str = __version__

    def lacks(self, name: str) -> bool:
        """Whether a line of this name is not proven, or there is none."""
        states = [line.state for line in self.lines if line.name == name]
        return not states or any(state != "proven" for state in states)


def audit_archive(path: Path, home: Home, progress: Progress) -> Audit:
    """Audit an archive. Nothing of it enters the home; whose keys count is said by the home."""
    with store.looking(home) as folder:
        try:
            received = archives.receive(path, folder / "bag", progress)
        except VerificationFailed as error:
            line = Line("container", "", "what", "the file is an archive that can be read", "wrong", error.message)
            return Audit(path.name, printable(path.name), printable(path.name), "", (), (line,), _problems(home))
        examined, checks = _examined(received, folder, home, progress)
        tag_manifest = received.files.get(layout.TAG_MANIFEST)
        digest = f"sha256:{tag_manifest.digest}" if tag_manifest else ""
        title = f"archive {received.name}"
        lines = _lines(examined, checks, ARCHIVE)
        return Audit(path.name, title, title, digest, _ids(examined), lines, _problems(home))


def audit_run(prefix: str, home: Home, progress: Progress) -> Audit:
    """Audit a run of the home, by what an archive of it would hold. No container engine is asked."""
    with store.looking(home) as folder:
        path = folder / "run.tar"
        try:
            gathered, absent = _gathered(prefix, home)
            _write(gathered, path, progress)
        except VerificationFailed as error:
            line = Line("seal", "", "what", "the run is as it was sealed", "wrong", printable(error.message))
            return Audit(prefix, f"run {printable(prefix)} of this home", _HOME, "", (), (line,), _problems(home))
        received = archives.receive(path, folder / "bag", progress)
        path.unlink()
        examined, checks = _examined(received, folder, home, progress)
        (run,) = _ids(examined)
        told = _lines(examined, checks, whole.Kind(_MAKES, _MAKES, _STAMPS, absent, gathered.lost))
        lines = tuple(line for line in told if line.name in OF_RUNS or line.state == "wrong")
        return Audit(prefix, f"run {run} of this home", _HOME, "", (run,), lines, _problems(home))


def _gathered(prefix: str, home: Home) -> tuple[Gathered, dict[str, str]]:
    """What an archive would hold of a run; an image or ingredients that the home has lost are left out, with why."""
    absent: dict[str, str] = {}
    while True:
        try:
            return gather([prefix], tuple(absent), home, Silent(), as_it_is=True), absent
        except (EngineUnavailable, IngredientLost) as error:
            part = "image" if isinstance(error, EngineUnavailable) else "wheels"
            if part in absent:
                raise
            absent[part] = printable(error.message)


def _problems(home: Home) -> tuple[str, ...]:
    """The lines of allowed_signers and the certificates that count for nobody."""
    files = (
        (signing.allowed_signers(home).name, signing.trusted(home)[1]),
        ("authorities", signing.authorities(home)[1]),
    )
    return tuple(printable(f"{name}: {problem}") for name, problems in files for problem in problems)


def _write(gathered: Gathered, path: Path, progress: Progress) -> None:
    """The archive of it, with the ledger's word and no other: nothing is signed by looking at it."""

    def attest(_: bytes) -> dict[str, bytes]:
        vouched = gathered.vouched
        proofs = {
            layout.proof(run): archives.proof(index, steps, vouched.checkpoint)
            for run, (index, steps) in vouched.proofs.items()
        }
        return {layout.CHECKPOINT: vouched.checkpoint, **proofs}

    contents = gathered.contents
    try:
        archives.write(path, contents.name, gathered.members, bag_info(contents), attest, progress)
    except (BadInput, EnvironmentFailed) as error:  # its hints are for who names the file
        if not isinstance(error.__cause__, OSError):
            raise
        raise EnvironmentFailed(
            f"The run cannot be put together as an archive would hold it: {error.__cause__.strerror}.",
            f"Free some of the disk of {path.parent.parent}, or use an NBSEAL_HOME on another disk.",
        ) from error


def _examined(received: archives.Received, folder: Path, home: Home, progress: Progress) -> tuple[Examined, Checks]:
    checks = Checks(received.source, collect=True)
    return examine(received, store.staged(folder), home, checks, progress), checks


def _ids(examined: Examined) -> tuple[str, ...]:
    return tuple(run.listed.id for run in examined.runs)


def _lines(examined: Examined, checks: Checks, kind: whole.Kind) -> tuple[Line, ...]:
    tally = Tally(checks)
    contents = None
    if examined.runs and {("seal", run.listed.id) for run in examined.runs} <= checks.passed:
        contents = checks.run("whole", "", again.whole, examined)
    whole.tell(examined, contents, checks, tally, kind)
    reruns = Reruns(examined, checks)
    for run in examined.runs:
        executions.tell(examined, run, reruns, checks, tally, kind)
    images.tell(examined, checks, tally, kind)
    tally.rest()
    return tuple(tally.lines)
