"""What does not move the hash: a case for each line of docs/explanation/identity.md."""

from __future__ import annotations

import copy
import os
import random
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from identity_builders import NOTEBOOK, Project

from engine.settings import Home
from tests.identity import hash_of


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path).make()


# --- the place -------------------------------------------------------------


@pytest.mark.parametrize("folder", ["elsewhere", "with blank/and \u00fcmlaut", "deep/er/and/deep/er"])
def test_not_the_folder(project: Project, tmp_path: Path, folder: str) -> None:
    other = Project(tmp_path / "other", folder).make()
    assert other.hash() == project.hash()


def test_not_how_the_folder_is_named(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = project.hash()
    monkeypatch.chdir(project.path.parent)
    assert hash_of(Path("n.ipynb"), project.home, inputs=["../../data.csv=data.csv"]) == before
    (tmp_path / "linked").symlink_to(project.folder)
    assert hash_of(tmp_path / "linked/work/n.ipynb", project.home, inputs=[f"{project.data}=data.csv"]) == before


def test_not_where_an_input_lies(project: Project, tmp_path: Path) -> None:
    before = project.hash()
    project.data.rename(tmp_path / "moved")
    assert project.hash(inputs=[f"{tmp_path / 'moved'}=data.csv"]) == before


def test_not_the_home(project: Project, tmp_path: Path) -> None:
    before = project.hash()
    project.home = Home(tmp_path / "another home")
    assert project.hash() == before


# --- the machine and its user ----------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"USER": "somebody", "LOGNAME": "somebody", "HOME": "/nonexistent"}, id="user"),
        pytest.param({"HOSTNAME": "elsewhere.example"}, id="host name"),
        pytest.param({"TZ": "Pacific/Kiritimati"}, id="time zone"),
        pytest.param({"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"}, id="locale"),
        pytest.param({"OMP_NUM_THREADS": "17", "PYTHONHASHSEED": "5", "MPLBACKEND": "Agg"}, id="own variables"),
        pytest.param({"SOURCE_DATE_EPOCH": "1", "PATH": "/nowhere"}, id="build variables"),
    ],
)
def test_not_the_variables_of_the_machine(
    project: Project, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    before = project.hash()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    time.tzset()
    try:
        assert project.hash() == before
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        pytest.param(os, "getuid", 4242, id="user"),
        pytest.param(socket, "gethostname", "elsewhere", id="host name"),
        pytest.param(time, "time", 4e9, id="time"),
        pytest.param(os, "cpu_count", 96, id="processors"),
    ],
)
def test_not_what_the_machine_says_of_itself(
    project: Project, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: Any
) -> None:
    before = project.hash()
    monkeypatch.setattr(module, name, lambda: value)
    assert project.hash() == before


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o027, 0o077])
def test_not_the_umask(project: Project, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        other = Project(tmp_path / "other").make()
        (other.folder / "tools/run.sh").chmod(0o777 & ~umask)
        assert other.hash() == project.hash()
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o666, 0o611])
def test_not_a_mode_bit_that_does_not_matter(project: Project, mode: int) -> None:
    before = project.hash()
    (project.path.parent / "helper.py").chmod(mode)
    assert project.hash() == before


@pytest.mark.parametrize("moment", [0, 1_000_000_000, 4_000_000_000])
def test_not_file_times(project: Project, moment: int) -> None:
    before = project.hash()
    for path in [project.data, project.folder, *project.folder.rglob("*")]:
        os.utime(path, (moment, moment), follow_symlinks=False)
    assert project.hash() == before


@pytest.mark.parametrize(
    "order", [sorted, lambda names: sorted(names, reverse=True), lambda names: names[3:] + names[:3]]
)
def test_not_the_order_of_making_files(project: Project, tmp_path: Path, order: Any) -> None:
    assert Project(tmp_path / "other").make(order).hash() == project.hash()


@pytest.mark.parametrize("seed", range(5))
def test_not_the_order_of_directory_entries(project: Project, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    before = project.hash()
    scandir, shuffled = os.scandir, []

    class Shuffled:
        def __init__(self, path: Any) -> None:
            with scandir(path) as listing:
                self.entries = list(listing)
            random.Random(seed).shuffle(self.entries)  # noqa: S311
            shuffled.append(len(self.entries))

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    assert project.hash() == before
    assert max(shuffled) > 3


# --- how the notebook was saved ----------------------------------------------


def _stored_outputs(cells: list[Any]) -> None:
    cells[2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["loss: 0.2\n"]}]


def _execution_counts(cells: list[Any]) -> None:
    cells[1]["execution_count"], cells[2]["execution_count"] = 17, 18


def _cell_ids(cells: list[Any]) -> None:
    for number, cell in enumerate(cells):
        cell["id"] = f"other-{number}"


def _no_cell_ids(cells: list[Any]) -> None:
    for cell in cells:
        del cell["id"]


def _source_as_lines(cells: list[Any]) -> None:
    for cell in cells:
        cell["source"] = cell["source"].splitlines(keepends=True)


def _source_with_crlf(cells: list[Any]) -> None:
    for cell in cells:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def _traces_of_editors(cells: list[Any]) -> None:
    cells[1]["metadata"] |= {
        "ExecuteTime": {"end_time": "2024"},
        "executionInfo": {"user": {"name": "x"}},
        "scrolled": True,
    }


@pytest.mark.parametrize(
    "change",
    [
        _stored_outputs,
        _execution_counts,
        _cell_ids,
        _no_cell_ids,
        _source_as_lines,
        _source_with_crlf,
        _traces_of_editors,
    ],
)
def test_not_how_an_editor_saves_cells(project: Project, change: Callable[[list[Any]], None]) -> None:
    before = project.hash()
    changed = copy.deepcopy(NOTEBOOK)
    change(changed["cells"])
    assert changed != NOTEBOOK
    project.save(changed)
    assert project.hash() == before


@pytest.mark.parametrize(
    "style",
    [
        pytest.param({"indent": 4}, id="indent"),
        pytest.param({"separators": (",", ":")}, id="no blanks"),
        pytest.param({"sort_keys": True}, id="order of keys"),
        pytest.param({"ensure_ascii": False}, id="no escapes"),
    ],
)
def test_not_json_formatting(project: Project, style: dict[str, Any]) -> None:
    before, bytes_before = project.hash(), project.path.read_bytes()
    project.save(NOTEBOOK, **style)
    assert project.path.read_bytes() != bytes_before
    assert project.hash() == before


def test_not_line_ends_of_the_notebook_file(project: Project) -> None:
    before = project.hash()
    project.save(NOTEBOOK, indent=1)
    project.path.write_bytes(project.path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert project.hash() == before


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"kernelspec": {"name": "my-env", "display_name": "mine", "language": "python"}},
        {"language_info": {"name": "python", "version": "3.13.1"}, "widgets": {}},
    ],
)
def test_not_the_kernel_that_the_notebook_was_saved_with(project: Project, metadata: Any) -> None:
    before = project.hash()
    project.save({**NOTEBOOK, "metadata": metadata, "nbformat_minor": 4})
    assert project.hash() == before


def test_not_the_name_of_the_notebook(project: Project) -> None:
    before = project.hash()
    project.path = project.path.rename(project.path.with_name("other.ipynb"))
    assert project.hash() == before


@pytest.mark.parametrize("assignment", ["lr=0.1", "lr=1e-1", "name=a", "layers=[1,2]", "fast=yes", "count=3"])
def test_not_a_flag_at_its_default(project: Project, assignment: str) -> None:
    assert project.hash(assignment) == project.hash()


def test_not_the_order_of_flags_and_inputs(project: Project, tmp_path: Path) -> None:
    (tmp_path / "more").write_text("x")
    one, other = f"{project.data}=data.csv", f"{tmp_path / 'more'}=more"
    first = project.hash("lr=1", "count=4", inputs=[one, other])
    assert project.hash("count=4", "lr=1", inputs=[other, one]) == first


@pytest.mark.parametrize(
    "name",
    [
        "work/.ipynb_checkpoints/n-checkpoint.ipynb",
        "work/__pycache__/helper.cpython-313.pyc",
        ".git/HEAD",
        ".venv/pyvenv.cfg",
        "work/n.requirements.lock",
        ".env",
    ],
)
def test_not_what_tools_leave_behind(project: Project, name: str) -> None:
    before = project.hash()
    (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (project.folder / name).write_bytes(b"x")
    assert project.hash() == before


def test_a_copy_of_the_tree_is_the_same(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.folder, tmp_path / "copied", symlinks=True)
    before = project.hash()
    project.path = tmp_path / "copied/work/n.ipynb"
    assert project.hash() == before
