"""The audit without nbseal, command by command as the document has it: on a true archive, and on tampered ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import pipeline, signing
from engine.files import remove_tree
from engine.progress import Silent
from engine.settings import Home
from tests import forging
from tests.conftest import MakeNotebook, Nbseal
from tests.engine.authority import time_stamping_authority
from tests.engine.by_hand import blocks, done, exits, without_others
from tests.tampering import EDITS, TIMESTAMP_EDITS, Edit
from tests.unit.archives import small_archives

pytestmark = pytest.mark.engine

BLOCKS = blocks()
#: What is done once for an archive, and not to find anything out.
PREPARING = ("contents", "unpack", "key")
#: What needs an image that runs.
WITH_ENGINE = ("load", "rerun")


def test_every_command_prints_what_the_document_shows(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path
) -> None:
    assert nbseal("keys", "new", "--name", "alice@example.org", "--unencrypted").returncode == 0
    cells = ("factor = 3", "import helper\nopen('out.txt', 'w').write('x')\nprint('loss:', factor * helper.x)")
    path = notebook(*cells, "print(open('data.csv').read())", tags={0: ["parameters"]})
    (path.parent / "helper.py").write_text("x = 2\n")
    (path.parent / "data.csv").write_text("a,b\n1,2\n")
    options = ("--input", path.parent / "data.csv", "--requirement", "six", "--json")
    runs = [json.loads(nbseal("run", path, f"factor={value}", *options).stdout)["id"] for value in (3, 4)]
    audit = tmp_path / "audit"
    audit.mkdir()
    with time_stamping_authority(tmp_path / "tsa") as url:
        written = nbseal("archive", *runs, "-o", audit / "churn.tar.zst", "--tsa", url)
    assert written.returncode == 0, written.stderr
    shutil.copy(fresh_home.root / "keys/allowed_signers", audit)
    shutil.copy(tmp_path / "tsa/ca.pem", audit / "tsa-ca.pem")
    folder = audit
    for name, block in BLOCKS.items():
        output = done(block, folder)
        assert without_others(output) == without_others(block.shown), f"{name}:\n{output}"
        if name == "unpack":
            [folder] = (audit / "archive").iterdir()
    for name, damage in {"digests": "image/blobs/sha256/*", "bagit": "pages/*", "image": "image/index.json"}.items():
        found = forging.find(folder / "data", damage)
        forging.write(found, found.read_bytes()[:-1])
        assert exits(done(BLOCKS[name], folder)) != exits(BLOCKS[name].shown), name


# --- the tamper matrix, on an archive that is small enough for hundreds of copies -------------------


@dataclass(frozen=True)
class Untouched:
    """A signed archive with a time stamp, unpacked as the document has it, and how each check ends there."""

    folder: Path
    exits: dict[str, list[str]]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Untouched]:
    top = tmp_path_factory.mktemp("by-hand")
    home = Home(top / "home")
    signing.make(home, "alice@example.org", None)
    folder = top / "audit"
    with time_stamping_authority(top / "tsa") as url:
        first = small_archives.run(home, top / "project", lib__x="x = 1")
        pipeline.archive([first.id], top / "before.tar", (), url, home, Silent())
        second = small_archives.run(home, top / "project", small_archives.awkward)
        pipeline.archive([first.id, second.id], top / "whole.tar", (), url, home, Silent())
    forging.unpack(top / "before.tar", folder / "another")
    bag = forging.unpack(top / "whole.tar", folder / "archive")
    shutil.copy(signing.allowed_signers(home), folder)
    shutil.copy(top / "tsa/ca.pem", folder / "tsa-ca.pem")
    assert exits(done(BLOCKS["key"], bag)) == ["0", "0"]
    ends = {name: exits(done(block, bag)) for name, block in BLOCKS.items() if name not in (*PREPARING, *WITH_ENGINE)}
    shutil.rmtree(folder / "runs")
    yield Untouched(folder, ends)
    remove_tree(home.root)


def test_every_check_passes_where_nothing_was_touched(untouched: Untouched) -> None:
    assert {name: set(found) for name, found in untouched.exits.items()} == {name: {"0"} for name in untouched.exits}


def test_options_and_several_keys_of_one_name_are_understood(untouched: Untouched, tmp_path: Path) -> None:
    folder = forging.copy(untouched.folder, tmp_path / "audit")
    [bag] = (folder / "archive").iterdir()
    line = (folder / "allowed_signers").read_text().strip().removeprefix("alice@example.org ")
    older = signing.make(Home(tmp_path / "older"), "alice@example.org", None).public.line
    (folder / "allowed_signers").write_text(
        "# whom we trust\n"
        f'alice@example.org valid-before="20990101" {older}\n'
        f"alice@example.organisation {line}\n"
        f'bob@example.org,alice@example.org namespaces="nbseal-*",valid-after="20200101Z" {line} of alice\n'
    )
    for name in ("key", "signature", "provenance", "runs", "checkpoint"):
        found = exits(done(BLOCKS[name], bag))
        assert (name, set(found)) == (name, {"0"})
    (folder / "allowed_signers").write_text(f"alice@example.org {older}\n")
    assert exits(done(BLOCKS["key"], bag))[0] == "1"


def test_an_archive_without_a_time_stamp_has_no_stray(untouched: Untouched, tmp_path: Path) -> None:
    [bag] = (forging.copy(untouched.folder, tmp_path / "audit") / "archive").iterdir()
    (bag / "attestations/tagmanifest-sha256.txt.tsr").unlink()
    assert set(exits(done(BLOCKS["listing"], bag))) == {"0"}


@pytest.mark.parametrize("edit", [*EDITS, *TIMESTAMP_EDITS], ids=lambda edit: edit.name)
def test_each_check_sees_what_it_claims_to_see(edit: Edit, untouched: Untouched, tmp_path: Path) -> None:
    [bag] = (forging.copy(untouched.folder, tmp_path / "audit") / "archive").iterdir()
    edit.apply(bag)
    blind = [name for name in sorted(edit.caught_by) if exits(done(BLOCKS[name], bag)) == untouched.exits[name]]
    assert blind == []
    assert edit.caught_by or edit.name == "executable output", "nobody sees it"
