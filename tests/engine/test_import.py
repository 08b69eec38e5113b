"""An archive carried to a home that has nothing: no network, no index, no image; and the run comes out the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import daemon
from engine.files import remove_tree
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal

pytestmark = pytest.mark.engine

CELLS = (
    "import os\nn = 3",
    "open('out.csv', 'w').write(open('lib/rows.txt').read() * n)\nos.symlink('nothing', 'link')\nos.mkdir('empty')",
    "open('caf\\udce9'.encode('utf-8', 'surrogateescape'), 'w').write('x')\nprint('loss:', 0.5 * n)",
)
#: Nothing answers there.
NOWHERE = "http://127.0.0.1:9/simple"


@pytest.fixture
def empty_home(home: Home) -> Iterator[Home]:
    """A home with nothing in it, on the same file system as all homes of the tests."""
    folder = Path(tempfile.mkdtemp(prefix="empty-", dir=home.root.parent))
    yield Home(folder)
    remove_tree(folder)


def offline(home: Home, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line without a network, but for the engine's socket."""
    settings = dict.fromkeys(("PIP_INDEX_URL", "UV_INDEX_URL", "http_proxy", "https_proxy"), NOWHERE)
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0:
        command = ["unshare", "-n", *command]
    return subprocess.run(
        command,
        env={**os.environ, **settings, "NBSEAL_HOME": str(home.root)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def forget(engine: daemon.Engine, image: str) -> None:
    """Take an image from the engine, so that it has to come from the home."""
    engine.client.images.remove(image, force=True)


@pytest.mark.parametrize("ending", [".tar", ".tar.zst"])
def test_a_run_is_repeated_in_an_empty_home_without_a_network(
    ending: str,
    nbseal: Nbseal,
    notebook: MakeNotebook,
    empty_home: Home,
    engine: daemon.Engine,
    tmp_path: Path,
) -> None:
    path = notebook(*CELLS)
    (path.parent / "lib").mkdir()
    (path.parent / "lib/rows.txt").write_text("1,2\n")
    document(nbseal("keys", "new", "--name", "alice@example.org", "--unencrypted", "--json"))
    record = document(nbseal("run", path, "--json"))
    archive = tmp_path / f"run{ending}"
    document(nbseal("archive", record["id"], "-o", archive, "--json"))

    imported = document(offline(empty_home, "import", archive, "--json"))
    (run,) = imported["runs"]
    assert (run["id"], run["hash"], run["known"]) == (record["id"], record["hash"], False)
    assert run["seal"]["digest"] == record["seal"]["digest"]
    assert [word["state"] for word in imported["attestations"]] == ["unknown", "unknown", "unknown", "absent"]
    shown = document(offline(empty_home, "show", record["id"], "--json"))
    assert shown["imported"]["signer"] == record["seal"]["signer"] or shown["imported"]["signer"].startswith("SHA256:")

    forget(engine, record["image"])
    again = document(offline(empty_home, "rerun", record["hash"], "--exact", "--json"))
    assert (again["hash"], again["image"], again["verdict"]) == (record["hash"], record["image"], "identical")

    # Without what was archived of the image: made anew of wheels and packages.
    forget(engine, record["image"])
    remove_tree(empty_home.layers)
    rebuilt = document(offline(empty_home, "rerun", record["id"], "--image-only", "--json"))
    assert (rebuilt["equal"], rebuilt["rebuilt"]) == (True, record["image"])


def test_a_changed_archive_is_refused_in_words(
    nbseal: Nbseal, notebook: MakeNotebook, empty_home: Home, tmp_path: Path
) -> None:
    record = document(nbseal("run", notebook("print('loss: 1')"), "--json"))
    archive = tmp_path / "run.tar"
    document(nbseal("archive", record["id"], "-o", archive, "--no-image", "--json"))
    data = archive.read_bytes()
    place = data.index(b"loss: 1", data.index(b"/executed.ipynb\0"))
    archive.write_bytes(data[:place] + b"loss: 2" + data[place + 7 :])
    refused = offline(empty_home, "import", archive)
    assert refused.returncode == 4
    assert f"runs/{record['id']}/executed.ipynb" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert not empty_home.runs.exists()
    assert offline(empty_home, "import", tmp_path / "nothing.tar").returncode == 2


def test_what_compresses_beyond_all_proportion_is_taken_in(
    nbseal: Nbseal, notebook: MakeNotebook, empty_home: Home, tmp_path: Path
) -> None:
    size = 600 << 20
    record = document(nbseal("run", notebook(f"open('zeros', 'wb').truncate({size})"), "--json"))
    archive = tmp_path / "run.tar.zst"
    document(nbseal("archive", record["id"], "-o", archive, "--no-image", "--no-wheels", "--json"))
    assert archive.stat().st_size * 200 < size
    document(offline(empty_home, "import", archive, "--json"))
    assert (empty_home.runs / record["id"] / "project/zeros").stat().st_size == size
