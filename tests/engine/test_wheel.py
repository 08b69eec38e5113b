"""The wheel as users install it: in an environment of its own, away from the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.settings import Home, resources
from engine.software import Base
from tests.conftest import MakeNotebook

pytestmark = pytest.mark.engine

CHECKOUT = Path(__file__).resolve().parents[2]


def call(command: Sequence[object], cwd: Path, home: Home | None = None) -> str:
    """Standard output of a command that must succeed and learns of no other code than its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if home is not None:
        environment["NBSEAL_HOME"] = str(home.root)
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of a fresh environment with the wheel and what the wheel itself asks for, at the locked versions."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    call([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, CHECKOUT], folder)
    # pip does not take a constraint's hashes for a requirement that has none, so the versions have to do.
    lock = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    versions = folder / "versions.txt"
    versions.write_text("\n".join(re.findall(r"^[a-z0-9][^ ]*==[^\\\n]*", lock, re.MULTILINE)), encoding="utf-8")
    venv.create(folder / "venv", with_pip=False)
    [wheel] = folder.glob("nbseal-*.whl")
    python = folder / "venv" / "bin" / "python"
    call([*pip, "--python", python, "install", "--no-compile", "--constraint", versions, wheel], folder)
    return python.parent


def test_the_wheel_ships_what_the_base_is_made_of(installed: Path, tmp_path: Path) -> None:
    found = Path(
        call([installed / "python", "-c", "import engine.settings as s; print(s.resources())"], tmp_path).strip()
    )
    assert found.is_relative_to(installed.parent)
    shipped = {path.relative_to(found): path.read_bytes() for path in found.rglob("*") if path.is_file()}
    recipe = [
        resources() / "Dockerfile.base",
        *(path for path in (resources() / "images").rglob("*") if path.is_file()),
    ]
    assert shipped == {path.relative_to(resources()): path.read_bytes() for path in recipe}


def test_it_runs_a_notebook_from_another_folder(
    installed: Path, notebook: MakeNotebook, fresh_home: Home, base: Base, kernel_image: str, tmp_path: Path
) -> None:
    path = notebook("rate = 0.1", "print(f'loss: {rate * 2}')")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    record = json.loads(call([installed / "nbseal", "run", path, "rate=0.5", "--json"], elsewhere, fresh_home))
    assert record["status"] == "completed"
    assert record["scalars"] == {"loss": 1.0}
    # The same base and image as from the checkout: nothing that they are made of depends on where the code is.
    assert record["base"] == base.id
    assert record["image"] == kernel_image
    assert not list(elsewhere.iterdir())
