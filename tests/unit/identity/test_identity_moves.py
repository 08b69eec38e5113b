"""What moves the hash: a case for each line of docs/explanation/identity.md; and the spec's canonical form."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from identity_builders import FLAGS, NOTEBOOK, Project

from engine.digests import digest_of
from engine.environments.images import describe
from engine.model import Spec
from engine.software import Base, Image, Layer, Wheel
from tests.identity import IMAGE, spec_of
from tests.unit.notebooks.notebook_builders import entry


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path).make()


# --- what is read ----------------------------------------------------------------------------------


def _cell(change: Callable[[list[Any]], None]) -> Callable[[Project], None]:
    def apply(project: Project) -> None:
        changed = copy.deepcopy(NOTEBOOK)
        change(changed["cells"])
        project.save(changed)

    return apply


def _file(name: str, data: bytes) -> Callable[[Project], None]:
    return lambda project: (project.folder / name).write_bytes(data) and None


def _retarget(project: Project) -> None:
    (project.folder / "link").unlink()
    (project.folder / "link").symlink_to("work/B.txt")


def _move(project: Project) -> None:
    (project.folder / "moved").mkdir()
    project.path = project.path.rename(project.folder / "moved/n.ipynb")


MOVES: dict[str, Callable[[Project], object]] = {
    "a changed cell": _cell(lambda cells: cells[2].update(source=cells[2]["source"] + "1")),
    "a comment in a cell": _cell(lambda cells: cells[2].update(source="# x\n" + cells[2]["source"])),
    "a changed text cell": _cell(lambda cells: cells[0].update(source="# Others")),
    "a cell more": _cell(lambda cells: cells.append(entry("1", id="more"))),
    "a cell less": _cell(lambda cells: cells.pop(0)),
    "cells in another order": _cell(lambda cells: cells.reverse()),
    "a cell of another type": _cell(lambda cells: cells[0].update(cell_type="raw")),
    "a tag": _cell(lambda cells: cells[2]["metadata"].update(tags=["skip-execution"])),
    "a changed source file": _file("work/helper.py", b"def twice(x):\n    return 3 * x\n"),
    "line ends of a source file": _file("work/helper.py", b"def twice(x):\r\n    return 2 * x\r\n"),
    "a source file more": _file("new.txt", b"x"),
    "an empty source file more": lambda project: (project.folder / "new").touch(),
    "a source file less": lambda project: (project.folder / "empty/x").unlink(),
    "a source file's name": lambda project: (project.folder / "work/a.txt").rename(project.folder / "work/A.txt"),
    "the mode bit that matters, set": lambda project: (project.folder / "work/helper.py").chmod(0o744),
    "the mode bit that matters, cleared": lambda project: (project.folder / "tools/run.sh").chmod(0o644),
    "a link's target": _retarget,
    "an input byte": lambda project: project.data.write_bytes(b"1,3\n"),
    "the notebook's folder in the project": _move,
}


@pytest.mark.parametrize("what", MOVES)
def test_moves(project: Project, what: str) -> None:
    before = project.hash()
    MOVES[what](project)
    assert project.hash() != before


@pytest.mark.parametrize(
    "assignment",
    ["lr=0.2", "lr=nan", "name=b", "name=", "layers=[2, 1]", "layers=[1.0, 2]", "fast=no", "count=4", "lr=-0.1"],
)
def test_moves_with_a_flag_value(project: Project, assignment: str) -> None:
    assert project.hash(assignment) != project.hash()


@pytest.mark.parametrize("literal", ["3.0", "'3'", "True", "[3]"])
def test_moves_with_a_flag_type(project: Project, literal: str) -> None:
    before = spec_of(project.path, project.home)
    changed = copy.deepcopy(NOTEBOOK)
    changed["cells"][1]["source"] = FLAGS.replace("count = 3", f"count = {literal}")
    project.save(changed)
    after = spec_of(project.path, project.home)
    kinds = [next(flag.type for flag in spec.flags if flag.name == "count") for spec in (before, after)]
    assert kinds[0] != kinds[1]
    assert digest_of(after.to_json()) != digest_of(before.to_json())
    # By the type alone too: the text of the cells is in the hash by itself.
    only = replace(before, flags=tuple(replace(flag, type="any") for flag in before.flags))
    assert digest_of(only.to_json()) != digest_of(before.to_json())


@pytest.mark.parametrize(
    "others",
    [
        pytest.param({"image": "sha256:" + "2" * 64}, id="image"),
        pytest.param({"network": True}, id="network policy"),
        pytest.param({"environment": {"TZ": "Europe/Berlin"}}, id="environment"),
        pytest.param({"gpus": "all"}, id="GPU request"),
        pytest.param({"platform": "linux/arm64"}, id="platform"),
        pytest.param({"inputs": []}, id="an input less"),
        pytest.param({"schema": 2}, id="schema of the spec"),
    ],
)
def test_moves_with_a_field(project: Project, others: dict[str, Any]) -> None:
    assert project.hash(**others) != project.hash()


def test_moves_with_an_environment_variable(project: Project) -> None:
    environment = dict(spec_of(project.path, project.home).environment)
    hashes = {project.hash(environment={**environment, name: environment[name] + "x"}) for name in environment}
    assert len(hashes | {project.hash()}) == len(environment) + 1


def test_moves_with_the_place_of_an_input(project: Project) -> None:
    assert project.hash(inputs=[f"{project.data}=other.csv"]) != project.hash()


def test_gpu_requests_differ(project: Project) -> None:
    assert len({project.hash(gpus=request) for request in ("", "1", "2", "all")}) == 4


# --- lock and base move it through the image --------------------------------------------------------

LAYERS = (Layer("sha256:" + "a" * 64, 10, "root"), Layer("sha256:" + "b" * 64, 10, "harness"))
FRAME = Layer("sha256:" + "c" * 64, 10, "frame")


def _image(base: tuple[Layer, ...], frame: Layer, distributions: tuple[Layer, ...]) -> Image:
    plain = Base("sha256:" + "0" * 64, "3.11.2", "2.36", base, (), (), 1, "")
    wheels = [Wheel(layer.of, "1", f"{layer.of}-1-py3-none-any.whl", layer.diff_id, 1) for layer in distributions]
    return describe(plain, wheels, frame, distributions)[0]


@pytest.mark.parametrize("what", ["lock line", "lock line less", "base", "frame"])
def test_moves_with_lock_and_base(project: Project, what: str) -> None:
    one, two, other = (Layer("sha256:" + sign * 64, 10, f"dist{sign}") for sign in "def")
    before = _image(LAYERS, FRAME, (one, two))
    after = {
        "lock line": lambda: _image(LAYERS, FRAME, (one, other)),
        "lock line less": lambda: _image(LAYERS, FRAME, (one,)),
        "base": lambda: _image((LAYERS[0], replace(LAYERS[1], diff_id=other.diff_id)), FRAME, (one, two)),
        "frame": lambda: _image(LAYERS, replace(FRAME, diff_id=other.diff_id), (one, two)),
    }[what]()
    assert project.hash(image=before.id) == project.hash(image=_image(LAYERS, FRAME, (one, two)).id)
    assert project.hash(image=after.id) != project.hash(image=before.id)


# --- the canonical form -----------------------------------------------------------------------------


def test_a_field_at_its_default_is_left_out() -> None:
    plain = Spec("n", (), "s", (), IMAGE, {})
    assert plain.to_json().keys() == {
        "schema", "notebook", "flags", "source", "inputs", "image", "environment", "platform",
    }  # fmt: skip
    # Written down when the first version was: whatever a later one adds, this must not move.
    assert digest_of(plain.to_json()) == "sha256:56c70aa7ae625d0173a2669dbd9e73cf55985cc7fc22a2d00ae20d56cb5bb75a"


@pytest.mark.parametrize(
    "changes", [{}, {"gpus": "all"}, {"network": True}, {"directory": "work"}, {"gpus": "1", "network": True}]
)
def test_a_spec_comes_back_from_its_json(project: Project, changes: dict[str, Any]) -> None:
    spec = replace(spec_of(project.path, project.home, "lr=inf", inputs=[f"{project.data}=d"]), **changes)
    again = Spec.from_json(json.loads(json.dumps(spec.to_json())), spec.inputs)
    assert again == spec
    assert again.to_json() == spec.to_json()


def test_every_field_of_the_spec_is_in_the_canonical_form(project: Project) -> None:
    spec = replace(spec_of(project.path, project.home), directory="x", network=True, gpus="all")
    assert spec.to_json().keys() == {field.name for field in fields(Spec)}
