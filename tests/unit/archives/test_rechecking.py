"""What a record says of its own files: an audit finds a forgery of it wrong, and an import refuses the same."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import archives, pipeline, signing
from engine.archives import layout
from engine.checklist import Line
from engine.digests import canonical_json
from engine.errors import VerificationFailed
from engine.files import remove_tree
from engine.model import Record
from engine.progress import Silent
from engine.settings import Home
from tests.unit.archives import small_archives
from tests.unit.archives.conftest import Sample
from tests.unit.archives.small_archives import Member, rebag
from tests.unit.archives.test_auditing import edited, trusting, without  # noqa: F401 (a fixture)

FORGED = "sha256:" + "ab" * 32


def lines_of(items: list[Member], home: Home, path: Path) -> list[Line]:
    return list(pipeline.audit_archive(small_archives.write(path, items), home, Silent()).lines)


def line_of(items: list[Member], home: Home, path: Path, name: str, run: str = "") -> Line:
    (line,) = (line for line in lines_of(items, home, path) if line.name == name and line.subject.endswith(run))
    return line


def is_refused(items: list[Member], home: Home, path: Path, told: str) -> bool:
    with pytest.raises(VerificationFailed) as refused:
        pipeline.import_archive(small_archives.write(path, items), home, Silent())
    return told in refused.value.message


def flag(record: dict[str, Any]) -> None:
    record["flags"].append({"name": "epochs", "type": "int", "literal": "99999"})


@pytest.mark.parametrize(
    ("edit", "line", "told"),
    [
        (edited("/run.json", flag), "hash", "run.json"),
        (edited("/run.json", lambda d: d["scalars"].update(loss=0.1)), "scalars", "run.json"),
        (edited("/scalars.jsonl", lambda data: data + b'{"name":"loss"}\n'), "scalars", "scalars.jsonl"),
        (edited("/executed.ipynb", lambda data: data.replace(b"print(1)", b"print(2)")), "cells", "executed.ipynb"),
        (without("/executed.ipynb"), "cells", "executed.ipynb"),
        (edited("/outputs.json", lambda d: d.pop()), "outputs", "outputs.json"),
        (edited("/inputs.json", lambda d: d.pop()), "inputs", "inputs.json"),
        (edited("/run.json", lambda d: d.update(rerun_of=d["id"])), "rerun", "repeats itself"),
    ],
    ids=["flags", "scalars", "values", "cells", "no cells", "outputs.json", "inputs.json", "rerun of itself"],
)
def test_a_forged_record_is_wrong_and_refused(
    edit: Callable[[list[Member]], list[Member]],
    line: str,
    told: str,
    sample: Sample,
    trusting: Home,  # noqa: F811
    tmp_path: Path,
) -> None:
    found = line_of(edit(sample.members()), trusting, tmp_path / "x.tar", line)
    assert (found.state, told in found.by) == ("wrong", True), found
    assert is_refused(edit(sample.members()), trusting, tmp_path / "y.tar", told)


def test_hidden_outputs_are_refused(sample: Sample, trusting: Home, tmp_path: Path) -> None:  # noqa: F811
    items = sample.members()
    outputs = next(item for item in items if item.name.endswith("/outputs.json"))
    outputs.data = b"[]\n"
    forged = edited("/run.json", lambda document: document["outputs"].clear())(items)
    assert is_refused(forged, trusting, tmp_path / "x.tar", "lists other outputs")


def test_what_is_too_much_to_be_read_again_is_not_proven(
    sample: Sample,
    trusting: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.results.files.MAX_FILES", 2)
    monkeypatch.setattr("engine.results.MAX_EXECUTED", 10)
    audit = pipeline.audit_archive(sample.path, trusting, Silent())
    states = {line.name: line.state for line in audit.lines}
    assert {name for name, state in states.items() if state == "unchecked"} == {"outputs", "cells", "scalars", "page"}
    assert audit.lacks("outputs")
    assert pipeline.import_archive(sample.path, trusting, Silent()).runs


def test_outputs_that_the_seal_does_not_cover_are_not_proven(
    sample: Sample,
    trusting: Home,  # noqa: F811
    tmp_path: Path,
) -> None:
    hole = {"path": "project/deep", "kind": "uncovered", "target": "its path is too long"}
    items = edited("/irregular.json", lambda document: document.append(hole))(sample.members())
    line = line_of(items, trusting, tmp_path / "x.tar", "outputs")
    assert (line.state, "its path is too long" in line.by) == ("unchecked", True)


def test_a_run_that_never_came_to_execute_has_no_cells(tmp_path: Path, target: Home) -> None:
    home = Home(tmp_path / "home")

    def lose(project: Path) -> None:
        (project.parent / "spool/executed.ipynb").unlink()

    record = small_archives.run(home, tmp_path / "project", lose, "interrupted")
    path = small_archives.archive(home, [record], tmp_path / "x.tar")
    states = {line.name: line.state for line in pipeline.audit_archive(path, target, Silent()).lines}
    assert "wrong" not in states.values()
    assert pipeline.import_archive(path, target, Silent()).runs
    remove_tree(home.root)


# --- reruns -----------------------------------------------------------------------------------


@pytest.fixture
def reruns(tmp_path: Path) -> Any:
    """A run, its rerun, one of another hash, and an archive of them."""
    home = Home(tmp_path / "home")
    first = small_archives.run(home, tmp_path / "project")
    second = small_archives.run(home, tmp_path / "project", rerun_of=first.id)
    other = small_archives.run(home, tmp_path / "project", lib__x="x = 1")
    path = small_archives.archive(home, [first, second, other], tmp_path / "all.tar")
    yield first, second, other, path
    remove_tree(home.root)


def comparison(record: Record) -> dict[str, Any]:
    assert record.comparison is not None
    return {"verdict": record.comparison.verdict, "units": record.comparison.units, "differences": [],
            "tolerance": 0.0, "without": []}  # fmt: skip


def test_a_rerun_of_another_hash_and_a_circle_are_refused(
    reruns: tuple[Record, Record, Record, Path], target: Home, tmp_path: Path
) -> None:
    first, second, other, path = reruns

    def forged(run: Record, repeated: Record) -> list[Member]:
        change = {"rerun_of": repeated.id, "comparison": comparison(second)}
        return edited(f"{run.id}/run.json", lambda document: document.update(change))(small_archives.members(path))

    for run, repeated, told in ((other, first, "has another hash"), (first, second, "repeats itself")):
        line = line_of(forged(run, repeated), target, tmp_path / "x.tar", "rerun", run.id)
        assert (line.state, told in line.by) == ("wrong", True)
        assert is_refused(forged(run, repeated), target, tmp_path / "y.tar", told)


def test_each_of_a_circle_is_a_circle(
    reruns: tuple[Record, Record, Record, Path], target: Home, tmp_path: Path
) -> None:
    """Whatever times they are given."""
    first, second, _, path = reruns
    items = small_archives.members(path)
    for run, repeated in ((first, second), (second, first)):

        def change(document: dict[str, Any], repeated: Record = repeated) -> None:
            document.update(rerun_of=repeated.id, comparison=comparison(second), created="2026-01-01T00:00:00.000Z")
            document["outcome"].update(started="2026-01-01T00:00:00.000Z", finished="2025-01-01T00:00:00.000Z")

        items = edited(f"{run.id}/run.json", change)(items)
    states = {line.state for line in lines_of(items, target, tmp_path / "x.tar") if line.name == "rerun"
              and not line.subject.endswith(reruns[2].id)}  # fmt: skip
    assert states == {"wrong"}


def test_a_run_and_its_rerun_give_what_rerun_requires(
    reruns: tuple[Record, Record, Record, Path], target: Home, tmp_path: Path
) -> None:
    first, second, other, path = reruns
    audit = pipeline.audit_archive(path, target, Silent())
    states = {line.subject: line.state for line in audit.lines if line.name == "rerun"}
    assert [states[f"run {run.id}"] for run in (first, second, other)] == ["proven", "proven", "missing"]
    assert audit.lacks("rerun")


# --- statements, names, bases -----------------------------------------------------------------


def signed(items: list[Member], sample: Sample, change: Callable[[dict[str, Any]], object]) -> list[Member]:
    """Signature and changed statement of an archive as it is now, by the key that signed it before."""

    def sign(data: bytes) -> bytes:
        return signing.sign(sample.key, data)

    tag_manifest = next(item.data for item in items if item.name.endswith(f"/{layout.TAG_MANIFEST}"))
    for item in items:
        if item.name.endswith(f"/{layout.PROVENANCE}"):
            statement = json.loads(base64.b64decode(json.loads(item.data)["dsseEnvelope"]["payload"]))
            statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(tag_manifest).hexdigest()
            change(statement)
            item.data = archives.bundle(canonical_json(statement), sample.key.public.fingerprint, sign)
        elif item.name.endswith(f"/{layout.SIGNATURE}"):
            item.data = signing.sshsig.make(tag_manifest, layout.NAMESPACE, sample.key.public, sign)
    return items


def test_a_statement_is_proven_when_it_says_what_the_runs_say(
    sample: Sample,
    trusting: Home,  # noqa: F811
    tmp_path: Path,
) -> None:
    def other_version(statement: dict[str, Any]) -> None:
        statement["predicate"]["runDetails"]["builder"]["version"]["nbseal"] = "9.9"
        statement["predicate"]["buildDefinition"] = {}

    items = signed(sample.members(), sample, other_version)
    line = line_of(items, trusting, tmp_path / "x.tar", "provenance")
    assert (line.state, line.by.partition(":")[0]) == ("claimed", "alice@example.org")

    items = signed(sample.members(), sample, lambda statement: statement.update(predicateType="https://example.org/x"))
    assert line_of(items, trusting, tmp_path / "y.tar", "provenance").state == "wrong"
    assert is_refused(items, trusting, tmp_path / "z.tar", layout.PROVENANCE)

    items = sample.members()
    next(item for item in items if item.name.endswith("/log.txt")).data += b"x"  # so nobody knows what the runs say
    items = signed(rebag(items), sample, lambda statement: None)
    lines = {line.name: line.state for line in lines_of(items, trusting, tmp_path / "v.tar")}
    assert (lines["signature"], lines["provenance"], lines["seal"]) == ("proven", "unchecked", "wrong")


def test_the_name_of_a_notebook_is_claimed(sample: Sample, trusting: Home) -> None:  # noqa: F811
    lines = {line.name: line for line in pipeline.audit_archive(sample.path, trusting, Silent()).lines}
    assert sample.one.notebook not in lines["hash"].statement.replace("notebook.ipynb", "")
    assert sample.one.spec["notebook"][:19] in lines["hash"].statement
    assert lines["hash"].by.endswith("that the file was called n.ipynb is claimed by alice@example.org")


def test_two_bases_of_one_image_are_refused(sample: Sample, trusting: Home, tmp_path: Path) -> None:  # noqa: F811
    def forged() -> list[Member]:
        items = small_archives.members(sample.both)
        contents = next(item for item in items if item.name.endswith("/archive.json"))
        document = json.loads(contents.data)
        for run in document["runs"]:
            if run["id"] == sample.one.id:
                run["base"] = FORGED
        contents.data = canonical_json(document)
        return edited(f"{sample.one.id}/run.json", lambda document: document.update(base=FORGED))(items)

    found = [line for line in lines_of(forged(), trusting, tmp_path / "x.tar") if line.name == "base"]
    assert [line.state for line in found] == ["wrong"]
    assert is_refused(forged(), trusting, tmp_path / "y.tar", "different bases")


# --- the seal's signature ---------------------------------------------------------------------


def unentered(items: list[Member]) -> list[Member]:
    """Without attestations and without the ledger's entries, which tell who signed a run."""
    kept = [item for item in items if "/attestations/" not in item.name]
    next(item for item in kept if "/data/ledger/" in item.name).data = b""
    return rebag(kept)


def test_a_bad_signature_of_a_run_counts_for_nothing_without_its_entry_either(
    sample: Sample,
    trusting: Home,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert line_of(unentered(sample.members()), trusting, tmp_path / "x.tar", "sealed-by").state == "proven"

    def forged() -> list[Member]:
        items = sample.members()
        signature = next(item for item in items if item.name.endswith("/manifest-sha256.txt.sig"))
        signature.data = b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"
        return unentered(items)

    assert line_of(forged(), trusting, tmp_path / "y.tar", "sealed-by").state == "wrong"
    assert is_refused(forged(), trusting, tmp_path / "z.tar", "signature of run")


def test_clocks_that_contradict_each_other_are_told_and_refuse_nothing(
    reruns: tuple[Record, Record, Record, Path], target: Home, tmp_path: Path
) -> None:
    _, second, _, path = reruns
    change = {"created": "2001-01-01T00:00:00.000Z"}
    items = edited(f"{second.id}/run.json", lambda document: document.update(change))(small_archives.members(path))
    line = line_of(items, target, tmp_path / "x.tar", "rerun", second.id)
    assert (line.state, "by their clocks ended after it had begun" in line.by) == ("wrong", True), line
    assert pipeline.import_archive(tmp_path / "x.tar", target, Silent()).runs
