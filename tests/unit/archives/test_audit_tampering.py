"""The tamper matrix against an audit: each edit makes a line wrong that names it, or takes a proof away."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import pipeline, signing
from engine.checklist import Standing
from engine.progress import Silent
from engine.settings import Home
from tests import forging
from tests.tampering import EDITS, Edit
from tests.unit.archives.small_archives import tree
from tests.unit.archives.test_tampering import Case, case  # noqa: F401 (a fixture)

#: What nothing but the tar records.
UNRECORDED = {"executable output"}
#: What can be made again of sealed bytes, so that a change is seen without any signature.
REMADE = {"an SBOM": ".cdx.json", "a page": "pages/", "the README": "README.md", "the crate": "ro-crate-metadata.json"}


@pytest.fixture(scope="module")
def untouched(case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Standing]:  # noqa: F811
    folder = tmp_path_factory.mktemp("untouched")
    audit = audited(case, forging.pack(case.copy(folder / "case"), folder / "x.tar"), Home(folder / "home"))
    states = {(line.name, line.subject): line.state for line in audit.lines}
    assert set(states.values()) == {"proven", "claimed", "missing"}
    return states


def audited(case: Case, file: Path, home: Home) -> pipeline.Audit:  # noqa: F811
    signing.trust(home, "alice@example.org", case.key)
    before = tree(home.root)
    found = pipeline.audit_archive(file, home, Silent())
    assert tree(home.root) == before
    return found


@pytest.mark.parametrize("edit", [edit for edit in EDITS if edit.name not in UNRECORDED], ids=lambda edit: edit.name)
def test_tampering_is_named(
    edit: Edit,
    case: Case,  # noqa: F811
    untouched: dict[tuple[str, str], Standing],
    target: Home,
    tmp_path: Path,
) -> None:
    bag = case.copy(tmp_path / "case")
    edit.apply(bag)
    found = audited(case, forging.pack(bag, tmp_path / "x.tar"), target)
    wrong = [line for line in found.lines if line.state == "wrong"]
    remade = next((name for what, name in REMADE.items() if edit.name.startswith(f"{what},")), "")
    if edit.told is None or remade:
        assert any((remade or edit.entry) in line.by for line in wrong), [line.by for line in wrong]
    elif not wrong:
        now = {(line.name, line.subject): line.state for line in found.lines}
        lost = {key for key, state in untouched.items() if state == "proven" and now.get(key) != "proven"}
        assert lost
        assert any(found.lacks(name) for name, _ in lost)
    for line in found.lines:
        if not wrong and line.state == "proven":
            assert untouched[line.name, line.subject] == "proven"
