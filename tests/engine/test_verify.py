"""``verify`` on real runs, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import MakeNotebook, Nbseal
from tests.engine.test_run import record_of

pytestmark = pytest.mark.engine


def test_each_unit_has_its_verdict(nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path) -> None:
    path = notebook(
        "import random, time\nprint('always')",
        "object()",
        "print(f'took {random.random() * 9:.3f} s')",
        "print('loss:', 0.5 + random.random() * 1e-8)",
        "open('near.csv', 'w').write(f'a,b\\n1.0,{2 + random.random() * 1e-8:.12f}\\n');",
    )
    first = record_of(nbseal("run", path, "--json"))
    assert "is the only one of its hash" in nbseal("verify", first["id"]).stderr

    again = record_of(nbseal("rerun", first["id"], "--json"), code=4)
    assert again["verdict"] == "close"
    second = record_of(nbseal("rerun", first["id"], "--at-least", "close", "--json"))

    for newer in (again["id"], second["id"]):
        found = record_of(nbseal("verify", newer, "--at-least", "close", "--json"))
        assert (found["run"], found["other"], found["hash"]) == (newer, first["id"], first["hash"])
        verdicts = {item["where"]: (item["verdict"], item["normalisers"]) for item in found["differences"]}
        assert verdicts == {
            "cell 2 output 1": ("equivalent", ["addresses"]),
            "cell 3 stdout": ("equivalent", ["timings"]),
            "cell 4 stdout": ("close", []),
            "scalar loss": ("close", []),
            "file near.csv": ("close", []),
        }
        assert found["units"] == 6

    page = tmp_path / "page.html"
    shown = nbseal("verify", again["id"], second["id"], "--html", page, "--without", "timings")
    assert shown.returncode == 4
    assert f"different from run {second['id']}" in shown.stdout
    assert "took " in page.read_text()
    assert nbseal("verify", again["id"], "--html", tmp_path / "no such folder/page.html").returncode == 2
    assert not (tmp_path / "no such folder").exists()
    assert nbseal("verify", again["id"], "--exact").returncode == 4
    assert nbseal("verify", again["id"], "--at-least", "close", "--tolerance", "1e-15").returncode == 4
    assert record_of(nbseal("verify", first["id"], first["id"], "--exact", "--json"))["verdict"] == "identical"

    kept = json.loads(nbseal("show", again["id"], "--json").stdout)
    assert kept["comparison"]["differences"][0]["verdict"] == "equivalent"


def test_against_the_outputs_in_the_notebook(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook("print('one')", "print('two')")
    record = record_of(nbseal("run", path, "--json"))
    empty = nbseal("verify", record["id"], "--stored")
    assert empty.returncode == 2
    assert "holds no stored outputs" in empty.stderr

    document = json.loads(path.read_bytes())
    for cell, text in zip(document["cells"], ("one\n", "twice\n"), strict=True):
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [text]}]
    path.write_text(json.dumps(document))
    record = record_of(nbseal("run", path, "--json"))
    found = record_of(nbseal("verify", record["id"], "--stored", "--json"), code=4)
    assert [(item["where"], item["detail"]) for item in found["differences"]] == [
        ("cell 2 stdout", "line 1: 'twice' became 'two'")
    ]
    assert found["other"] is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--stored", "OTHER"), "--stored compares with the notebook itself"),
        (("--exact", "--at-least", "close"), "contradict"),
        (("--without", "time"), "There is no normaliser 'time'"),
        (("--tolerance", "nan"), "A tolerance of nan is none"),
    ],
)
def test_wrong_input_is_said(nbseal: Nbseal, options: tuple[str, ...], says: str) -> None:
    done = nbseal("verify", "0" * 16, *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""
