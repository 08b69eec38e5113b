"""The host's settings: read as pip reads them, handed to uv and pip so that credentials show nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.environments.indexes import PYPI, Indexes, read_indexes, redact
from engine.errors import BadInput

WITH_PASSWORD = "https://me:s3cret@index.example/simple"  # noqa: S105


class Host:
    """A host whose pip files all lie under one folder (but for /etc/pip.conf, which only root could replace)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.prefix = root / "venv"
        self.environment = {
            "HOME": str(root / "home"),
            "XDG_CONFIG_DIRS": str(root / "xdg"),
            "PIP_INDEX_URL": "",
        }

    def write(self, place: str, text: str) -> Path:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, **variables: str) -> Indexes:
        return read_indexes({**self.environment, **variables}, self.prefix)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


GLOBAL, LEGACY, USER, SITE = "xdg/pip/pip.conf", "home/.pip/pip.conf", "home/.config/pip/pip.conf", "venv/pip.conf"


@pytest.mark.parametrize(
    ("files", "variables", "expected"),
    [
        ({}, {}, PYPI),
        ({GLOBAL: "global"}, {}, "global"),
        ({GLOBAL: "global", LEGACY: "legacy"}, {}, "legacy"),
        ({LEGACY: "legacy", USER: "user"}, {}, "user"),
        ({USER: "user", SITE: "site"}, {}, "site"),
        ({SITE: "site"}, {"PIP_INDEX_URL": "https://variable/"}, "variable"),
        ({SITE: "site"}, {"PIP_PYPI_URL": "https://variable/"}, "variable"),
        ({SITE: "site"}, {"PIP_CONFIG_FILE": "named"}, "named"),
        ({USER: "user"}, {"PIP_CONFIG_FILE": "named"}, "named"),
        ({USER: "user"}, {"PIP_CONFIG_FILE": "missing"}, "user"),
        ({USER: "user", SITE: "site"}, {"PIP_CONFIG_FILE": os.devnull}, PYPI),
        ({USER: "user"}, {"UV_INDEX_URL": "https://uv/"}, "uv"),
        ({USER: "user"}, {"UV_INDEX_URL": "https://old/", "UV_DEFAULT_INDEX": "https://uv/"}, "uv"),
    ],
)
def test_precedence_of_the_index(host: Host, files: dict[str, str], variables: dict[str, str], expected: str) -> None:
    for place, name in files.items():
        host.write(place, f"[global]\nindex-url = https://{name}/\n")
    named = host.write("named.conf", "[global]\nindex_url = https://named/\n")
    places = {"named": str(named), "missing": str(host.root / "missing.conf")}
    variables = {name: places.get(value, value) for name, value in variables.items()}
    assert host.read(**variables).index_url == (expected if expected == PYPI else f"https://{expected}/")


def test_sections_go_before_files(host: Host) -> None:
    host.write(GLOBAL, "[install]\nindex-url = https://install/\n[freeze]\nindex-url = https://other/\n")
    host.write(SITE, "[global]\nindex-url = https://global/\n[download]\nindex-url = https://download/\n")
    assert host.read().index_url == "https://install/"


def test_a_later_list_replaces_an_earlier_one(host: Host) -> None:
    host.write(GLOBAL, "[global]\nextra-index-url = https://a/ https://b/\nfind-links =\n    /one\n    /two words\n")
    host.write(USER, "[global]\nextra-index-url =\n  https://c/\n")
    found = host.read()
    assert found.extra_index_urls == ("https://c/",)
    assert found.find_links[0] == "file:///one"  # pip splits at every blank


def test_an_empty_value_takes_back_in_a_file_and_is_nothing_in_a_variable(host: Host) -> None:
    host.write(GLOBAL, "[global]\nfind-links = /one\nextra-index-url = https://a/\n")
    host.write(USER, "[global]\nfind-links =\n")
    found = host.read(PIP_EXTRA_INDEX_URL="")
    assert found.find_links == ()
    assert found.extra_index_urls == ("https://a/",)


def test_uv_variables_add_to_the_lists(host: Host) -> None:
    found = host.read(
        UV_INDEX="https://x/ corp=https://y/simple",
        UV_INDEX_CORP_USERNAME="me",
        UV_INDEX_CORP_PASSWORD="p@ss",  # noqa: S106
        UV_FIND_LINKS="/a,/b",
        PIP_FIND_LINKS="/b /c",
        PIP_EXTRA_INDEX_URL="https://z/",
    )
    assert found.extra_index_urls == ("https://x/", "https://me:p%40ss@y/simple", "https://z/")
    assert found.find_links == ("file:///a", "file:///b", "file:///c")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SSL_CERT_FILE": "/s"}, "/s"),
        ({"SSL_CERT_FILE": "/s", "CURL_CA_BUNDLE": "/c"}, "/c"),
        ({"SSL_CERT_FILE": "/s", "CURL_CA_BUNDLE": "/c", "REQUESTS_CA_BUNDLE": "/r"}, "/r"),
        ({"REQUESTS_CA_BUNDLE": "/r", "PIP_CERT": "/p"}, "/p"),
        ({"PIP_CERT": "~/ca.pem"}, "~/ca.pem"),
    ],
)
def test_the_ca_bundle(host: Host, variables: dict[str, str], expected: str) -> None:
    expected = expected.replace("~", host.environment["HOME"])
    found = host.read(**{"PIP_CONFIG_FILE": os.devnull, **variables})
    assert found.certificates == expected
    assert found.uv_environment(variables)["SSL_CERT_FILE"] == expected
    assert found.pip_environment(variables)["PIP_CERT"] == expected


@pytest.mark.parametrize("text", ["maybe", "2"])
def test_values_that_pip_refuses(host: Host, text: str) -> None:
    with pytest.raises(BadInput, match="no-index"):
        host.read(PIP_NO_INDEX=text)
    with pytest.raises(BadInput, match="timeout"):
        host.read(PIP_TIMEOUT="soon")


def test_a_broken_file_is_named(host: Host) -> None:
    path = host.write(USER, "index-url = outside of any section\n")
    with pytest.raises(BadInput, match=str(path)):
        host.read()


def test_credentials_stand_in_the_environment_only(host: Host) -> None:
    found = host.read(PIP_INDEX_URL=WITH_PASSWORD, PIP_PROXY="http://p:s3cret@proxy:3128")
    assert "s3cret" not in " ".join(found.uv_arguments())
    assert "s3cret" not in repr(found)
    assert found.uv_environment({})["UV_DEFAULT_INDEX"] == WITH_PASSWORD
    assert redact(f"cannot fetch {WITH_PASSWORD}/numpy") == "cannot fetch https://index.example/simple/numpy"


def test_only_settings_of_ours_reach_uv_and_pip(host: Host) -> None:
    variables = {
        "UV_RESOLUTION": "lowest",
        "UV_CACHE_DIR": "/cache",
        "PIP_TARGET": "/somewhere",
        "PIP_PRE": "1",
        "A": "b",
    }
    found = host.read(PIP_NO_INDEX="yes", PIP_FIND_LINKS="/with,comma", PIP_DEFAULT_TIMEOUT="7.5", **variables)
    uv, pip = found.uv_environment(variables), found.pip_environment(variables)
    assert {"UV_RESOLUTION", "PIP_TARGET", "PIP_PRE"}.isdisjoint({*uv, *pip})
    assert uv["UV_CACHE_DIR"] == "/cache"
    assert uv["A"] == pip["A"] == "b"
    assert uv["UV_FIND_LINKS"] == "file:///with%2Ccomma"
    assert uv["UV_HTTP_TIMEOUT"] == "8"
    assert pip["PIP_TIMEOUT"] == "7.5"
    assert "--no-index" in found.uv_arguments()
    assert "PIP_INDEX_URL" not in pip
    assert pip["PIP_CONFIG_FILE"] == os.devnull


def test_a_proxy_of_pip_stands_alone(host: Host) -> None:
    found = host.read(PIP_PROXY="http://proxy:3128")
    uv = found.uv_environment({"https_proxy": "http://other", "NO_PROXY": "*"})
    assert uv["HTTPS_PROXY"] == "http://proxy:3128"
    assert {"https_proxy", "NO_PROXY"}.isdisjoint(uv)


def test_folders_and_what_is_left_without_them(host: Host) -> None:
    found = host.read(PIP_INDEX_URL="/srv/my index", PIP_EXTRA_INDEX_URL="https://a/ https://b/", PIP_FIND_LINKS="/w")
    assert found.folders == (Path("/srv/my index"), Path("/w"))
    assert found.without_folders().addresses == ("https://a/", "https://b/")
    assert host.read(PIP_INDEX_URL="/srv/index").without_folders().no_index
