"""Which file of a lock is taken, and that what the home has is taken from there without any process."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.tags import Tag

from engine.environments.tags import best, platforms, read_wheel_name, tags
from engine.environments.wheels import fetch
from engine.errors import EnvironmentFailed
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base, Distribution, Lock

BASE = Base("sha256:" + "0" * 64, "3.11.2", "2.36", (), (), (), 1, "")
A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x-1-py3-none-any.whl", "x-1-cp311-cp311-manylinux_2_17_x86_64.whl"], 1),
        (["x-1-cp311-cp311-manylinux2014_x86_64.whl", "x-1-cp311-cp311-manylinux_2_28_x86_64.whl"], 1),
        (["x-1-cp311-cp311-manylinux_2_36_x86_64.whl", "x-1-cp311-cp311-manylinux_2_39_x86_64.whl"], 0),
        (["x-1-cp39-abi3-manylinux1_x86_64.manylinux_2_28_x86_64.whl", "x-1-py3-none-any.whl"], 0),
        (["x-1-cp310-cp310-manylinux_2_17_x86_64.whl", "x-1-py2.py3-none-any.whl"], 1),
        (["x-1-cp311-cp311-linux_x86_64.whl", "x-1-cp311-cp311-manylinux1_x86_64.whl"], 1),
        (["x-1-2-py3-none-any.whl", "x-1-10-py3-none-any.whl", "x-1-py3-none-any.whl"], 1),
        (["x-1-cp311-cp311-musllinux_1_2_x86_64.whl", "x-1-cp311-cp311-win_amd64.whl"], None),
        (["x-1.tar.gz", "../x-1-py3-none-any.whl", "x-1-py3-none.whl"], None),
        ([], None),
    ],
)
def test_the_best_wheel_whatever_the_order(names: list[str], expected: int | None) -> None:
    wanted = None if expected is None else names[expected]
    assert best(names, BASE) == wanted
    assert best(reversed(names), BASE) == wanted


def test_tags_of_the_base_and_not_of_the_host() -> None:
    order = tags("3.11.2", "2.36")
    assert order[Tag("cp311", "cp311", "manylinux_2_36_x86_64")] == 0
    assert Tag("cp311", "cp311", "manylinux_2_37_x86_64") not in order
    assert Tag("cp312", "cp312", "manylinux_2_17_x86_64") not in order
    assert platforms("2.17")[:2] == ("manylinux_2_17_x86_64", "manylinux2014_x86_64")
    assert platforms("2.36")[-3:] == ("manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64")


def test_a_local_version_is_part_of_the_version() -> None:
    named = read_wheel_name("torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", BASE)
    assert named is not None
    assert (named.name, named.version) == ("torch", "2.13.0+cpu")


def lock(*items: Distribution) -> Lock:
    return Lock("", "", "3.11.2", "", items)


def kept(home: Home, digest: str, name: str) -> None:
    path = home.wheels / digest / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"wheel")


def test_what_the_home_has_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    home = Home(tmp_path)
    kept(home, A, "x_y-1.0-py3-none-any.whl")
    (wheel,) = fetch(lock(Distribution("x-y", "1.0", (f"sha256:{A}",))), BASE, home, Silent())
    assert (wheel.filename, wheel.sha256, wheel.size) == ("x_y-1.0-py3-none-any.whl", f"sha256:{A}", 5)


@pytest.mark.parametrize(
    ("name", "why"), [("x-1-cp312-cp312-manylinux_2_17_x86_64.whl", "does not fit"), ("y-1-py3-none-any.whl", "is y-1")]
)
def test_a_lock_whose_file_is_another(tmp_path: Path, name: str, why: str) -> None:
    home = Home(tmp_path)
    kept(home, A, name)
    with pytest.raises(EnvironmentFailed, match=why):
        fetch(lock(Distribution("x", "1", (f"sha256:{A}",))), BASE, home, Silent())
