"""What the command line prints of what others said."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import hosts
from engine.cli import hosting
from engine.cli.terminal import Terminal, complain, say, styled
from engine.settings import Home

#: A window's title, a colour, the cursor up and the line over again; a title by a control character of eight bits.
HOSTILE = "20.10\x1b]0;PWNED\x07\x1b[31m\x1b[1A\rok\x9d0;PWNED\x9c"
CLEAN = "20.10ok"


class Screen(io.StringIO):
    """A terminal, as far as anybody asks."""

    def isatty(self) -> bool:
        return True


def screen_in(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """In the place of stderr, which pytest sets between its fixtures and the test."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def task(text: str) -> None:
    with Terminal().task(text):
        pass


@pytest.mark.parametrize("show", [say, Terminal().say, complain, lambda text: complain("It failed.", text), task])
def test_what_others_said_gives_no_commands(show: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    show(f"runs on docker {HOSTILE}")
    shown = capsys.readouterr().err
    assert f"runs on docker {CLEAN}" in shown
    assert shown.replace("\n", "").isprintable()


def test_colours_of_ours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_in(monkeypatch)
    complain(HOSTILE, HOSTILE)
    assert screen.getvalue() == f"\x1b[31merror:\x1b[0m {CLEAN}\n\x1b[36mhint:\x1b[0m {CLEAN}\n"


def test_a_coloured_line_has_colours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_in(monkeypatch)
    Terminal().say(f"{styled('done', 'green', to_stderr=True)} a\x1b]0;PWNED\x07b\x1b[1A", coloured=True)
    assert screen.getvalue() == "\x1b[32mdone\x1b[0m ab\n"


def test_the_line_at_the_bottom_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_in(monkeypatch)
    with Terminal().task(HOSTILE) as advance:
        advance(1)
    first, *_, last = screen.getvalue().split("\r\x1b[K")[1:]
    assert first == f"  {CLEAN}"
    assert last == f"  {CLEAN} \x1b[2m0.0 s\x1b[0m\n"


def test_a_list_of_hosts_gives_no_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NBSEAL_HOME", str(tmp_path))
    hosts.add(Home(tmp_path), "gpu1", "ssh://gpu1", via=f"registry/{HOSTILE}")
    assert hosting.show(as_json=False) == 0
    shown = capsys.readouterr().out
    assert f"registry/{CLEAN}" in shown
    assert shown.replace("\n", "").isprintable()
