"""Runs become one file: gathered, written in one pass, and attested to with the key of the home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import __version__, archives, environments, signing
from engine.archives import layout
from engine.errors import BadInput, EnvironmentFailed, NbsealError, VerificationFailed
from engine.pipeline.gathering import NO_WHEELS, Gathered, bag_info, gather
from engine.progress import Progress
from engine.settings import Home


@dataclass(frozen=True)
class Archived:
    """An archive as it was written. ``key`` is the fingerprint of who signed it; without one ``unsigned`` says why."""

    path: Path
    contents: archives.Contents
    written: archives.Written
    key: str
    unsigned: str
    stamped: bool


def archive(
    prefixes: Sequence[str], output: Path, left_out: Sequence[str], tsa: str | None, home: Home, progress: Progress
) -> Archived:
    """Write these runs, and all that a rerun needs but what is left out, to the new file ``output``."""
    archives.check_output(output)
    if tsa is not None:
        archives.check_url(tsa)
    gathered = gather(prefixes, left_out, home, progress)
    try:
        return _write(gathered, output, tsa, home, progress)
    except archives.Spoiled as error:
        if error.member.kind != "layer":
            raise refusal(error) from error
    # Only reading it shows that a layer is damaged, and reading every layer twice would cost all for the sake of few.
    progress.say("A layer of the image is damaged.")
    environments.find_damaged(gathered.layers, home)
    gathered = gather(prefixes, left_out, home, progress)
    return _write(gathered, output, tsa, home, progress)


def _write(gathered: Gathered, output: Path, tsa: str | None, home: Home, progress: Progress) -> Archived:
    contents, attest = gathered.contents, Attesting(gathered, tsa, home, progress)
    written = archives.write(output, contents.name, gathered.members, bag_info(contents), attest, progress)
    return Archived(output, contents, written, attest.key, attest.unsigned, tsa is not None)


class Attesting:
    """What stands for an archive; afterwards ``key`` says who signed it, or ``unsigned`` why nobody did."""

    def __init__(self, gathered: Gathered, tsa: str | None, home: Home, progress: Progress) -> None:
        self._gathered, self._tsa, self._home, self._progress = gathered, tsa, home, progress
        self.key = self.unsigned = ""

    def __call__(self, tag_manifest: bytes) -> Mapping[str, bytes]:
        vouched = self._gathered.vouched
        made = {layout.CHECKPOINT: vouched.checkpoint}
        for run, (index, path) in vouched.proofs.items():
            made[layout.proof(run)] = archives.proof(index, path, vouched.checkpoint)
        try:
            self.key = _signed(made, tag_manifest, self._gathered, self._home)
            self.unsigned = "" if self.key else "the home has no key; `nbseal keys` makes one"
        except signing.CannotSign as error:
            self.unsigned = str(error)
        except BadInput as error:
            self.unsigned = error.message.rstrip(".")
        if self._tsa is not None:
            with self._progress.task("Asking for a time stamp"):
                made[layout.TIMESTAMP] = archives.stamp(tag_manifest, self._tsa)
        return made


def _signed(made: dict[str, bytes], tag_manifest: bytes, gathered: Gathered, home: Home) -> str:
    """Add both signatures of the home's key; its fingerprint, or nothing when there is no key."""
    key = signing.signing_key(home)
    if key is None:
        return ""
    statement = archives.statement(gathered.contents, tag_manifest, gathered.vouched.origin, __version__)
    armored = signing.sshsig.make(tag_manifest, layout.NAMESPACE, key.public, lambda data: signing.sign(key, data))
    bundle = archives.bundle(statement, key.public.fingerprint, lambda data: signing.sign(key, data))
    made |= {layout.SIGNATURE: armored, layout.PROVENANCE: bundle}
    return key.public.fingerprint


def refusal(error: archives.Spoiled) -> NbsealError:
    """What is said of bytes that turned out to be others while they were read."""
    member = error.member
    if member.kind in ("wheel", "package"):
        return EnvironmentFailed(f"The home's {member.path.rpartition('/')[2]} is gone or damaged.", NO_WHEELS)
    if member.kind == "blob":
        return VerificationFailed(
            f"The home's content {member.digest} is gone or damaged.", "Restore it from a backup; see `nbseal fsck`."
        )
    return VerificationFailed(
        f"{member.path} was changed since the run was recorded.",
        "Take the run from a backup or another home; `nbseal fsck` names all that differs.",
    )
