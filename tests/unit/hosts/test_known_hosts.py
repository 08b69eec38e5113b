"""Addresses of engines, and the hosts that a home knows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import hosts
from engine.errors import BadInput, VerificationFailed
from engine.hosts import Address, parse_address
from engine.hosts.address import SOCKET
from engine.link import Link
from engine.settings import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home")


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    folder = tmp_path / "tls"
    folder.mkdir()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://gpu1", Address("ssh", "gpu1", path=SOCKET)),
        ("ssh://gpu1/", Address("ssh", "gpu1", path=SOCKET)),
        (
            "ssh://alice@gpu1.example.org:2222",
            Address("ssh", "gpu1.example.org", 2222, "alice", "/var/run/docker.sock"),
        ),
        (
            "ssh://gpu1/run/user/1000/podman/podman.sock",
            Address("ssh", "gpu1", path="/run/user/1000/podman/podman.sock"),
        ),
        ("ssh://[fe80::1%eth0]:22", Address("ssh", "fe80::1%eth0", 22, path=SOCKET)),
        ("tcp://10.0.0.5:2376", Address("tcp", "10.0.0.5", 2376)),
        ("unix:///var/run/docker.sock", Address("unix", path=SOCKET)),
        ("context:desktop-linux", Address("context", context="desktop-linux")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["tcp://[::1]:2376", "tcp://[fe80::1%eth0]:2376", "tcp://gpu1:2376"])
def test_an_address_of_tcp_is_written_as_it_was_read(text: str) -> None:
    assert parse_address(text).tcp_url == text


@pytest.mark.parametrize(
    "text",
    [
        "", "gpu1", "gpu1:2376", "http://gpu1", "ssh://", "ssh://-oProxyCommand=id", "ssh://-gpu1", "ssh://gpu1-",
        "ssh://-l@gpu1", "ssh://a b@gpu1", "ssh://alice:secret@gpu1", "ssh://gpu1:0x16", "ssh://gpu1:99999",
        "ssh://gpu1?x=1", "ssh://gpu1#x", "ssh://gpu1/a:b", "ssh://gpu1/a%3Ab", "ssh://gpu1/a\nb", "ssh://gpu 1",
        "ssh://" + "a" * 300, "ssh://gpu1/" + "a" * 200, "tcp://gpu1", "tcp://alice@gpu1:2376", "tcp://gpu1:2376/x",
        "unix://docker.sock", "unix://host/docker.sock", "unix:", "context:", "context:../x", "context:-x", "npipe:////./pipe/x",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadInput):
        parse_address(text)


@given(st.text(max_size=40), st.sampled_from(["ssh://", "ssh://a@", "tcp://", "unix://", "context:", ""]))
def test_nothing_that_ssh_would_take_for_an_option_gets_through(text: str, start: str) -> None:
    try:
        found = parse_address(start + text)
    except BadInput:
        return
    for part in (found.host, found.user, found.context):
        assert not part.startswith("-")
        assert part.isprintable()
        assert " " not in part
    assert ":" not in found.path


def test_hosts_are_remembered(home: Home, tls: Path) -> None:
    assert hosts.read(home) == hosts.Hosts()
    hosts.add(home, "gpu1", "ssh://gpu1")
    hosts.add(home, "gpu2", "tcp://gpu2:2376", tls)
    hosts.set_default(home, "gpu2")
    known = hosts.read(home)
    assert known.default == "gpu2"
    assert known.hosts == {
        "gpu1": hosts.Host("gpu1", "ssh://gpu1"),
        "gpu2": hosts.Host("gpu2", "tcp://gpu2:2376", str(tls)),
    }
    hosts.remove(home, "gpu2")
    assert hosts.read(home) == hosts.Hosts({"gpu1": hosts.Host("gpu1", "ssh://gpu1")}, "local")
    hosts.set_default(home, "local")


@pytest.mark.parametrize(
    ("name", "url", "message"),
    [
        ("gpu1", "ssh://gpu9", "There is a host gpu1 already"),
        ("local", "ssh://gpu9", "cannot be called 'local'"),
        ("-x", "ssh://gpu9", "cannot be called '-x'"),
        ("GPU", "ssh://gpu9", "cannot be called 'GPU'"),
        ("a/b", "ssh://gpu9", "cannot be called 'a/b'"),
        ("gpu2", "tcp://gpu9:2376", "tcp:// needs --tls"),
        ("gpu2", "nonsense", "no address"),
    ],
)
def test_what_cannot_be_added(home: Home, name: str, url: str, message: str) -> None:
    hosts.add(home, "gpu1", "ssh://gpu1")
    before = hosts.read(home)
    with pytest.raises(BadInput, match=message):
        hosts.add(home, name, url)
    assert hosts.read(home) == before


def test_certificates_have_to_be_there(home: Home, tls: Path) -> None:
    (tls / "key.pem").unlink()
    with pytest.raises(BadInput, match=r"has no key\.pem"):
        hosts.add(home, "gpu1", "tcp://gpu1:2376", tls)
    with pytest.raises(BadInput, match="tcp:// needs --tls, and nothing else takes it"):
        hosts.add(home, "gpu1", "ssh://gpu1", tls)


def test_certificates_that_went_are_told_where_they_are_used(home: Home, tls: Path) -> None:
    host = hosts.add(home, "gpu1", "tcp://gpu1:2376", tls)
    hosts.add(home, "gpu2", "ssh://gpu2")
    shutil.rmtree(tls)
    assert sorted(hosts.read(home).hosts) == ["gpu1", "gpu2"]
    with Link(host) as link, pytest.raises(BadInput, match=r"tls has no ca\.pem"):
        _ = link.engine
    hosts.remove(home, "gpu1")
    assert sorted(hosts.read(home).hosts) == ["gpu2"]


def test_an_unknown_host_is_answered_with_the_nearest(home: Home) -> None:
    hosts.add(home, "gpu1", "ssh://gpu1")
    for use in (lambda: hosts.remove(home, "gpu"), lambda: hosts.set_default(home, "gpu")):
        with pytest.raises(BadInput) as refusal:
            use()
        assert refusal.value.hint == "Known are: gpu1."


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"schema": 1}', '{"schema": 2, "default": "local", "hosts": {}}',
     '{"schema": 1, "default": "local", "hosts": {"a": {"url": "ssh://-x", "tls": ""}}}',
     '{"schema": 1, "default": "local", "hosts": {"a": {"url": "ssh://x", "other": ""}}}',
     '{"schema": 1, "default": "local", "hosts": {"a": {"url": "tcp://x:2376", "tls": 5}}}'],
)  # fmt: skip
def test_a_damaged_list_is_said(home: Home, content: str) -> None:
    (home.root / "hosts.json").write_text(content)
    with pytest.raises(VerificationFailed):
        hosts.read(home)


def test_a_default_that_is_gone_is_this_machine(home: Home) -> None:
    (home.root / "hosts.json").write_text(json.dumps({"schema": 1, "default": "gone", "hosts": {}}))
    assert hosts.read(home).default == "local"


# --- groups -------------------------------------------------------------------------------------


@pytest.fixture
def lab(home: Home) -> Home:
    """Three hosts, two of which are a group, which is the default."""
    for name in ("gpu1", "gpu2", "gpu3"):
        hosts.add(home, name, f"ssh://{name}")
    hosts.group(home, "lab", ["gpu1", "gpu2"])
    hosts.set_default(home, "lab")
    return home


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", ("gpu1", "gpu2")),
        ("lab", ("gpu1", "gpu2")),
        ("gpu3", ("gpu3",)),
        ("local", ("local",)),
        ("gpu2,local, gpu3", ("gpu2", "local", "gpu3")),
        ("gpu2,lab,gpu2", ("gpu2", "gpu1")),
    ],
)
def test_what_a_name_means(lab: Home, text: str, meant: tuple[str, ...]) -> None:
    assert hosts.resolve(hosts.read(lab), text) == meant


@pytest.mark.parametrize("text", ["nobody", "gpu1,nobody", ",", "gpu1,", "lab lab"])
def test_what_means_no_machine(lab: Home, text: str) -> None:
    with pytest.raises(BadInput, match="There is no host"):
        hosts.resolve(hosts.read(lab), text)


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("gpu1", ["gpu2"], "cannot be called 'gpu1'"),
        ("local", ["gpu2"], "cannot be called 'local'"),
        ("a,b", ["gpu2"], "cannot be called 'a,b'"),
        ("other", ["nobody"], "There is no host 'nobody'"),
        ("other", ["lab"], "lab is a group, and one host is wanted"),
        ("other", ["gpu2", "gpu1", "gpu1"], r"^gpu1 stands there twice\.$"),
        ("other", [], r"^A group of no hosts means none\.$"),
    ],
)
def test_what_cannot_be_grouped(lab: Home, name: str, members: list[str], message: str) -> None:
    before = hosts.read(lab)
    with pytest.raises(BadInput, match=message):
        hosts.group(lab, name, members)
    assert hosts.read(lab) == before


def test_a_group_has_only_hosts_that_there_are(lab: Home) -> None:
    with pytest.raises(BadInput, match="There is a group lab already"):
        hosts.add(lab, "lab", "ssh://lab")
    hosts.remove(lab, "gpu1")
    assert hosts.read(lab).groups == {"lab": ("gpu2",)}
    assert hosts.read(lab).default == "lab"
    hosts.group(lab, "lab", ["gpu3", "local"])
    assert hosts.resolve(hosts.read(lab), "") == ("gpu3", "local")
    hosts.group(lab, "lab", ["gpu3"])
    hosts.remove(lab, "gpu3")
    assert (hosts.read(lab).groups, hosts.read(lab).default) == ({}, "local")
    hosts.group(lab, "lab", ["gpu2"])
    hosts.remove(lab, "lab")
    assert hosts.read(lab) == hosts.Hosts({"gpu2": hosts.Host("gpu2", "ssh://gpu2")}, "local")
