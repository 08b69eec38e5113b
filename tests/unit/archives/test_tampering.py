"""The tamper matrix against an import: each edit is refused by name, or told where only a key could show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import pipeline, signing
from engine.errors import VerificationFailed
from engine.files import remove_tree
from engine.progress import Silent
from engine.settings import Home
from tests import forging
from tests.tampering import EDITS, Edit
from tests.unit.archives import small_archives


@dataclass(frozen=True)
class Case:
    """Two archives of one home, unpacked, and its key."""

    folder: Path
    key: signing.PublicKey

    def copy(self, folder: Path) -> Path:
        [bag] = forging.copy(self.folder, folder).joinpath("archive").iterdir()
        return bag


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("tampering")
    home = Home(folder / "home")
    key = signing.make(home, "alice@example.org", None)
    first = small_archives.run(home, folder / "project", lib__x="x = 1")
    before = small_archives.archive(home, [first], folder / "before.tar")
    second = small_archives.run(home, folder / "project", small_archives.awkward)
    whole = small_archives.archive(home, [first, second], folder / "whole.tar")
    forging.unpack(before, folder / "case/another")
    forging.unpack(whole, folder / "case/archive")
    yield Case(folder / "case", key.public)
    remove_tree(home.root)


def words(file: Path, target: Home, key: signing.PublicKey) -> frozenset[str]:
    """What is said of a file that is taken in."""
    signing.trust(target, "alice@example.org", key)
    imported = pipeline.read_archive(file, target, Silent())  # all that an import checks; others test what it leaves
    told = {f"{word.what}: {word.state}" for word in imported.words}
    return frozenset(told | {f"run: {item.seal.signature}" for item in imported.runs})


def test_the_untouched_archive_is_taken(case: Case, target: Home, tmp_path: Path) -> None:
    bag = case.copy(tmp_path / "case")
    forging.rebag(bag)  # and what makes forgeries fit changes nothing where nothing was changed
    told = words(forging.pack(bag, tmp_path / "x.tar"), target, case.key)
    assert told == {"signature: trusted", "provenance: trusted", "ledger: trusted", "timestamp: absent", "run: trusted"}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_tampering_is_refused_or_told(edit: Edit, case: Case, target: Home, tmp_path: Path) -> None:
    bag = case.copy(tmp_path / "case")
    edit.apply(bag)
    file = forging.pack(bag, tmp_path / "x.tar")
    untouched = {"signature: trusted", "provenance: trusted", "ledger: trusted", "timestamp: absent", "run: trusted"}
    if edit.told is None:
        with pytest.raises(VerificationFailed) as refused:
            words(file, target, case.key)
        assert edit.entry in refused.value.message
    else:
        assert words(file, target, case.key) - untouched == edit.told


def test_edits_have_names_of_their_own() -> None:
    assert len({edit.name for edit in EDITS}) == len(EDITS) >= 60
