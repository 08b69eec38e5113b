"""The same hash in real processes of other users, hosts, locales and Pythons, in real checkouts and real runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engine.files import remove_tree
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal
from tests.engine.test_run import record_of
from tests.identity import hash_of
from tests.unit.identity.identity_builders import NOTEBOOK, Project

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
NOBODY = 65534
#: Loads all that is needed, becomes another user, and only then looks at the project.
AS_ANOTHER = f"""
import os, sys
from pathlib import Path
from engine.settings import Home
from tests.identity import hash_of
hash_of(Path(sys.argv[2]), Home(Path(sys.argv[1]) / "before"))
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
assert os.getuid() == {NOBODY}
print(hash_of(Path(sys.argv[2]), Home(Path(sys.argv[1]) / "after")))
"""

root_only = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user or to name the host")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may enter and write to."""
    place = Path(tempfile.mkdtemp(prefix="nbseal-"))
    place.chmod(0o777)
    yield place
    remove_tree(place)


@pytest.fixture
def project(place: Path) -> Project:
    return Project(place).make()


def ask(
    project: Project,
    *,
    python: str = sys.executable,
    program: Sequence[str] = ("-m", "tests.identity"),
    before: Sequence[str] = (),
    env: dict[str, str] | None = None,
    umask: int = -1,
) -> str:
    """The hash of the project, from another process with a home of its own."""
    home = Path(tempfile.mkdtemp(dir=project.root))
    home.chmod(0o777)
    done = subprocess.run(
        [*before, python, *program, str(home), str(project.path)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def plain(project: Project) -> str:
    return hash_of(project.path, project.home)


# --- other processes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "LANG": "C"},
        {"LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu"},
        {"TZ": "America/St_Johns", "PYTHONHASHSEED": "77", "HOME": "/nonexistent", "USER": "x", "LOGNAME": "x"},
    ],
)
def test_locale_time_zone_and_variables(project: Project, env: dict[str, str]) -> None:
    assert ask(project, env=env) == plain(project)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_umask(project: Project, umask: int) -> None:
    assert ask(project, umask=umask) == plain(project)


@root_only
def test_user(project: Project) -> None:
    assert ask(project, program=("-c", AS_ANOTHER)) == plain(project)


@root_only
def test_host_name(project: Project) -> None:
    rename = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && test "$(hostname)" = elsewhere && exec "$@"', "sh"]
    assert ask(project, before=rename) == plain(project)


def test_folder_and_order_of_directory_entries(project: Project, tmp_path: Path) -> None:
    """In memory a folder lists its newest file first."""
    memory = Path(tempfile.mkdtemp(prefix="nbseal-", dir="/dev/shm"))
    try:
        others = [Project(memory / "one", "a b/\u00fc").make(), Project(memory / "two").make(lambda names: names[::-1])]
        listings = [[path.name for path in os.scandir(other.path.parent)] for other in others]
        assert listings[0] != listings[1]
        assert sorted(listings[0]) == sorted(listings[1])
        assert [ask(other) for other in others] == [plain(project)] * 2
    finally:
        remove_tree(memory)


def _other_pythons() -> list[str]:
    """The Pythons of this machine, of another version than ours, that nbseal could run on."""
    names = [f"python3.{minor}" for minor in range(11, 20)]
    found = [shutil.which(name) for name in ["python3", *names]] + ["/usr/bin/python3"]
    found += [str(path) for path in Path(sys.base_prefix).parent.glob("*/bin/python3")]  # as pyenv and uv keep them
    pythons: dict[str, str] = {}
    for python in filter(None, found):
        done = subprocess.run(
            [python, "-c", "import sys; print(*sys.version_info[:3])"], capture_output=True, check=False
        )
        version = done.stdout.decode().split()
        if not done.returncode and (3, 11) <= tuple(map(int, version)) != sys.version_info[:3]:
            pythons.setdefault(".".join(version), python)
    return list(pythons.values())


def test_the_python_of_the_host(project: Project) -> None:
    others = _other_pythons()
    if not others:
        pytest.skip("this machine has one Python only")
    packages = {"PYTHONPATH": sysconfig.get_path("purelib"), "PYTHONDONTWRITEBYTECODE": "1"}
    for python in others:
        assert ask(project, python=python, env=packages) == plain(project), python


# --- real checkouts -----------------------------------------------------------------------------


def _git(*arguments: object, cwd: Path) -> None:
    clean = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, *map(str, arguments)], cwd=cwd, env={**os.environ, **clean}, check=True)


@pytest.mark.parametrize("attributes", ["", "*.txt text\n*.py text eol=crlf\n"])
def test_line_ends_kept_by_git(project: Project, attributes: str) -> None:
    (project.path.parent / "dos.csv").write_bytes(b"1\r\n2\r\n")
    (project.path.parent / "lines.txt").write_bytes(b"1\n2\n")
    (project.folder / ".gitattributes").write_text(attributes)
    project.save(NOTEBOOK, indent=1)
    before = plain(project)
    _git("init", "-q", ".", cwd=project.folder)
    _git("-c", "core.safecrlf=false", "add", "-A", cwd=project.folder)
    _git("commit", "-q", "-m", "all", cwd=project.folder)
    for number, settings in enumerate(
        (["core.autocrlf=true"], ["core.autocrlf=input"], ["core.eol=crlf"], ["index.version=4", "core.autocrlf=true"])
    ):
        options = [part for setting in settings for part in ("--config", setting)]
        _git("clone", "-q", *options, project.folder, project.root / str(number), cwd=project.root)
        clone = Project(project.root, str(number))
        converted = b"\r\n" in (clone.path.parent / "helper.py").read_bytes()
        assert converted == ("core.autocrlf=true" in settings or bool(attributes))
        assert ask(clone) == before, settings


# --- real runs ----------------------------------------------------------------------------------


def test_real_runs_have_the_hash_of_their_files(
    nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path, fresh_home: Home
) -> None:
    path = notebook("lr = 0.1", "print(f'loss: {lr}')")
    (path.parent / "tool.sh").write_text("echo\n")
    (path.parent / "\u00e9.txt").write_text("\u00e9")
    first = record_of(nbseal("run", path, "lr=0.5", "--json"))
    assert first["hash"] == hash_of(path, fresh_home, "lr=0.5", image=first["image"])

    elsewhere = tmp_path / "else where"
    shutil.copytree(path.parent, elsewhere)
    for file in elsewhere.rglob("*"):
        os.utime(file, (0, 0))
    # A locale in which Python would not read file names as UTF-8.
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env = {"TZ": "Asia/Tokyo", "USER": "other", "OMP_NUM_THREADS": "1", **ascii_only}
    same = record_of(nbseal("run", elsewhere / path.name, "lr=0.5", "--json", env=env))
    assert (same["hash"], same["image"]) == (first["hash"], first["image"])

    (elsewhere / "tool.sh").chmod(0o755)
    executable = record_of(nbseal("run", elsewhere / path.name, "lr=0.5", "--json"))
    more = record_of(nbseal("run", path, "lr=0.5", "--requirement", "six", "--json"))
    assert more["image"] != first["image"]
    assert len({first["hash"], executable["hash"], more["hash"]}) == 3
