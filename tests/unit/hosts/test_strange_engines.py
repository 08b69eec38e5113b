"""Engines of other machines whose answers are not what an engine's should be."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engine import containers, hosts
from engine.errors import EngineUnavailable, NbsealError
from engine.link import Link
from engine.pipeline import hosting, room, sending
from engine.pipeline.launching import link_to
from engine.progress import Silent
from engine.settings import Home
from engine.software import Image
from tests.strange_engine import REFUSAL, SOUND, Said, strange_engine

IMAGE = Image("sha256:" + "1" * 64, "sha256:" + "2" * 64, (), ())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def info(**changed: Any) -> dict[str, Any]:
    return {"/info": {**SOUND["/info"], **changed}}


@pytest.mark.parametrize(
    "answers",
    [
        info(NCPU="many"),
        info(NCPU=-1),
        info(NCPU=True),
        info(MemTotal=[1]),
        info(MemTotal=1 << 70),
        info(Runtimes=["runc"]),
        info(DriverStatus="overlay"),
        info(ServerVersion={"major": 1}),
        {"/info": ["x"]},
        {"/version": ["x"]},
        {"/version": {"Components": []}},
        {"/info": REFUSAL},
    ],
)
def test_one_that_makes_no_sense_of_itself_is_none(answers: Mapping[str, Any], home: Home) -> None:
    refused = pytest.raises(EngineUnavailable, match=r"on odd .*: [^\x1b]+\.$")
    with strange_engine(answers) as url, Link(hosts.add(home, "odd", url)) as link, refused:
        _ = link.engine


@pytest.mark.parametrize(
    "answers",
    [
        {"/version": {"ApiVersion": "1.41", "Components": ["x"]}},
        {"/version": {"ApiVersion": "1.41", "Components": None}},
        info(NCPU=None, Runtimes=None, DriverStatus=None),
        info(DriverStatus=["x"]),
        info(ServerVersion="20\x1b]0;title\x07.10"),
    ],
)
def test_what_is_not_read_or_left_empty_is_no_harm(answers: Mapping[str, Any], home: Home) -> None:
    with strange_engine(answers) as url, Link(hosts.add(home, "odd", url)) as link:
        assert str(link.engine).isprintable()
        assert not link.engine.has_containerd_store
        assert [item.places for item in room.measure(["odd"], home, Silent(), gpus=False)] == [
            link.engine.info.get("NCPU", 1)
        ]


LISTS = {"/containers/json": REFUSAL, "/images/json": REFUSAL}


@pytest.mark.parametrize("gpus", [False, True])
@pytest.mark.parametrize("answers", [LISTS, {"/containers/json": ["x"], "/images/json": ["x"]}])
def test_one_of_a_group_keeps_no_other_from_being_asked(answers: Mapping[str, Any], gpus: bool, home: Home) -> None:
    said = Said()
    nvidia = info(Runtimes={"nvidia": {}})
    with strange_engine({**nvidia, **answers}) as plain, strange_engine(nvidia) as sound:
        hosts.add(home, "plain", plain)
        hosts.add(home, "sound", sound)
        assert [item.host for item in room.measure(["plain", "sound"], home, said, gpus=gpus)] == ["sound"]
        assert [line for line in said.lines if line.startswith("  not on plain: ") and line.isprintable()] == said.lines
        with pytest.raises(EngineUnavailable) as caught:
            room.measure(["plain"], home, said, gpus=gpus)
    assert "http" not in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "answers", [{"/_ping": REFUSAL}, info(SystemTime="2026"), info(SystemTime="9" * 40), info(SystemTime=1)]
)
def test_one_that_cannot_be_checked_keeps_no_other_from_that(answers: Mapping[str, Any], home: Home) -> None:
    time = {"SystemTime": "2026-01-01T00:00:00.123456789Z"}
    with ExitStack() as stack:
        for name, answer in {"plain": {**info(**time), **answers}, "sound": info(**time)}.items():
            hosts.add(home, name, stack.enter_context(strange_engine(answer)))
        plain, sound = (found for _, found in hosting.check_hosts(["plain", "sound"], home, Silent()))
    assert isinstance(plain, NbsealError)
    assert plain.exit_code == 3
    assert plain.message.isprintable()
    assert isinstance(sound, hosting.Checked)


def test_what_was_asked_is_what_is_said_to_be_refused(home: Home) -> None:
    with strange_engine(LISTS) as url, Link(hosts.add(home, "plain", url)) as link:
        with pytest.raises(EngineUnavailable, match=r"refused to look for the image: boom \]0;title\."):
            sending.ensure_image(IMAGE, link, home, Silent())
        with pytest.raises(EngineUnavailable, match="refused to say what runs there"):
            containers.find_running(link.engine, "a")


def test_parts_of_images_are_no_cache(home: Home) -> None:
    """Another home may be sending them."""
    images = [
        {"Id": "sha256:a", "RepoTags": ["nbseal/image:a"], "Labels": {"nbseal": "image"}},
        {"Id": "sha256:b", "RepoTags": ["nbseal/part:b"], "Labels": {"nbseal": "part", "nbseal.home": "other"}},
    ]
    removed: list[str] = []
    with strange_engine({"/images/json": images}, removed) as url:
        hosts.add(home, "far", url)
        with link_to("far", home) as link:
            containers.remove_cache(link.engine)
    assert removed == ["/images/nbseal/image:a"]
