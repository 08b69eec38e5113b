"""What all tests share: a home whose slow parts are made once, and the command line as users call it.

The tests work below the user's own home (NBSEAL_HOME, else the data directory) and borrow what it keeps by
digest, to which they only ever add, so that the second `make test` makes nothing. What the user would notice
(runs, resolutions) stays apart. Being in one place, all is on one file system, as it is for users.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from engine import daemon, environments
from engine.errors import EnvironmentFailed
from engine.files import locked, remove_tree
from engine.progress import Silent
from engine.settings import Home, find_home
from engine.software import Base, Requirements

# How fast examples are made says something of the machine, which others use too, and nothing of nbseal.
settings.register_profile("nbseal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nbseal")
# A shell has its background jobs ignore Ctrl-C, which programs inherit and tests about it would not stand.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Folders of a home that only hold content by digest.
CONTENT = ("bases", "packages", "layers", "wheels")
#: And what was made from it, or learned, by other tests.
MADE = ("resolutions", "images")

Nbseal = Callable[..., subprocess.CompletedProcess[str]]
MakeNotebook = Callable[..., Path]


@pytest.fixture(scope="session")
def engine() -> daemon.Engine:
    """The container engine of this machine; tests that need one fail where there is none."""
    return daemon.connect()


@pytest.fixture(scope="session")
def home(engine: daemon.Engine) -> Home:
    """A home of the tests with the base image in it, and in the engine."""
    home = Home(find_home().root / "tests" / "home")
    with locked(home.root.with_name("home.lock")):  # two processes test at once, and the first of them finds nothing
        borrow(find_home(), home, CONTENT)
        try:
            environments.ensure_base(home, engine, Silent())
        except EnvironmentFailed:
            environments.build_base(home, engine, Silent(), repin=True)
    return home


@pytest.fixture(scope="session")
def base(home: Home, engine: daemon.Engine) -> Base:
    """The base of this version."""
    return environments.ensure_base(home, engine, Silent())


@pytest.fixture(scope="session")
def kernel_image(home: Home, engine: daemon.Engine, base: Base) -> str:
    """The id of an image with the kernel and nothing else."""
    lock = environments.resolve(Requirements(), base, home, engine, Silent())
    wheels = environments.fetch(lock, base, home, Silent())
    return environments.build(base, wheels, home, engine, Silent()).id


@pytest.fixture
def fresh_home(home: Home) -> Iterator[Home]:
    """A home without runs, which borrows all that is slow to make; gone after the test."""
    fresh = Home(Path(tempfile.mkdtemp(prefix="fresh-", dir=home.root.parent)))
    borrow(home, fresh, (*CONTENT, *MADE))
    yield fresh
    remove_tree(fresh.root)


def borrow(source: Home, target: Home, names: Sequence[str]) -> None:
    """Let a home have what another keeps."""
    target.root.mkdir(parents=True, exist_ok=True)
    for name in names:
        (source.root / name).mkdir(parents=True, exist_ok=True)
        if not (target.root / name).exists():
            (target.root / name).symlink_to(source.root / name)


def own(source: Home, target: Home, names: Sequence[str]) -> None:
    """Let a home lose what another keeps: the same files, under names of its own. Others may be adding some."""
    for name in names:
        borrowed, kept = (source.root / name).resolve(), target.root / name
        if kept.is_symlink():
            kept.unlink()
        for folder, _, files in os.walk(borrowed):
            place = kept / Path(folder).relative_to(borrowed)
            place.mkdir(parents=True, exist_ok=True)
            for file in files:
                with suppress(FileNotFoundError):  # what was being made
                    os.link(Path(folder, file), place / file)


@pytest.fixture
def nbseal(fresh_home: Home, tmp_path: Path) -> Nbseal:
    """Call the command line in a process of its own: ``nbseal("run", path, home=..., cwd=..., env=...)``."""

    def call(
        *arguments: object,
        home: Home = fresh_home,
        cwd: Path = tmp_path,
        env: dict[str, str] | None = None,
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "engine", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "NBSEAL_HOME": str(home.root), "COLUMNS": "120", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call


@pytest.fixture
def notebook(tmp_path: Path) -> MakeNotebook:
    """Write a notebook of code cells: ``notebook("x = 1", "print(x)", name="n.ipynb", tags={0: ["parameters"]})``."""

    def make(
        *cells: str, name: str = "notebook.ipynb", tags: dict[int, Sequence[str]] | None = None, **metadata: Any
    ) -> Path:
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "nbseal.yml").touch()
        document = {
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{index}",
                    "metadata": {"tags": list((tags or {}).get(index, []))},
                    "execution_count": None,
                    "outputs": [],
                    "source": source,
                }
                for index, source in enumerate(cells)
            ],
            "metadata": {
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                **metadata,
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return make
