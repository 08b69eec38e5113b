"""Runs side by side and part by part, of a home and of archives."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.results import cell_changes
from engine.results.cell_changes import SECONDS
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal

pytestmark = pytest.mark.engine


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def elsewhere(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line of somebody whose home has nothing, and who has no container engine."""
    return subprocess.run(
        [sys.executable, "-m", "engine", *map(str, arguments)],
        env={**os.environ, "NBSEAL_HOME": str(home), "DOCKER_HOST": "unix:///nowhere/docker.sock"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_two_runs_are_compared_at_home_and_out_of_archives(
    nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path
) -> None:
    path = notebook("lr = 0.5\nname = 'a'", "print('loss:', 2 * lr)", "open('o.txt', 'w').write(name)", "print('same')")
    helper = path.parent / "helper.py"
    helper.write_text("one\ntwo\n")
    old = document(nbseal("run", path, "--json"))
    helper.write_text("one\nthree\n")
    new = document(nbseal("run", path, "lr=0.25", "name=<b>", "--json"))
    ids = (old["id"], new["id"])

    found = document(nbseal("diff", *ids, "--json"))
    assert (found["old"], found["new"]) == ids
    assert found["flags"] == [
        {"name": "lr", "old": "0.5", "new": "0.25"},
        {"name": "name", "old": "'a'", "new": "'<b>'"},
    ]
    assert found["scalars"] == [{"name": "loss", "old": "1.0", "new": "0.5"}]
    assert [item["name"] for item in found["source"]] == ["helper.py"]
    assert found["texts"] == {"helper.py": "@@ -1,2 +1,2 @@\n one\n-two\n+three"}
    assert [item["name"] for item in found["files"]] == ["o.txt"]
    assert found["lock"] == found["inputs"] == found["outcome"] == []
    cells = found["cells"]
    assert "## modified cell 1:" in cells
    assert "-  lr = 0.5" in cells
    assert "## modified cell 2 output 1 text:" in cells
    assert "same" not in cells

    archives = [tmp_path / "old.tar.zst", tmp_path / "new.tar"]
    for run, archive in zip(ids, archives, strict=True):
        document(nbseal("archive", run, "-o", archive, "--no-image", "--json"))
    options = [text for archive in archives for text in ("--archive", archive)]
    assert document(elsewhere(tmp_path / "home", "diff", *ids, *options, "--json")) == found
    assert document(nbseal("diff", *ids, "--archive", archives[0], "--json")) == found  # one of both is here
    told = elsewhere(tmp_path / "home", "diff", *ids, *options)
    assert told.returncode == 0
    assert "  lr    0.5  0.25" in told.stdout

    rows = document(elsewhere(tmp_path / "home", "compare", *options, "--json"))
    assert rows == document(nbseal("compare", *ids, "--json"))
    assert [(row["id"], row["flags"], row["scalars"]) for row in rows] == [
        (old["id"], {"lr": 0.5, "name": "a"}, {"loss": 1.0}),
        (new["id"], {"lr": 0.25, "name": "<b>"}, {"loss": 0.5}),
    ]
    header, *lines = csv.reader(io.StringIO(nbseal("compare", *ids, "--csv").stdout))
    assert header[-3:] == ["flag:lr", "flag:name", "loss"]
    assert [line[-3:] for line in lines] == [["0.5", "a", "1.0"], ["0.25", "<b>", "0.5"]]
    assert not list((tmp_path / "home").rglob("run.json"))


def test_a_run_is_the_same_as_its_rerun(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    run = document(nbseal("run", notebook("print(1)"), "--json"))
    again = document(nbseal("rerun", run["id"], "--json"))
    told = nbseal("diff", run["id"], again["id"])
    assert told.stdout.splitlines()[-1] == "The runs are the same in everything that is compared."
    found = document(nbseal("diff", run["id"], again["id"], "--json"))
    assert not any(found[part] for part in found.keys() - {"old", "new"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diff", "0000", "0000"], "There is no run '0000'."),
        (["compare", "xyz"], "'xyz' is not a run's id or hash."),
        (["compare", "--archive", "missing.tar"], "missing.tar cannot be read: No such file or directory."),
        (["compare", "--csv", "--json"], "--csv and --json contradict each other."),
        (["show", "0000", "--archive", "missing.tar"], "missing.tar cannot be read: No such file or directory."),
    ],
)
def test_wrong_input_is_told(arguments: list[str], message: str, nbseal: Nbseal) -> None:
    done = nbseal(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_notebooks_that_cannot_be_aligned_end_in_time() -> None:
    def notebook(seed: int) -> dict[str, Any]:
        sources = ["\n".join(f"x{i}_{j} = {i * j * seed % 9973}" for j in range(30)) for i in range(1500)]
        return {"cells": [{"cell_type": "code", "id": f"c{i}", "source": source, "metadata": {}, "execution_count": 1,
                           "outputs": []} for i, source in enumerate(sources)]}  # fmt: skip

    began = time.monotonic()
    assert cell_changes(notebook(7919), notebook(104729)) is None
    assert time.monotonic() - began < SECONDS + 10


def test_an_archive_in_the_project_is_no_source(nbseal: Nbseal, notebook: MakeNotebook, home: Home) -> None:
    path = notebook("print(1)")
    run = document(nbseal("run", path, "--json"))
    for name in ("a.tar", "b.tar.zst"):
        document(nbseal("archive", run["id"], "-o", path.parent / name, "--no-image", "--no-wheels", "--json"))
    (path.parent / "other.tar").write_bytes(b"not one")
    again = document(nbseal("run", path, "--json"))
    assert "a.tar: an archive of runs" in " ".join(again["notes"])
    (path.parent / "other.tar").unlink()
    assert document(nbseal("run", path, "--json"))["hash"] == run["hash"]
