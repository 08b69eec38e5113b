"""What the tests of archives share: one run and its archive, made once, and a home to import into."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest

from engine import signing
from engine.files import remove_tree
from engine.model import Record
from engine.settings import Home
from tests.unit.archives import small_archives
from tests.unit.archives.small_archives import Member


class Sample:
    """A signed home with two runs, the second of which left names that no bag can hold."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "source")
        self.key = signing.make(self.home, "alice@example.org", None)
        self.one: Record = small_archives.run(self.home, folder / "project", lib__x="x = 1")
        self.other: Record = small_archives.run(self.home, folder / "project", small_archives.awkward)
        self.path = small_archives.archive(self.home, [self.one], folder / "one.tar")
        self.both = small_archives.archive(self.home, [self.one, self.other], folder / "both.tar")
        self.packed = small_archives.archive(self.home, [self.other], folder / "packed.tar")
        self._members = small_archives.members(self.path)
        self._packed = small_archives.members(self.packed)

    def members(self) -> list[Member]:
        return deepcopy(self._members)

    def packed_members(self) -> list[Member]:
        return deepcopy(self._packed)


@pytest.fixture(autouse=True)
def lazy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk of the whole machine is for power cuts, of which there are none in these tests."""
    monkeypatch.setattr("os.sync", lambda: None)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    folder = tmp_path_factory.mktemp("archives")
    yield Sample(folder)
    remove_tree(folder / "source")


@pytest.fixture
def target(tmp_path: Path) -> Home:
    """An empty home, in a folder with something that nobody may change."""
    around = tmp_path / "around"
    around.mkdir()
    (around / "x").write_text("not to be changed")
    return Home(around / "home")
