"""Each line of an audit in each of its states, and what an audit asks for, writes and leaves alone."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from engine import __version__, daemon, pipeline, signing, store
from engine.checklist import Line
from engine.digests import canonical_json
from engine.errors import BadInput, EnvironmentFailed, VerificationFailed
from engine.files import remove_tree
from engine.pipeline.plan import recorded_plan
from engine.progress import Silent
from engine.results import render_audit
from engine.settings import Home
from tests.fuzz.mutations import resealed
from tests.unit.archives import small_archives
from tests.unit.archives.conftest import Sample
from tests.unit.archives.small_archives import Member, rebag, tree
from tests.unit.archives.stamps import Authority


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect() -> daemon.Engine:
        raise AssertionError("an audit asked for a container engine")

    monkeypatch.setattr("engine.daemon.connect", connect)


@pytest.fixture
def trusting(sample: Sample, target: Home) -> Home:
    signing.trust(target, "alice@example.org", sample.key.public)
    return target


def stamped(items: list[Member], authority: Authority, when: datetime, accuracy: bytes = b"") -> list[Member]:
    """The members with a time stamp over their tag manifest."""
    top = items[0].name.partition("/")[0]
    signed = next(item.data for item in items if item.name.endswith("/tagmanifest-sha256.txt"))
    return [*items, Member(f"{top}/{STAMP}", authority.stamp(signed, when, accuracy))]


def by_name(audit: pipeline.Audit) -> dict[str, Line]:
    """The lines of an archive of one run."""
    assert len({line.name for line in audit.lines}) == len(audit.lines)
    return {line.name: line for line in audit.lines}


def audited(items: list[Member], home: Home, path: Path) -> dict[str, Line]:
    return by_name(pipeline.audit_archive(small_archives.write(path, items), home, Silent()))


def named(lines: dict[str, Line], state: str) -> set[str]:
    return {name for name, line in lines.items() if line.state == state}


STAMP = "attestations/tagmanifest-sha256.txt.tsr"
CLAIMED = {"software", "one-ledger", "host", "times", "logged", "trail", "execution", "network", "log", "build"}


def test_what_a_signed_archive_proves(sample: Sample, trusting: Home) -> None:
    audit = pipeline.audit_archive(sample.path, trusting, Silent())
    lines = by_name(audit)
    assert named(lines, "claimed") == CLAIMED
    assert named(lines, "missing") == {"timestamp", "rerun"}
    assert named(lines, "proven") == set(pipeline.AUDITED) - CLAIMED - {"timestamp", "rerun", "custody"}
    assert all(
        lines[name].by.startswith("alice@example.org") for name in ("software", "execution", "network", "build", "host")
    )
    assert lines["times"].by == "the clock of the executing host, told by alice@example.org"
    assert audit.runs == (sample.one.id,)


def test_a_key_that_nobody_knows_only_claims(sample: Sample, target: Home) -> None:
    lines = by_name(pipeline.audit_archive(sample.path, target, Silent()))
    for name in ("signature", "provenance", "sealed-by", "ledger", "inclusion"):
        assert lines[name].state == "claimed"
    assert lines["execution"].by.startswith(f"the holder of the key {sample.key.public.fingerprint}")


def test_unsigned_what_cannot_be_made_again_is_claimed_by_nobody(
    sample: Sample, trusting: Home, tmp_path: Path
) -> None:
    items = [item for item in sample.members() if "/attestations/" not in item.name]
    lines = audited(items, trusting, tmp_path / "x.tar")
    assert named(lines, "missing") == {"signature", "provenance", "ledger", "timestamp", "inclusion", "rerun"}
    assert lines["software"].by == "nobody"
    assert lines["execution"].by.startswith("alice@example.org")  # whose signature of the run is still there
    items = [item for item in items if not item.name.endswith("manifest-sha256.txt.sig")]
    entries = next(item for item in items if "/data/ledger/" in item.name)
    changed = [json.loads(line) for line in entries.data.splitlines()]
    for entry in changed:
        entry.pop("key", None)
    entries.data = b"".join(canonical_json(entry) + b"\n" for entry in changed)
    lines = audited(rebag(items), trusting, tmp_path / "y.tar")
    assert lines["sealed-by"].state == "missing"
    assert {lines[name].by.partition(";")[0] for name in ("execution", "network", "host", "build")} == {"nobody"}


@pytest.mark.parametrize("trust", ["root", "certificate"])
def test_a_time_stamp_is_proven_by_a_certificate_of_this_home(
    trust: str, sample: Sample, trusting: Home, tmp_path: Path
) -> None:
    authority, now = Authority.make(), datetime.now(UTC)
    items = stamped(sample.members(), authority, now)
    line = audited(items, trusting, tmp_path / "x.tar")["timestamp"]
    assert (line.state, line.statement) == ("claimed", f"the archive existed at {now:%Y-%m-%d %H:%M:%S} UTC")
    signing.trust_authority(trusting, "tsa", getattr(authority, trust).public_bytes(Encoding.PEM))
    lines = audited(items, trusting, tmp_path / "x.tar")
    assert (lines["timestamp"].state, lines["timestamp"].by) == (
        "proven", f"the time stamp of tsa, certificate {lines['timestamp'].key}",
    )  # fmt: skip
    assert lines["timestamp"].key == "sha256:" + authority.certificate.fingerprint(SHA256()).hex()
    assert f"it ended before {now:%Y-%m-%d %H:%M:%S} UTC" in lines["times"].by


@pytest.mark.parametrize(
    ("part", "gone"), [("image", {"image"}), ("wheels", {"wheels", "packages"}), ("inputs", {"inputs"})]
)
def test_what_was_left_out_is_missing(
    part: str, gone: set[str], sample: Sample, trusting: Home, tmp_path: Path
) -> None:
    path = small_archives.archive(sample.home, [sample.one], tmp_path / "x.tar.zst", (part,))
    lines = by_name(pipeline.audit_archive(path, trusting, Silent()))
    assert named(lines, "missing") == {*gone, "timestamp", "rerun"}
    assert not named(lines, "wrong") | named(lines, "unchecked")
    assert all("left out" in lines[name].by for name in gone)
    assert lines["base"].state == ("claimed" if part == "image" else "proven")


def edited(name: str, change: Callable[[Any], object]) -> Callable[[list[Member]], list[Member]]:
    """A document changed, all digests made to fit, and nothing signed."""

    def edit(items: list[Member]) -> list[Member]:
        item = next(item for item in items if item.name.endswith(name))
        if name.endswith((".ipynb", ".jsonl")):
            item.data = change(item.data)
        else:
            document = json.loads(item.data)
            change(document)
            item.data = canonical_json(document)
        kept = [x for x in items if "/attestations/" not in x.name and not x.name.endswith("manifest-sha256.txt.sig")]
        return rebag(resealed(kept))

    return edit


def without(name: str) -> Callable[[list[Member]], list[Member]]:
    """A file of a run taken away, all digests made to fit, and nothing signed."""

    def edit(items: list[Member]) -> list[Member]:
        kept = [x for x in items if "/attestations/" not in x.name and not x.name.endswith("manifest-sha256.txt.sig")]
        return rebag(resealed([item for item in kept if not item.name.endswith(name)]))

    return edit


def of_entry(change: Callable[[dict[str, Any]], object]) -> Callable[[list[Member]], list[Member]]:
    def edit(items: list[Member]) -> list[Member]:
        item = next(item for item in items if "/data/ledger/" in item.name)
        entries = [json.loads(line) for line in item.data.splitlines()]
        change(entries[0])
        item.data = b"".join(canonical_json(entry) + b"\n" for entry in entries)
        return rebag([item for item in items if "/attestations/" not in item.name])

    return edit


@pytest.mark.parametrize(
    ("edit", "line", "told"),
    [
        (edited("/run.json", lambda d: d["outputs"].pop()), "outputs", "run.json"),
        (edited("/run.json", lambda d: d["scalars"].update(loss=0.1)), "scalars", "run.json"),
        (edited("/scalars.jsonl", lambda data: data + b'{"name":"loss"}\n'), "scalars", "scalars.jsonl"),
        (edited("/executed.ipynb", lambda data: data.replace(b"print(1)", b"print(2)")), "cells", "executed.ipynb"),
        (without("/scalars.jsonl"), "scalars", "scalars.jsonl"),
        (without("/executed.ipynb"), "page", "data/pages/"),
        (edited("/original.ipynb", lambda data: data.replace(b"print(1)", b"print(2)")), "notebook", "original.ipynb"),
        (edited("/run.json", lambda d: d["wheels"].clear()), "wheels", ".whl"),
        (of_entry(lambda entry: entry.update(hash="0" * 64)), "inclusion", "/ledger/"),
        (of_entry(lambda entry: entry.update(index=99)), "inclusion", "/ledger/"),
    ],
    ids=[
        "outputs",
        "scalars",
        "values",
        "cells",
        "no values",
        "no outputs",
        "original",
        "wheels",
        "hash in the ledger",
        "order of the ledger",
    ],
)
def test_a_forgery_whose_every_digest_fits_is_found_by_making_it_again(
    edit: Callable[[list[Member]], list[Member]],
    line: str,
    told: str,
    sample: Sample,
    trusting: Home,
    tmp_path: Path,
) -> None:
    lines = audited(edit(sample.members()), trusting, tmp_path / "x.tar")
    found = [item for item in lines.values() if item.state == "wrong" and told in item.by]
    assert line in {item.name for item in found}, {item.by for item in lines.values() if item.state == "wrong"}


def test_the_words_of_another_version_are_claimed_and_not_wrong(sample: Sample, trusting: Home, tmp_path: Path) -> None:
    items = [item for item in sample.members() if "/attestations/" not in item.name]
    info = next(item for item in items if item.name.endswith("/bag-info.txt"))
    readme = next(item for item in items if item.name.endswith("/README.md"))
    readme.data += b"In other words.\n"
    info.data = info.data.replace(b"nbseal 0.", b"nbseal 99.")
    lines = audited(rebag(items), trusting, tmp_path / "x.tar")
    assert not named(lines, "wrong")
    assert lines["readme"].state == "claimed"
    assert lines["readme"].by.startswith("nobody: it was written by nbseal 99.")
    assert lines["readme"].by.endswith("another version's wording, or forged")
    assert lines["page"].state == "proven"


def test_what_is_behind_something_wrong_is_not_checked(sample: Sample, trusting: Home, tmp_path: Path) -> None:
    items = sample.members()
    next(item for item in items if item.name.endswith("/data/archive.json")).data = b"{}"
    lines = audited(items, trusting, tmp_path / "x.tar")
    assert named(lines, "wrong") == {"container", "contents"}
    assert "archive.json" in lines["container"].by
    assert lines["signature"].state == "unchecked"
    items = sample.members()
    executed = next(item for item in items if item.name.endswith("/executed.ipynb"))
    executed.data = executed.data.replace(b"print(1)", b"print(2)")
    lines = audited(items, trusting, tmp_path / "y.tar")
    assert named(lines, "wrong") == {"container", "seal"}
    assert {"outputs", "page", "execution", "sealed-by", "readme"} <= named(lines, "unchecked")
    assert {"source", "hash", "image", "wheels"} - named(lines, "proven") == {"source"}


def test_a_file_that_cannot_be_received_is_one_line(sample: Sample, trusting: Home, tmp_path: Path) -> None:
    items = [*sample.members(), Member("../../etc/\x1b[31mx", b"x")]
    (line,) = pipeline.audit_archive(small_archives.write(tmp_path / "x.tar", items), trusting, Silent()).lines
    assert (line.name, line.state) == ("container", "wrong")
    assert "../../etc/" in line.by
    assert line.by.isprintable()
    with pytest.raises(BadInput):
        pipeline.audit_archive(tmp_path / "nothing.tar", trusting, Silent())


def test_a_run_of_the_home_has_the_same_lines(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(sample.home.root)
    lines = by_name(pipeline.audit_run(sample.one.id[:8], sample.home, Silent()))
    assert tree(sample.home.root) == before
    assert not named(lines, "wrong") | named(lines, "unchecked")
    archived = by_name(pipeline.audit_archive(sample.path, sample.home, Silent()))
    of_archives = {"container", "software", "contents", "readme", "crate", "page", "sbom"}
    assert archived.keys() - lines.keys() == of_archives
    states = {name: line.state for name, line in archived.items() if name not in of_archives}
    assert {name: line.state for name, line in lines.items()} == {
        **states, "signature": "missing", "provenance": "missing",
    }  # fmt: skip


def test_what_a_home_has_lost_of_a_run_is_missing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    record = small_archives.run(home, tmp_path / "project")
    layer = max(home.layers.iterdir(), key=lambda path: path.stat().st_mtime)
    layer.unlink()
    lines = by_name(pipeline.audit_run(record.id, home, Silent()))
    assert (lines["image"].state, lines["wheels"].state) == ("missing", "proven")
    assert "gone" in lines["image"].by
    remove_tree(home.wheels)
    lines = by_name(pipeline.audit_run(record.id, home, Silent()))
    assert {lines[name].state for name in ("image", "wheels", "packages")} == {"missing"}
    assert "lost the wheel" in lines["wheels"].by
    assert not named(lines, "wrong")
    path = home.runs / record.id / "log.txt"
    path.chmod(0o644)
    path.write_text("changed")
    (line,) = pipeline.audit_run(record.id, home, Silent()).lines
    assert (line.state, "log.txt" in line.by) == ("wrong", True)
    remove_tree(home.root)


def test_a_rerun_is_compared_again_when_the_archive_has_both(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = small_archives.run(home, tmp_path / "project")
    second = small_archives.run(home, tmp_path / "project", rerun_of=first.id)
    assert second.comparison is not None
    both = small_archives.archive(home, [first, second], tmp_path / "both.tar")
    alone = small_archives.archive(home, [second], tmp_path / "alone.tar")
    lines = {line.subject: line for line in pipeline.audit_archive(both, home, Silent()).lines if line.name == "rerun"}
    assert (lines[f"run {first.id}"].state, lines[f"run {second.id}"].state) == ("proven", "proven")
    assert lines[f"run {second.id}"].statement == f"its record and that of run {first.id} compare as identical"
    assert lines[f"run {second.id}"].by.endswith("that both were executed is claimed by nobody")
    assert not pipeline.audit_archive(both, home, Silent()).lacks("rerun")
    line = by_name(pipeline.audit_archive(alone, home, Silent()))["rerun"]
    assert (line.state, line.by) == ("claimed", "nobody: that run is not in the archive")
    forge = edited(f"{second.id}/run.json", lambda document: document["comparison"].update(verdict="close"))
    path = small_archives.write(tmp_path / "x.tar", forge(small_archives.members(both)))
    (line,) = (line for line in pipeline.audit_archive(path, home, Silent()).lines if line.subject.endswith(second.id)
               and line.name == "rerun")  # fmt: skip
    assert (line.state, first.id in line.by, second.id in line.by) == ("wrong", True, True)
    remove_tree(home.root)


# --- the command ------------------------------------------------------------------------------


def test_what_is_required_has_to_be_proven(
    sample: Sample, trusting: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from engine.cli import auditing

    monkeypatch.setenv("NBSEAL_HOME", str(trusting.root))
    assert auditing.audit(str(sample.path), auditing.required(["signature,ledger", "image"]), None, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["required"], document["lacking"]) == (["signature", "ledger", "image"], [])
    assert document["schema"] == 1
    assert document["counts"]["proven"] == sum(line["state"] == "proven" for line in document["lines"])
    assert document["tagmanifest"].startswith("sha256:")
    for name in ("timestamp", "execution"):  # missing, and only claimed
        assert auditing.audit(str(sample.path), [name], None, as_json=False) == 4
        assert f"Required and not proven: {name}." in capsys.readouterr().err
    with pytest.raises(BadInput, match="signatur'") as caught:
        auditing.required(["signatur"])
    assert caught.value.hint.startswith("Did you mean signature? ")


def test_the_page_shows_hostile_text_as_text() -> None:
    lines = [
        Line("hash", "run <b>x</b>", "what", "<script>alert(1)</script>", "wrong", '"><img src=x onerror=alert(1)>'),
        Line("seal", "run <b>x</b>", "what", "x", "proven", "y"),
    ]
    page = render_audit(lines, ("archive <i>x</i>", "place"), "1 wrong", {"required": "a <i>name</i> (not proven)"})
    assert "default-src &#x27;none&#x27;" in page
    assert "a &lt;i&gt;name&lt;/i&gt; (not proven)" in page
    body = page.partition("</style>")[2]
    for text in ("<script", "<img", "<i>", "<b>x"):
        assert text not in body
    assert body.count("&lt;script&gt;alert(1)") == 2  # among what is wrong, and in its place


def test_every_line_has_a_name_that_can_be_required(sample: Sample, trusting: Home) -> None:
    lines = pipeline.audit_archive(sample.both, trusting, Silent()).lines
    order = {name: place for place, name in enumerate(pipeline.AUDITED)}
    assert {line.name for line in lines} <= order.keys()
    for subject in {line.subject for line in lines}:
        places = [order[line.name] for line in lines if line.subject == subject]
        assert places == sorted(places)


def test_a_page_replaces_a_page_and_nothing_else(
    sample: Sample, trusting: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from engine.cli import auditing, verifying

    def told(page: Path) -> int:
        return auditing.audit(str(archive), (), page, as_json=True)

    monkeypatch.setenv("NBSEAL_HOME", str(trusting.root))
    archive, page = tmp_path / "x.tar", tmp_path / "page.html"
    archive.write_bytes(sample.path.read_bytes())
    (tmp_path / "link.html").symlink_to(archive)
    (tmp_path / "hard.html").hardlink_to(archive)
    (tmp_path / "notes.html").write_text("<!DOCTYPE html><html>mine")
    assert told(page) == told(page) == 0
    before = tree(tmp_path)
    audited: list[str] = []
    monkeypatch.setattr(pipeline, "audit_archive", lambda *_: audited.append("audited"))
    for other in (archive, *(tmp_path / f"{name}.html" for name in ("link", "hard", "notes")), tmp_path,
                  tmp_path / "no such folder/x.html"):  # fmt: skip
        with pytest.raises(BadInput):
            told(other)
        with pytest.raises(BadInput):
            verifying.verify(
                "0" * 16, None, verifying.rules(None, None), "identical",
                stored=False, budget=None, page=other, as_json=True,
            )  # fmt: skip
    assert not audited
    assert tree(tmp_path) == before


# --- who, and since when -----------------------------------------------------------------------


def times(sample: Sample, began: str, ended: str) -> list[Member]:
    def change(document: Any) -> None:
        document["outcome"].update(started=began, finished=ended)

    return edited("/run.json", change)(sample.members())


@pytest.mark.parametrize(
    ("began", "ended", "why"),
    [
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "ended before it began"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:07Z", "after the archive existed at 2026-01-01 00:00:05 UTC"),
        ("soon", "2026-01-01T00:00:07Z", "a time that is none"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:05.9Z", ""),
    ],
)
def test_times_that_contradict_each_other_or_the_time_stamp_are_wrong(
    began: str, ended: str, why: str, sample: Sample, trusting: Home, tmp_path: Path
) -> None:
    when = datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    authority = Authority.make(when=when)
    items = stamped(times(sample, began, ended), authority, when)
    signing.trust_authority(trusting, "tsa", authority.root.public_bytes(Encoding.PEM))
    line = audited(items, trusting, tmp_path / "x.tar")["times"]
    assert (line.state, why in line.by) == ("wrong" if why else "claimed", True)


def test_a_time_stamp_that_proves_nothing_bounds_nothing(sample: Sample, trusting: Home, tmp_path: Path) -> None:
    authority = Authority.make()
    signing.trust_authority(trusting, "tsa", authority.root.public_bytes(Encoding.PEM))
    items = stamped(sample.members(), authority, datetime.now(UTC))
    next(item for item in items if item.name.endswith("/README.md")).data += b"more"
    lines = audited(items, trusting, tmp_path / "x.tar")
    assert lines["timestamp"].state == "unchecked"
    assert "existed" not in lines["times"].by


def test_a_signature_tells_its_signer_and_its_key(sample: Sample, trusting: Home, target: Home) -> None:
    key = sample.key.public.fingerprint
    lines = by_name(pipeline.audit_archive(sample.path, trusting, Silent()))
    for name in ("signature", "provenance", "ledger", "inclusion", "sealed-by"):
        assert (lines[name].signer, lines[name].key) == ("alice@example.org", key)
        assert key in lines[name].by


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ('namespaces="git"', "has its key as alice@example.org, but not for nbseal-"),
        ('valid-before="20200101Z"', "has its key as alice@example.org, but it is not valid at 20"),
    ],
)
def test_a_known_key_that_does_not_count_is_not_called_unknown(
    options: str, why: str, sample: Sample, target: Home
) -> None:
    file = signing.allowed_signers(target)
    file.parent.mkdir(parents=True)
    file.write_text(f"nonsense\nalice@example.org {options} {sample.key.public.line}\n")
    audit = pipeline.audit_archive(sample.path, target, Silent())
    lines = by_name(audit)
    for name in ("signature", "provenance", "ledger", "sealed-by"):
        assert (lines[name].state, why in lines[name].by) == ("claimed", True), lines[name].by
        assert (lines[name].signer, lines[name].key) == ("", sample.key.public.fingerprint)
    assert audit.problems == ("allowed_signers: line 1 counts for nobody: it is not 'names [options] type key'",)


def test_a_key_that_has_expired_since_counts_everywhere(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    key = signing.make(home, "alice@example.org", None)
    record = small_archives.run(home, tmp_path / "project")
    archive = small_archives.archive(home, [record], tmp_path / "x.tar")
    time.sleep(1.1)
    expired = f"{datetime.now(UTC):%Y%m%d%H%M%SZ}"
    time.sleep(1.1)
    signing.allowed_signers(home).write_text(f'alice@example.org valid-before="{expired}" {key.public.line}\n')
    run = by_name(pipeline.audit_run(record.id, home, Silent()))
    assert (run["sealed-by"].state, run["sealed-by"].signer) == ("proven", "alice@example.org")
    assert run["sealed-by"].by.endswith("(by the ledger's own clock)")
    lines = by_name(pipeline.audit_archive(archive, home, Silent()))
    assert {lines[name].state for name in ("sealed-by", "signature", "provenance", "ledger")} == {"proven"}
    assert pipeline.look(record, home).seal.signature == "trusted"
    history, _ = store.history_of(home, record.id)
    assert store.logged_seal(history, store.known_keys(home)).signature == "trusted"
    # A time stamp that counts knows better: this archive was only seen when the key had expired.
    authority = Authority.make()
    signing.trust_authority(home, "tsa", authority.root.public_bytes(Encoding.PEM))
    items = stamped(small_archives.members(archive), authority, datetime.now(UTC))
    lines = audited(items, home, tmp_path / "y.tar")
    assert {lines[name].state for name in ("sealed-by", "signature", "provenance", "ledger")} == {"claimed"}
    assert "(by the time stamp)" in lines["signature"].by
    remove_tree(home.root)


def test_an_imported_run_tells_whence_it_came(sample: Sample, trusting: Home) -> None:
    signing.make(trusting, "bob@example.org", None)
    pipeline.import_archive(sample.path, trusting, Silent())
    lines = by_name(pipeline.audit_run(sample.one.id, trusting, Silent()))
    assert lines["inclusion"].statement.startswith("its import is entry ")
    assert lines["logged"].statement.startswith("the ledger entered its import at ")
    assert lines["custody"].by == "bob@example.org, who imported it"
    assert "signed by alice@example.org (trusted there); before, it was entry " in lines["custody"].statement
    remove_tree(trusting.root)


# --- runs of the home ---------------------------------------------------------------------------


def test_a_lost_source_file_is_missing_and_the_rest_goes_on(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    record = small_archives.run(home, tmp_path / "project", lib__x="x = 1")
    whole = by_name(pipeline.audit_run(record.id, home, Silent()))
    for text, name in ((b"x = 1", "source"), (b"1,2\n", "inputs")):
        digest = hashlib.sha256(text).hexdigest()
        (home.blobs / digest[:2] / digest).unlink()
        lines = by_name(pipeline.audit_run(record.id, home, Silent()))
        assert (lines[name].state, digest in lines[name].by) == ("missing", True)
    assert {name: line.state for name, line in lines.items()} == {
        **{name: line.state for name, line in whole.items()}, "source": "missing", "inputs": "missing",
    }  # fmt: skip
    with pytest.raises(VerificationFailed, match="no longer holds"):
        small_archives.archive(home, [record], tmp_path / "x.tar")
    remove_tree(home.root)


def test_a_run_that_is_under_way_has_not_ended(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    ended = small_archives.run(home, tmp_path / "project")
    source = recorded_plan(ended, store.open_run(home, ended.id)).source
    record = replace(ended, id=store.new_id(), status="running", outcome=None)
    with store.begin_run(home, record, b"{}", {}, "", source), pytest.raises(BadInput, match="has not ended"):
        pipeline.audit_run(record.id, home, Silent())
    remove_tree(home.root)


def test_a_full_disk_is_told_for_what_it_is(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if "run.tar" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EnvironmentFailed, match="No space left") as caught:
        pipeline.audit_run(sample.one.id, sample.home, Silent())
    assert str(sample.home.temporary) in caught.value.hint


def test_what_a_run_cannot_have_is_not_required_of_it(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.cli import auditing

    monkeypatch.setenv("NBSEAL_HOME", str(sample.home.root))
    with pytest.raises(BadInput, match="called container, page") as caught:
        auditing.audit(sample.one.id, auditing.required(["container,page,seal"]), None, as_json=True)
    assert "seal, sealed-by" in caught.value.hint
    assert auditing.required(["signature, ", ",seal"]) == ("signature", "seal")
    with pytest.raises(BadInput, match="names no line"):
        auditing.required([" ,"])


def test_a_report_says_what_it_is_about_and_by_what_it_was_made(
    sample: Sample, trusting: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from engine.cli import auditing

    monkeypatch.setenv("NBSEAL_HOME", str(trusting.root))
    page = tmp_path / "x.html"
    auditing.audit(str(sample.path), ("signature", "timestamp"), page, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["nbseal"] == __version__
    assert abs((datetime.fromisoformat(document["audited"]) - datetime.now(UTC)).total_seconds()) < 60
    auditing.audit(str(sample.path), ("signature", "timestamp"), None, as_json=False)
    for report in (capsys.readouterr().out, page.read_text()):
        for text in (f"UTC by nbseal {__version__}", sample.path.name, document["tagmanifest"],
                     "signature (proven), timestamp (not proven)", sample.key.public.fingerprint):  # fmt: skip
            assert text in report
