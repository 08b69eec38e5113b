"""``run`` and ``rerun`` from the outside: what a user types, sees and finds on the disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal

pytestmark = pytest.mark.engine


def record_of(done: Any, code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_a_run_is_recorded_with_flags_scalars_and_files(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home
) -> None:
    path = notebook("lr = 0.1  # the rate\nname = 'a'", "print(f'loss: {lr * 2}')\nopen('out.txt', 'w').write(name)")
    before = path.read_bytes()
    record = record_of(nbseal("run", path, "lr=0.5", "--json"))
    assert record["status"] == "completed"
    assert record["notebook"] == "notebook.ipynb"
    assert record["flags"] == {"lr": 0.5, "name": "a"}
    assert record["scalars"] == {"loss": 1.0}
    assert [(item["path"], item["change"], item["size"]) for item in record["outputs"]] == [("out.txt", "added", 1)]
    assert len(record["hash"]) == 64
    assert record["image"].startswith("sha256:")
    assert record["verdict"] is None
    folder = fresh_home.runs / record["id"]
    assert (folder / "original.ipynb").read_bytes() == before == path.read_bytes()
    assert "lr = 0.5  # the rate" in json.loads((folder / "notebook.ipynb").read_text())["cells"][0]["source"]
    assert sorted(path.parent.iterdir()) == [path.parent / "nbseal.yml", path]
    assert not (folder / "spool").exists()


def test_the_same_thing_twice_is_two_runs_with_one_hash_in_any_folder(
    nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path
) -> None:
    path = notebook("x = 1", "print(x)")
    elsewhere = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(path.parent, elsewhere)
    first = record_of(nbseal("run", path, "--json"))
    second = record_of(nbseal("run", elsewhere / path.name, "x=1", "--json"))
    other = record_of(nbseal("run", path, "x=2", "--json"))
    assert first["hash"] == second["hash"] != other["hash"]
    assert len({first["id"], second["id"], other["id"]}) == 3


def test_a_rerun_needs_nothing_but_the_record(nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2\n")
    path = notebook(
        "import helper", "print(f'total: {helper.total(\"data.csv\")}')\nopen('changed.txt', 'w').write('new')"
    )
    (path.parent / "helper.py").write_text(
        "def total(path):\n    return sum(map(int, open(path).read().strip().split(',')))\n"
    )
    (path.parent / "changed.txt").write_text("old")
    first = record_of(nbseal("run", path, "--input", data, "--json"))
    assert first["scalars"] == {"total": 3.0}
    assert [item["change"] for item in first["outputs"]] == ["changed"]
    shutil.rmtree(path.parent)
    data.unlink()
    again = record_of(nbseal("rerun", first["hash"][:10], "--json"))
    assert again["hash"] == first["hash"]
    assert again["verdict"] == "identical"
    assert again["rerun_of"] == first["id"]
    assert again["comparison"]["differences"] == []


def test_a_rerun_that_differs_says_where_and_exits_4(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook("print('the same')", "import os\nprint(os.urandom(8).hex())\nopen('a', 'wb').write(os.urandom(9))")
    first = record_of(nbseal("run", path, "--json"))
    again = record_of(nbseal("rerun", first["id"], "--json"), code=4)
    assert again["verdict"] == "different"
    assert [item["where"] for item in again["comparison"]["differences"]] == ["cell 2 stdout", "file a"]
    text = nbseal("rerun", first["id"])
    assert text.returncode == 4
    assert "different" in text.stdout
    assert "cell 2" in text.stdout


def test_a_failing_cell_keeps_what_came_before(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook("print('score: 1.5')", "1 / 0", "print('never')")
    done = nbseal("run", path, "--json")
    record = record_of(done, code=1)
    assert record["status"] == "failed"
    assert record["scalars"] == {"score": 1.5}
    assert record["outcome"]["error"]["cell"] == 1
    assert record["outcome"]["error"]["name"] == "ZeroDivisionError"
    assert "Cell 2 raised ZeroDivisionError" in done.stderr
    assert "1 / 0" in done.stderr
    assert "never" not in nbseal("logs", record["id"]).stdout
    again = record_of(nbseal("rerun", record["id"], "--json"))
    assert (again["status"], again["verdict"]) == ("failed", "identical")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lr=fast"], "float"),
        (["rate=1"], "lr"),
        (["lr"], "="),
        (["--input", "missing.csv"], "missing.csv"),
        (["--memory", "lots"], "lots"),
        (["-r", "missing.txt"], "missing.txt"),
        (["--requirement", "not a requirement!"], "not a requirement!"),
        (["--as-of", "yesterday"], "yesterday"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, arguments: list[str], words: str
) -> None:
    done = nbseal("run", notebook("lr = 0.1"), *arguments, "--json")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert words in done.stderr
    assert not fresh_home.runs.exists() or not list(fresh_home.runs.iterdir())


def test_flags_are_listed(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook("lr = 0.1\nname = 'a'", 'size = 3  # @param {type:"integer"}')
    text = nbseal("run", path, "--help-flags").stdout
    assert [line.split()[0:2] for line in text.splitlines()[1:]] == [["lr", "float"], ["name", "str"], ["size", "int"]]
    listed = json.loads(nbseal("run", path, "--help-flags", "--json").stdout)
    assert {item["name"]: item["default"] for item in listed} == {"lr": "0.1", "name": "'a'", "size": "3"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 2),
        (b"not json", 2),
        (b'{"a": 1}', 2),
        (b"\x89PNG\r\n\x1a\n", 2),
        (b'{"cells": [], "metadata": {"kernelspec": {"language": "R"}}, "nbformat": 4, "nbformat_minor": 5}', 2),
        (b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', 0),
        (b'{"worksheets": [{"cells": [{"cell_type": "code", "language": "python", "input": "print(1)", "outputs": [],'
         b' "prompt_number": 1, "metadata": {}}], "metadata": {}}], "metadata": {"name": ""}, "nbformat": 3,'
         b' "nbformat_minor": 0}', 0),
    ],
    ids=["empty file", "not json", "no notebook", "binary", "R", "no cells, no kernel", "format 3"],
)  # fmt: skip
def test_bad_and_old_notebooks(nbseal: Nbseal, tmp_path: Path, content: bytes, code: int) -> None:
    path = tmp_path / "odd" / "odd.ipynb"
    path.parent.mkdir()
    path.write_bytes(content)
    done = nbseal("run", path, "--json")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (code == 0)


def test_50_mb_of_output_are_kept(nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home) -> None:
    path = notebook("for _ in range(50):\n    print('x' * 999_999)", "print('end: 1')")
    record = record_of(nbseal("run", path, "--json"))
    assert record["scalars"] == {"end": 1.0}
    assert (fresh_home.runs / record["id"] / "executed.ipynb").stat().st_size > 50_000_000


def test_runs_are_read_by_id_and_hash(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook(
        "print('value: 3')", "from IPython.display import HTML\nHTML('<script>alert(1)</script><b>bold</b>')"
    )
    record = record_of(nbseal("run", path, "--json"))
    listed = json.loads(nbseal("runs", "--json").stdout)
    assert [(item["id"], item["hash"], item["status"]) for item in listed] == [
        (record["id"], record["hash"], "completed")
    ]
    assert record["id"][:8] in nbseal("runs").stdout
    assert json.loads(nbseal("show", record["hash"][:12], "--json").stdout) == record
    assert "value  3" in nbseal("show", record["id"][:6]).stdout
    assert "value: 3" in nbseal("logs", record["id"]).stdout
    page = Path(json.loads(nbseal("open", record["id"], "--json").stdout)["page"]).read_text()
    assert "<b>bold</b>" in page
    assert "<script" not in page.replace("&lt;script", "")
    unknown = nbseal("show", "0000000000")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "nbseal runs" in unknown.stderr


def test_an_unknown_home_is_no_error(nbseal: Nbseal, tmp_path: Path) -> None:
    done = nbseal("runs", "--json", home=Home(tmp_path / "nothing"))
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_a_changed_record_is_not_rerun(nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home) -> None:
    record = record_of(nbseal("run", notebook("print(1)"), "--json"))
    kept = fresh_home.runs / record["id"] / "notebook.ipynb"
    kept.chmod(0o644)
    kept.write_text(kept.read_text().replace("print(1)", "print(2)"))
    done = nbseal("rerun", record["id"], "--json")
    assert (done.returncode, done.stdout) == (4, "")
    assert "notebook.ipynb" in done.stderr
