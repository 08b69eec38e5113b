"""An engine that does what it was asked for, and whose answer never arrives."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine import daemon
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

START = rb"POST /v[0-9.]+/containers/nbseal-[0-9a-f]{16}/start"
LOGS = rb"GET /v[0-9.]+/containers/nbseal-[0-9a-f]{16}/logs"


class Forgetful:
    """A socket before the engine's own. The first request that fits ``forgets`` gets there, and its answer nowhere.

    From then on nobody answers at all, for ``seconds``.
    """

    def __init__(self, engine: str, folder: Path) -> None:
        self._engine = engine.removeprefix("unix://")
        self._path = folder / "engine.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        self._down_until = 0.0
        self.forgets, self.seconds = b"", 0.0
        self.url = f"unix://{self._path}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if time.monotonic() < self._down_until:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._engine)
                threading.Thread(target=self._asked, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answered, args=(server, client), daemon=True).start()

    def _asked(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.forgets and re.search(self.forgets, data):
                    self.forgets, self._down_until = b"", time.monotonic() + self.seconds
                    client.close()
                    server.sendall(data)
                    time.sleep(1)  # an engine may leave what nobody waits for any more
                    break
                server.sendall(data)
        _shut(server)

    def _answered(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while (data := server.recv(1 << 16)) and time.monotonic() >= self._down_until:
                client.sendall(data)
        _shut(client)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@pytest.fixture
def forgetful(engine: daemon.Engine, tmp_path: Path) -> Iterator[Forgetful]:
    made = Forgetful(engine.url, tmp_path)
    yield made
    made.close()


ONCE = "with open('o.txt', 'a') as file:\n    file.write('ran\\n')\nprint('loss: 0.5')"


@pytest.mark.parametrize("there", ["here", "host"])
def test_a_run_that_ended_before_the_link_was_back_is_not_started_again(
    nbseal: Nbseal, notebook: MakeNotebook, forgetful: Forgetful, fresh_home: Home, there: str
) -> None:
    env = {"DOCKER_HOST": forgetful.url} if there == "here" else {}
    assert nbseal("hosts", "add", "host", forgetful.url).returncode == 0
    forgetful.forgets, forgetful.seconds = START, 12.0
    done = nbseal("run", notebook(ONCE), "--json", "--host", "local" if there == "here" else "host", env=env)
    assert done.returncode == 0, done.stderr
    assert "stopped answering" in done.stderr
    run = json.loads(done.stdout)
    assert (fresh_home.runs / run["id"] / "project" / "o.txt").read_text() == "ran\n"
    events = [json.loads(line) for line in (fresh_home.runs / run["id"] / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("started") == 1


def test_what_was_executed_is_never_given_up(
    nbseal: Nbseal, notebook: MakeNotebook, forgetful: Forgetful, fresh_home: Home
) -> None:
    """The engine goes away after the notebook's end, before the record, for longer than anybody waits here."""
    env = {"DOCKER_HOST": forgetful.url}
    forgetful.forgets, forgetful.seconds = LOGS, 45.0
    done = nbseal("run", notebook(ONCE), "--json", env=env)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "takes the run up again" in done.stderr
    end = time.monotonic() + 120
    while not (found := json.loads(nbseal("runs", "--json", env=env).stdout)) or found[0]["status"] == "running":
        assert time.monotonic() < end
        time.sleep(1)
    assert [run["status"] for run in found] == ["completed"]
    assert (fresh_home.runs / found[0]["id"] / "project" / "o.txt").read_text() == "ran\n"
