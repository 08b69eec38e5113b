"""The user's identity, mount points, ownership, and the size of a work tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.containers.mountpoints import make_folder, make_mountpoints, remove_mountpoints
from engine.containers.profile import environment
from engine.containers.remote.program import usage
from engine.containers.user import UNPRIVILEGED, User, find_user, take_back
from engine.errors import BadInput


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.csv"
    file.write_text("1\n")
    file.chmod(0o644)
    return file


# --- identity ---------------------------------------------------------------------------------


def test_the_user_has_the_same_name_whatever_the_id() -> None:
    for user in (User(1000, 1000), User(UNPRIVILEGED, UNPRIVILEGED), User(7, 100)):
        name, _, uid, gid, *_ = user.passwd("nbseal", "/home/nbseal").splitlines()[-1].split(":")
        assert (name, int(uid), int(gid)) == ("nbseal", user.uid, user.gid)
        assert f"nbseal:x:{user.gid}:" in user.group("nbseal")
        assert user.passwd("nbseal", "/home/nbseal").endswith(":/home/nbseal:/bin/bash\n")


def test_the_container_is_never_root() -> None:
    user = find_user()
    assert user.uid
    assert user.gid
    if os.getuid():
        assert user.uid == os.getuid()


def test_the_environment_is_constant_and_sorted() -> None:
    variables = environment()
    assert variables == environment()
    assert list(variables) == sorted(variables)
    assert variables["PYTHONHASHSEED"] == "0"
    assert variables["TZ"] == "UTC"
    assert variables["HOME"] == "/home/nbseal"
    assert len({value for name, value in variables.items() if name.endswith("NUM_THREADS")}) == 1


def test_nothing_of_the_caller_enters_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment()
    for name in ("HOME", "USER", "OMP_NUM_THREADS", "PYTHONPATH", "SECRET"):
        monkeypatch.setenv(name, "leak")
    assert environment() == before


# --- mount points -----------------------------------------------------------------------------


def test_a_place_is_made_for_an_input_and_goes_again(project: Path, data: Path) -> None:
    made = make_mountpoints(project, [(data, "sub/deep/data.csv")], os.getuid())
    assert (project / "sub/deep/data.csv").read_bytes() == b""
    remove_mountpoints(project, made)
    assert list(project.iterdir()) == []


def test_what_the_notebook_added_beside_it_stays(project: Path, data: Path) -> None:
    made = make_mountpoints(project, [(data, "sub/data.csv")], os.getuid())
    (project / "sub/out.txt").write_text("x")
    remove_mountpoints(project, made)
    assert [path.name for path in (project / "sub").iterdir()] == ["out.txt"]


def test_a_file_of_the_project_is_mounted_over_and_stays(project: Path, data: Path) -> None:
    (project / "data.csv").write_text("old")
    made = make_mountpoints(project, [(data, "data.csv")], os.getuid())
    remove_mountpoints(project, made)
    assert (project / "data.csv").read_text() == "old"


def test_an_input_may_be_a_folder(project: Path, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir(mode=0o755)
    made = make_mountpoints(project, [(tmp_path / "many", "data")], os.getuid())
    assert (project / "data").is_dir()
    remove_mountpoints(project, made)
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("target", ["../x", "/etc/passwd", "a/../../x", ".", "", "a\0b"])
def test_a_target_outside_the_project_is_refused(project: Path, data: Path, target: str) -> None:
    with pytest.raises(BadInput):
        make_mountpoints(project, [(data, target)], os.getuid())
    assert list(project.iterdir()) == []


def test_a_target_through_a_link_is_refused_and_what_was_made_goes(project: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (project / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(BadInput):
        make_mountpoints(project, [(data, "new/a.csv"), (data, "link/data.csv")], os.getuid())
    assert list((tmp_path / "outside").iterdir()) == []
    assert [path.name for path in project.iterdir()] == ["link"]


def test_a_target_that_is_a_link_is_refused(project: Path, data: Path, tmp_path: Path) -> None:
    (project / "data.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput):
        make_mountpoints(project, [(data, "data.csv")], os.getuid())


def test_an_input_that_the_container_could_not_read_is_refused(project: Path, data: Path) -> None:
    data.chmod(0o600)
    with pytest.raises(BadInput, match="not readable"):
        make_mountpoints(project, [(data, "data.csv")], os.getuid() + 1)


def test_removing_follows_no_link_that_the_notebook_made(project: Path, data: Path, tmp_path: Path) -> None:
    made = make_mountpoints(project, [(data, "sub/data.csv")], os.getuid())
    (project / "sub/data.csv").unlink()
    (project / "sub").rmdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/data.csv").touch()
    (project / "sub").symlink_to(tmp_path / "outside")
    remove_mountpoints(project, made)
    assert (tmp_path / "outside/data.csv").exists()


def test_the_folder_of_the_notebook_is_made(project: Path) -> None:
    make_folder(project, "a/b")
    make_folder(project, "a/b")
    make_folder(project, ".")
    assert (project / "a/b").is_dir()


# --- ownership and size -----------------------------------------------------------------------


def test_what_the_notebook_closed_is_opened_for_its_owner(project: Path, tmp_path: Path) -> None:
    (project / "folder").mkdir()
    (project / "folder/file").write_text("x")
    (project / "folder/file").chmod(0)
    (project / "folder").chmod(0)
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o400)
    (project / "link").symlink_to(outside)
    take_back(project)
    assert (project / "folder").stat().st_mode & 0o777 == 0o700
    assert (project / "folder/file").stat().st_mode & 0o777 == 0o400
    assert outside.stat().st_mode & 0o777 == 0o400


def test_taking_back_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    take_back(tmp_path / "missing")


def test_disk_usage_counts_each_file_once_and_no_links(project: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/large").write_bytes(b"x" * 5_000_000)
    (project / "link").symlink_to(tmp_path / "outside")
    (project / "sub").mkdir()
    (project / "sub/file").write_bytes(b"x" * 1_000_000)
    (project / "again").hardlink_to(project / "sub/file")
    (project / "sparse").touch()
    os.truncate(project / "sparse", 1 << 40)
    told: list[None] = []
    folders = [str(project), str(tmp_path / "missing"), str(project / "sub")]
    assert 1_000_000 <= usage(folders, lambda: told.append(None)) < 1_100_000
    assert len(told) == 3  # project, sub, and sub again
