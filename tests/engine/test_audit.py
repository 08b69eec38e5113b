"""The audit of a real run: signed, time-stamped, and tampered with in every way that we know."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine import pipeline
from engine.progress import Silent
from engine.settings import Home
from tests import forging
from tests.conftest import MakeNotebook, Nbseal
from tests.engine.test_archive import authority  # noqa: F401 (a fixture)
from tests.tampering import EDITS, TIMESTAMP_EDITS, Edit

pytestmark = pytest.mark.engine

CELLS = (
    "factor = 3",
    "import numpy\nopen('out.txt', 'w').write(str(factor) * 5)\nprint('loss:', factor, numpy.__version__)",
)
#: What nothing but the tar records.
UNRECORDED = {"executable output"}
#: What an archive without image and wheels has nothing of.
LEFT_OUT = {
    "flip a wheel",
    "flip a Debian package",
    "flip a layer",
    "flip an image's config",
    "flip an image's manifest",
    "flip image/index.json",
    "flip image/manifest.json",
    "flip image/oci-layout",
    "a wheel removed",
    "two wheels swapped",
    *(f"{what}, bagged anew{how}" for what in ("a wheel", "a layer", "a wheel less") for how in ("", ", unsigned")),
}


def document(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def states(audit: Any) -> dict[tuple[str, str], str]:
    return {(line["name"], line["subject"]): line["state"] for line in audit["lines"]}


def test_a_real_run_is_audited_and_every_tampering_named(
    nbseal: Nbseal,
    notebook: MakeNotebook,
    fresh_home: Home,
    tmp_path: Path,
    authority: tuple[str, Path],  # noqa: F811
) -> None:
    url, folder = authority
    document(nbseal("keys", "new", "--name", "alice@example.org", "--unencrypted", "--json"))
    path = notebook(*CELLS, tags={0: ["parameters"]})
    for name in ("data.csv", "helper.py"):
        (path.parent / name).write_text(f"# {name}\n")
    first = document(
        nbseal("run", path, "factor=4", "--input", path.parent / "data.csv", "--requirement", "numpy", "--json")
    )
    assert nbseal("comment", first["id"], "looks right").returncode == 0
    before = tmp_path / "before.tar"
    document(nbseal("archive", first["id"], "-o", before, "--tsa", url, "--json"))
    slim = ("--no-image", "--no-wheels", "--tsa", url, "--json")
    document(nbseal("archive", first["id"], "-o", "one.tar", *slim))
    second = document(nbseal("rerun", first["hash"], "--json"))
    whole = tmp_path / "whole.tar"
    document(nbseal("archive", first["id"], second["id"], "-o", whole, "--tsa", url, "--json"))

    began = time.monotonic()
    seen = states(document(nbseal("audit", whole, "--json")))
    print(f"audit of {whole.stat().st_size:,} bytes: {time.monotonic() - began:.1f} s")
    assert "wrong" not in seen.values()
    assert "unchecked" not in seen.values()
    assert seen["timestamp", ""] == "claimed"
    assert nbseal("keys", "trust", "tsa.example.org", folder / "ca.pem").returncode == 0
    required = "signature,provenance,ledger,timestamp,inclusion,source,inputs,image,wheels,packages,lock,notebook,sbom"
    audit = document(nbseal("audit", whole, "--require", required, "--html", tmp_path / "audit.html", "--json"))
    seen = states(audit)
    assert seen["rerun", f"run {second['id']}"] == "proven"
    assert seen["rerun", f"run {first['id']}"] == "proven"
    claimed = {name for (name, _), state in seen.items() if state == "claimed"}
    assert claimed == {
        "software", "one-ledger", "host", "times", "logged", "trail", "execution", "network", "log", "build",
    }  # fmt: skip
    assert "tsa.example.org" in (tmp_path / "audit.html").read_text()
    assert document(nbseal("audit", whole, "--require", "rerun", "--json"))["lacking"] == []
    assert document(nbseal("audit", before, "--require", "rerun", "--json"), 4)["lacking"] == ["rerun"]
    assert "trusted" in nbseal("runs", "--archive", whole).stderr

    of_run = states(document(nbseal("audit", first["id"][:8], "--json", env={"DOCKER_HOST": "tcp://127.0.0.1:9"})))
    assert "wrong" not in of_run.values()
    assert of_run["image", f"image {first['image'].removeprefix('sha256:')[:12]}"] == "proven"
    assert of_run["notebook", f"run {first['id']}"] == of_run["outputs", f"run {first['id']}"] == "proven"

    # What reads every layer takes seconds, so of edits to what is large there are only some.
    large = {"flip a layer", "flip a wheel", "flip a Debian package", "a layer, bagged anew, unsigned"}
    folder = unpacked(tmp_path / "large", before, whole)
    for edit in (edit for edit in EDITS if edit.name in large):
        is_named(edit, folder, fresh_home, seen)
    document(nbseal("archive", first["id"], second["id"], "-o", "both.tar", *slim))
    seen = states(document(nbseal("audit", "both.tar", "--json")))
    folder = unpacked(tmp_path / "slim", tmp_path / "one.tar", tmp_path / "both.tar")
    assert {edit.name for edit in EDITS} > LEFT_OUT
    for edit in (*EDITS, *TIMESTAMP_EDITS):
        if edit.name not in LEFT_OUT:
            is_named(edit, folder, fresh_home, seen)


def unpacked(folder: Path, before: Path, whole: Path) -> Path:
    forging.unpack(before, folder / "another")
    forging.unpack(whole, folder / "archive")
    return folder


def is_named(edit: Edit, folder: Path, home: Home, seen: dict[tuple[str, str], str]) -> None:
    """An audit names the edit, or takes a proof away."""
    copy = folder.with_name("copy")
    [bag] = forging.copy(folder, copy).joinpath("archive").iterdir()
    edit.apply(bag)
    found = pipeline.audit_archive(forging.pack(bag, folder.with_name("x.tar")), home, Silent())
    shutil.rmtree(copy)
    wrong = [line.by for line in found.lines if line.state == "wrong"]
    now = {(line.name, line.subject): line.state for line in found.lines}
    if edit.name in UNRECORDED:
        assert now == seen
    elif edit.told is None:
        assert any(edit.entry in by for by in wrong), (edit.name, wrong)
    else:
        assert {key for key, state in seen.items() if state == "proven" and now.get(key) != "proven"}, edit.name


def test_an_audit_that_is_interrupted_or_killed_leaves_nothing(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path
) -> None:
    record = document(nbseal("run", notebook("print('loss: 1')"), "--json"))
    document(nbseal("archive", record["id"], "-o", tmp_path / "a.tar", "--json"))
    environment = {**os.environ, "NBSEAL_HOME": str(fresh_home.root)}
    for number in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            [sys.executable, "-m", "engine", "audit", str(tmp_path / "a.tar")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not list(fresh_home.temporary.glob("archive-*/bag/*")):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -9)
        assert "Traceback" not in said
        assert any(fresh_home.temporary.glob("archive-*")) == (number == signal.SIGKILL)
    document(nbseal("audit", tmp_path / "a.tar", "--json"))
    assert not any(fresh_home.temporary.glob("*archive-*"))
