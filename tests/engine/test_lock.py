"""Locks by the real resolvers: uv and pip on this machine, pip-tools in a container."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from wheel_builders import make_wheel, serve, sha256

from engine.daemon import Engine
from engine.digests import bare
from engine.environments.indexes import read_indexes
from engine.environments.lockfile import render_lock
from engine.environments.resolve import resolve
from engine.environments.wheels import fetch
from engine.errors import BadInput, EnvironmentFailed
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base, Lock, Requirements

BASE = Base("sha256:" + "0" * 64, "3.11.2", "2.36", (), (), (), 1, "")


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


class Desk:
    """A home and a folder of wheels that is the only index."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = Home(root / "home")
        self.folder = root / "links"
        self.lock_file = root / "note.requirements.lock"
        self.heard = Heard()
        self.patch = monkeypatch
        for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(self.folder))
        monkeypatch.setenv("UV_CACHE_DIR", str(root / "uv-cache"))
        monkeypatch.setenv("PIP_CACHE_DIR", str(root / "pip-cache"))
        self.wheel("ipykernel", "7.0")

    def wheel(self, name: str, version: str, *requires: str, **rest: str) -> Path:
        return make_wheel(self.folder, name, version, requires, **rest)

    def resolve(self, *lines: str, lock_text: str = "", requires_python: str = "", **rest: Any) -> Lock:
        wanted = Requirements(tuple(lines), (), requires_python, lock_text)
        engine: Any = None
        return resolve(wanted, rest.pop("base", BASE), self.home, rest.pop("engine", engine), self.heard, **rest)

    def index(self, address: str) -> None:
        self.patch.delenv("PIP_NO_INDEX")
        self.patch.delenv("PIP_FIND_LINKS", raising=False)
        self.patch.setenv("PIP_INDEX_URL", address)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def pins(lock: Lock) -> dict[str, str]:
    return {item.name: item.version for item in lock.distributions}


# --- resolving --------------------------------------------------------------------------------


def test_the_lock_names_the_one_wheel_that_fits_best(desk: Desk) -> None:
    desk.wheel("alpha", "1.0")
    desk.wheel("alpha", "1.0", tag="cp311-cp311-manylinux_2_39_x86_64")
    desk.wheel("alpha", "1.0", tag="cp312-cp312-manylinux_2_17_x86_64")
    fits = desk.wheel("alpha", "1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    desk.wheel("beta", "2.0", "alpha>=1")
    lock = desk.resolve("beta")
    assert pins(lock) == {"alpha": "1.0", "beta": "2.0", "ipykernel": "7.0"}
    assert lock.distributions[0].hashes == (sha256(fits),)
    assert "    # via beta\n" in lock.text
    assert str(desk.folder) not in render_lock(lock)
    wheels = fetch(lock, BASE, desk.home, Silent())
    assert next(wheel.filename for wheel in wheels) == fits.name
    assert (desk.home.wheels / bare(sha256(fits)) / fits.name).read_bytes() == fits.read_bytes()


def test_the_last_resolution_is_kept_until_an_upgrade(desk: Desk) -> None:
    desk.wheel("alpha", "1.0")
    first = desk.resolve("alpha")
    desk.wheel("alpha", "1.1")
    desk.patch.setattr(subprocess, "run", None)
    assert desk.resolve("Alpha") == first
    desk.patch.undo()
    desk.patch.setenv("PIP_CONFIG_FILE", os.devnull)
    desk.patch.setenv("PIP_NO_INDEX", "1")
    desk.patch.setenv("PIP_FIND_LINKS", str(desk.folder))
    assert pins(desk.resolve("alpha", upgrade=True))["alpha"] == "1.1"
    assert pins(desk.resolve("alpha"))["alpha"] == "1.1"


def test_our_pins_are_preferred_and_no_more(desk: Desk) -> None:
    lines = {
        line.split("==")[0]: line.split("==")[1]
        for line in (Path(__file__).parents[2] / "images/kernel-pins.txt").read_text().splitlines()
        if "==" in line
    }
    ours = lines["ipykernel"]
    desk.wheel("ipykernel", ours)
    desk.wheel("ipykernel", "99.0")
    assert pins(desk.resolve())["ipykernel"] == ours
    assert pins(desk.resolve("ipykernel>90"))["ipykernel"] == "99.0"


def test_a_stale_lock_is_said_and_its_pins_preferred(desk: Desk) -> None:
    desk.wheel("alpha", "1.0")
    desk.wheel("beta", "1.0")
    lock = desk.resolve("alpha")
    desk.lock_file.write_text(render_lock(lock))
    desk.wheel("alpha", "2.0")
    assert desk.resolve("alpha", lock_file=desk.lock_file, locked=True) == lock
    assert desk.heard.lines == []
    renewed = desk.resolve("alpha", "beta", lock_file=desk.lock_file)
    assert pins(renewed)["alpha"] == "1.0"
    assert "note.requirements.lock is stale (the requirements have changed)" in desk.heard.lines[0]
    with pytest.raises(EnvironmentFailed, match="is stale: the requirements have changed") as caught:
        desk.resolve("alpha", "beta", lock_file=desk.lock_file, locked=True)
    assert "nbseal lock" in caught.value.hint
    assert pins(desk.resolve("alpha", lock_file=desk.lock_file, upgrade=True))["alpha"] == "2.0"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("python: 3.11", "python: 3.9", "made for Python 3.9.2"),
        ("manylinux_2_36", "manylinux_2_41", "made for manylinux_2_41"),
        ("# requirements:", "# was:", "does not say"),
        ("--hash", "--sum", "cannot be used: Line 6"),
    ],
)
def test_what_makes_a_lock_stale(desk: Desk, old: str, new: str, why: str) -> None:
    desk.wheel("alpha", "1.0")
    desk.lock_file.write_text(render_lock(desk.resolve("alpha")).replace(old, new))
    desk.resolve("alpha", lock_file=desk.lock_file)
    assert why in desk.heard.lines[0]


def test_locked_without_a_lock(desk: Desk) -> None:
    with pytest.raises(EnvironmentFailed, match=r"no lock note.requirements.lock") as caught:
        desk.resolve(lock_file=desk.lock_file, locked=True)
    assert caught.value.exit_code == 5


def test_a_hash_locked_file_is_completed_and_its_hashes_stay(desk: Desk) -> None:
    alpha = desk.wheel("alpha", "1.0")
    desk.wheel("alpha", "2.0")
    desk.wheel("ipykernel", "8.0", "alpha")
    text = f"alpha==1.0 --hash={sha256(alpha)} --hash=sha256:{'f' * 64}\n"
    lock = desk.resolve("alpha==1.0", lock_text=text)
    assert pins(lock) == {"alpha": "1.0", "ipykernel": "8.0"}
    assert len(lock.distributions[0].hashes) == 2
    whole = desk.resolve("alpha==1.0", "ipykernel==8.0", lock_text=lock.text)
    assert whole.distributions == lock.distributions
    desk.wheel("ipykernel", "7.4.0", "alpha>=2")
    with pytest.raises(EnvironmentFailed, match="alpha"):
        desk.resolve("alpha==1.0", "ipykernel<8,>7", lock_text=text)
    with pytest.raises(EnvironmentFailed, match=r"pin alpha to 1.0, and alpha>=2 is required"):
        desk.resolve("alpha==1.0", "alpha>=2", lock_text=text)


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        (("nothing-here",), "nothing-here was not found", "Check the name"),
        (("alpha>=9",), "only alpha<=2.0 is available", "Check the name"),
        (("alpha<2", "beta"), "beta", "Loosen"),
        (("gamma",), "gamma", "wheels only"),
        (("delta",), "delta", "Python of the base"),
    ],
)
def test_the_resolvers_reason(desk: Desk, lines: tuple[str, ...], message: str, hint: str) -> None:
    desk.wheel("alpha", "1.0")
    desk.wheel("alpha", "2.0")
    desk.wheel("beta", "1.0", "alpha>=2")
    desk.wheel("gamma", "1.0", tag="cp311-cp311-win_amd64")
    desk.wheel("delta", "1.0", python=">=3.12")
    with pytest.raises(EnvironmentFailed) as caught:
        desk.resolve(*lines)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "Traceback" not in caught.value.message
    assert str(desk.home.root) not in caught.value.message


def test_python_and_addresses_and_dates_are_checked_before_any_process(desk: Desk) -> None:
    desk.patch.setattr(subprocess, "run", None)
    with pytest.raises(EnvironmentFailed, match=r">=3.12.*3.11.2"):
        desk.resolve(requires_python=">=3.12")
    with pytest.raises(BadInput, match="requires-python"):
        desk.resolve(requires_python="three")
    for line in ("a @ git+https://example.org/a", "a @ file:///etc", "a @ https://example.org/a-1-py3-none-any.whl"):
        with pytest.raises(EnvironmentFailed, match="from an address"):
            desk.resolve(line)
    for line in ("--index-url=https://x", "./here", "-e .", "a; b"):
        with pytest.raises(BadInput):
            desk.resolve(line)
    for date in ("yesterday", "2024-13-01", "2024-01-01T00:00:00", "", "2024-01-01; rm"):
        with pytest.raises(BadInput, match="not a date"):
            desk.resolve(as_of=date)


def test_as_of_a_date(desk: Desk) -> None:
    dates = {
        desk.wheel("alpha", "1.0").name: "2024-01-31T23:59:59Z",
        desk.wheel("alpha", "2.0").name: "2024-02-01T00:00:00Z",
        "ipykernel-7.0-py3-none-any.whl": "2020-01-01T00:00:00Z",
    }
    undated = desk.folder.parent / "undated"
    make_wheel(undated, "alpha", "1.5")
    with serve(desk.folder, dates) as address:
        desk.index(address)
        desk.patch.setenv("PIP_FIND_LINKS", str(undated))
        lock = desk.resolve("alpha", as_of="2024-01-31")
        assert pins(lock)["alpha"] == "1.0"
        assert "find-links" in desk.heard.lines[0]
        assert pins(desk.resolve("alpha"))["alpha"] == "2.0"
        assert pins(desk.resolve("alpha", as_of="2024-02-01T01:00:00+01:00"))["alpha"] == "1.0"
        desk.lock_file.write_text(render_lock(lock))
        assert desk.resolve("alpha", lock_file=desk.lock_file) == lock
        with pytest.raises(EnvironmentFailed, match="as of 2024-02-01"):
            desk.resolve("alpha", lock_file=desk.lock_file, locked=True, as_of="2024-02-01")
        with pytest.raises(EnvironmentFailed) as caught:
            desk.resolve("alpha", as_of="2019-01-01")
        assert "--as-of" in caught.value.hint


def test_no_credentials_in_what_is_said(desk: Desk) -> None:
    with serve(desk.folder, {}, status=401) as address:
        desk.index(address.replace("//", "//me:s3cret@"))
        with pytest.raises(EnvironmentFailed) as caught:
            desk.resolve("alpha")
        assert "401 Unauthorized" in caught.value.message
        assert "s3cret" not in caught.value.message + caught.value.hint
        assert "credentials" in caught.value.hint


def test_an_index_that_does_not_answer(desk: Desk) -> None:
    desk.index("http://me:s3cret@127.0.0.1:9/simple")
    desk.patch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(EnvironmentFailed, match="Connection refused") as caught:
        desk.resolve("alpha")
    assert "s3cret" not in caught.value.message
    assert "network" in caught.value.hint


# --- pip's own settings -----------------------------------------------------------------------


def test_the_settings_are_those_that_pip_itself_lists() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    values: dict[str, str] = {}
    for section in ("global", "download", "install", ":env:"):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                values[name.removeprefix(f"{section}.")] = value.strip("'\"").replace("\\n", " ")
    found = read_indexes(os.environ)
    links = [Path(link).as_uri() if link.startswith("/") else link for link in values.get("find-links", "").split()]
    assert [link for link in links if link not in found.find_links] == []
    assert [url for url in values.get("extra-index-url", "").split() if url not in found.extra_index_urls] == []
    assert found.certificates == values.get("cert", found.certificates)


# --- fetching ---------------------------------------------------------------------------------


def test_only_what_is_missing_is_fetched(desk: Desk) -> None:
    desk.wheel("alpha", "1.0")
    desk.wheel("beta", "1.0")
    fetch(desk.resolve("alpha"), BASE, desk.home, Silent())
    (desk.folder / "alpha-1.0-py3-none-any.whl").unlink()
    lock = desk.resolve("beta", "alpha", lock_text=desk.resolve("alpha").text)
    assert [wheel.name for wheel in fetch(lock, BASE, desk.home, Silent())] == ["alpha", "beta", "ipykernel"]
    assert not any(desk.home.temporary.iterdir())
    assert all(len(path.name) == 64 for path in desk.home.wheels.iterdir())


def test_the_best_of_several_allowed_files_and_the_choice_stays(desk: Desk) -> None:
    plain = desk.wheel("alpha", "1.0")
    fits = desk.wheel("alpha", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    kernel = desk.folder / "ipykernel-7.0-py3-none-any.whl"
    text = f"alpha==1.0 --hash={sha256(plain)} --hash={sha256(fits)}\nipykernel==7.0 --hash={sha256(kernel)}\n"
    lock = desk.resolve(lock_text=text)
    assert fetch(lock, BASE, desk.home, Silent())[0].filename == fits.name
    desk.patch.setattr(subprocess, "Popen", None)
    assert fetch(lock, BASE, desk.home, Silent())[0].filename == fits.name


def test_other_bytes_than_the_locks_are_refused(desk: Desk) -> None:
    desk.wheel("alpha", "1.0")
    lock = desk.resolve("alpha")
    make_wheel(desk.folder, "alpha", "1.0", ["ipykernel"])
    with pytest.raises(EnvironmentFailed) as caught:
        fetch(lock, BASE, desk.home, Silent())
    assert "other bytes" in caught.value.hint
    assert not desk.home.wheels.exists() or not any(desk.home.wheels.rglob("alpha*"))
    (desk.folder / "alpha-1.0-py3-none-any.whl").unlink()
    with pytest.raises(EnvironmentFailed, match="alpha") as caught:
        fetch(lock, BASE, desk.home, Silent())
    assert "Check the name" in caught.value.hint


def test_several_fetches_at_once(desk: Desk) -> None:
    for number in range(4):
        desk.wheel(f"alpha{number}", "1.0")
    lock = desk.resolve(*(f"alpha{number}" for number in range(4)))
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(fetch, lock, BASE, desk.home, Silent()) for _ in range(3)]
    assert len({job.result() for job in jobs}) == 1
    assert len(list(desk.home.wheels.iterdir())) == 5


def test_what_a_killed_fetch_left_goes_after_a_day(desk: Desk) -> None:
    old, new = desk.home.wheels / ".fetch-old", desk.home.wheels / ".fetch-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    fetch(desk.resolve(), BASE, desk.home, Silent())
    assert not old.exists()
    assert new.exists()


# --- this machine's own indexes ---------------------------------------------------------------


@pytest.mark.engine
def test_the_hosts_indexes_serve_old_pins_and_dates(tmp_path: Path) -> None:
    engine: Any = None
    home = Home(tmp_path)
    found = pins(resolve(Requirements(("pandas==2.1.0",)), BASE, home, engine, Silent()))
    assert found["pandas"] == "2.1.0"
    assert "numpy" in found
    try:
        dated = resolve(Requirements(("numpy",)), BASE, home, engine, Silent(), as_of="2024-06-01")
    except EnvironmentFailed as error:
        if "--as-of" not in error.hint:
            raise
        pytest.skip("no index of this machine gives upload times")
    assert pins(dated)["numpy"] == "1.26.4"


# --- pip-tools --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def by_pip_tools(home: Home, base: Base, engine: Engine) -> Lock:
    """A lock by pip-tools over this machine's own indexes; its image is in the home then."""
    return resolve(Requirements(("six",)), base, home, engine, Silent(), resolver="pip-tools")


@pytest.mark.engine
def test_pip_tools_takes_the_same_as_uv(by_pip_tools: Lock, home: Home, base: Base, engine: Engine) -> None:
    by_uv = resolve(Requirements(("six",)), base, home, engine, Silent())
    assert pins(by_pip_tools) == pins(by_uv)
    assert fetch(by_pip_tools, base, home, Silent()) == fetch(by_uv, base, home, Silent())


@pytest.mark.engine
def test_pip_tools_uses_the_hosts_folders_and_settings(
    by_pip_tools: Lock, desk: Desk, home: Home, base: Base, engine: Engine
) -> None:
    desk.home.root.mkdir()
    for name in ("bases", "packages", "layers", "wheels", "images"):
        (desk.home.root / name).symlink_to(home.root / name)
    desk.wheel("alpha", "1.0")
    fits = desk.wheel("alpha", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    desk.wheel("alpha", "2.0")
    desk.wheel("beta", "1.0", "alpha<2")
    asked: dict[str, Any] = {"base": base, "engine": engine, "resolver": "pip-tools"}
    lock = desk.resolve("beta", **asked)
    assert pins(lock) == {"alpha": "1.0", "beta": "1.0", "ipykernel": "7.0"}
    assert lock.distributions[0].hashes == (sha256(fits),)
    assert fetch(lock, base, desk.home, Silent())[0].filename == fits.name
    assert str(desk.folder) not in render_lock(lock)
    assert "# via beta" in lock.text
    assert pins(desk.resolve("beta", base=base)) == pins(lock)
    with pytest.raises(EnvironmentFailed, match="alpha>=2") as caught:
        desk.resolve("beta", "alpha>=2", **asked)
    assert "Traceback" not in caught.value.message
    with pytest.raises(EnvironmentFailed, match="nothing-here"):
        desk.resolve("nothing-here", **asked)
