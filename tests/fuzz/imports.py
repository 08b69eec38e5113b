"""Archives changed at random, imported: whatever they are, they are refused in words or they are whole.

    python -m tests.fuzz.imports MINUTES [FIRST SEED]

prints how many were tried and how they ended, and stops at the first that does something else, with its seed.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import zstandard

from engine import pipeline, store
from engine.errors import BadInput, EnvironmentFailed, NbsealError
from engine.files import remove_tree
from engine.progress import Silent
from engine.settings import Home
from tests.fuzz.mutations import mutated
from tests.unit.archives import small_archives

#: No import of so small an archive may take longer (seconds), on a machine that others use too.
PATIENCE = 30.0


class Range:
    """A home into which archives are shot, and a folder around it that nothing may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        source = Home(folder / "source")
        one = small_archives.run(source, folder / "project", lib__x="x = 1")
        other = small_archives.run(source, folder / "project", small_archives.awkward)
        self._valid = [
            small_archives.members(small_archives.archive(source, [one], folder / "one.tar")),
            small_archives.members(small_archives.archive(source, [one, other], folder / "two.tar")),
            small_archives.members(small_archives.archive(source, [other], folder / "none.tar", ("image", "wheels"))),
        ]
        self.around = folder / "around"
        self.home = Home(self.around / "home")
        self.home.root.mkdir(parents=True)
        (self.around / "x").write_text("not to be changed")
        self._before = self._listing()

    def shoot(self, rng: Random) -> str:
        """Import one; how it ended. AssertionError when it did what no archive may do."""
        data = mutated(rng, rng.choice(self._valid))
        path = self.folder / "shot.tar"
        if rng.random() < 0.15:
            data = zstandard.ZstdCompressor(level=1).compress(data)
            if rng.random() < 0.5 and data:
                place = rng.randrange(len(data))
                data = data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
        path.write_bytes(data)
        wrong = self._wrong(path)
        started = time.monotonic()
        refusal: NbsealError | None
        try:
            pipeline.import_archive(path, self.home, Silent())
        except NbsealError as error:
            refusal = error
        else:
            refusal = None
        if refusal is None:
            ended = "taken in"
            self._judge()
        else:
            ended = f"exit {refusal.exit_code}"
            assert refusal.exit_code in (2, 4, 5), f"{ended}: {refusal.message}"
            assert refusal.message.isprintable(), refusal.message
            assert wrong or refusal.exit_code != 4, f"an audit finds nothing: {refusal.message}"
            assert self._listing() == self._before, f"something changed: {refusal.message}"
        assert time.monotonic() - started < PATIENCE, "it took too long"
        return ended

    def _wrong(self, path: Path) -> bool:
        """Whether an audit, which says everything in lines and leaves nothing, finds something wrong."""
        try:
            lines = pipeline.audit_archive(path, self.home, Silent()).lines
        except (BadInput, EnvironmentFailed):
            return True
        assert self._listing() == self._before, "an audit changed something"
        assert all((line.statement + line.by).isprintable() for line in lines)
        return any(line.state == "wrong" for line in lines)

    def _judge(self) -> None:
        """What was taken in must be a home that fits itself, and nothing beside it may have changed."""
        report = store.fsck(self.home, Silent())
        assert not report.findings, report.findings
        assert {item.name for item in self.around.iterdir()} == {"home", "x"}
        for item in self.home.root.rglob("*"):
            name = os.fsdecode(item.relative_to(self.home.root))
            assert not item.is_symlink() or "/project/" in name, name
        remove_tree(self.home.root)
        self.home.root.mkdir()
        assert self._listing() == self._before

    def _listing(self) -> list[tuple[str, int]]:
        """Names and sizes around the home, but for what every look at a home leaves."""
        found = []
        for folder, _, names in os.walk(self.around):
            for name in (*names, ""):
                path = os.path.join(folder, name)  # noqa: PTH118
                size = os.lstat(path).st_size if name else 0
                if not path.startswith(str(self.home.root / "index.sqlite")) and path != f"{self.home.temporary}/":
                    found.append((path, size))
        return sorted(found)


def main(minutes: float, seed: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="nbseal-fuzz-"))
    ended: Counter[str] = Counter()
    try:
        field = Range(folder)
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            try:
                ended[field.shoot(Random(seed))] += 1  # noqa: S311
            except BaseException:
                print(f"seed {seed} after {sum(ended.values())} inputs", flush=True)
                raise
            seed += 1
            if sum(ended.values()) % 5000 == 0:
                print(_told(ended), flush=True)
        print(_told(ended))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _told(ended: Counter[str]) -> str:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    parts = ", ".join(f"{count:,} {what}" for what, count in sorted(ended.items()))
    return f"{sum(ended.values()):,} inputs: {parts}; peak memory {peak} MiB"


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
