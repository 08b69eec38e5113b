"""Places in a registry: what has the shape of one is read as it was meant, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import registry
from engine.errors import BadInput

HOSTS = st.one_of(
    st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?(\.[a-z0-9]{1,8}){0,3}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
PARTS = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
REPOSITORIES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)
DIGESTS = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@given(HOSTS, st.none() | st.integers(1, 65535), REPOSITORIES, st.just("") | TAGS, st.just("") | DIGESTS)
def test_a_reference_is_read_as_it_is_written(host: str, port: int | None, name: str, tag: str, digest: str) -> None:
    written = registry.Reference(host, port, name, "" if digest else tag, digest)
    assert registry.parse(str(written)) == written
    assert written.registry in str(written)


@given(st.text())
def test_anything_else_is_refused_in_words(text: str) -> None:
    for whole in (text, f"oci://{text}"):
        try:
            found = registry.parse(whole)
        except BadInput as error:
            assert "oci://HOST" in error.hint  # noqa: PT017
        else:
            assert str(found) == whole


@pytest.mark.parametrize(
    "text",
    [
        "", "oci://", "oci://host", "oci://host/", "oci:///repo", "docker://host/repo", "host/repo", "oci://host/Repo",
        "oci://host/repo:", "oci://host/repo@", "oci://host/repo@sha256:12", "oci://host/repo:tag@sha256:" + "1" * 64,
        "oci://host/repo@sha512:" + "1" * 128, "oci://host:0/repo", "oci://host:65536/repo", "oci://host:x/repo",
        "oci://host//repo", "oci://host/../repo", "oci://host/a/../b", "oci://host/repo/", "oci://host/re po",
        "oci://host/repo?x=1", "oci://host/repo#x", "oci://-host/repo", "oci://host-/repo", "oci://[::zz]/repo",
        "oci://[1.2.3.4]/repo", "oci://::1/repo", "oci://host/repo:" + "x" * 129, "oci://host/" + "a" * 255,
        "oci://host/repo\n", "oci://ho\nst/repo", "oci://host/repo:-x", "oci://host\\x/repo", "OCI://host/repo",
    ],
)  # fmt: skip
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(BadInput):
        registry.parse(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(BadInput) as error:
        registry.parse("oci://alice:secret@registry.example/repo")
    assert "secret" not in error.value.message + error.value.hint


@pytest.mark.parametrize(
    ("text", "canonical", "address"),
    [
        ("oci://docker.io/churn:v1", "oci://docker.io/library/churn:v1", "registry-1.docker.io"),
        ("oci://docker.io/team/churn", "oci://docker.io/team/churn", "registry-1.docker.io"),
        ("oci://index.docker.io/team/churn", "oci://docker.io/team/churn", "registry-1.docker.io"),
        ("oci://Docker.io/churn", "oci://docker.io/library/churn", "registry-1.docker.io"),
        ("oci://docker.io:5000/churn", "oci://docker.io:5000/churn", "docker.io:5000"),
        ("oci://ghcr.io/churn", "oci://ghcr.io/churn", "ghcr.io"),
        ("oci://127.0.0.1:5000/churn", "oci://127.0.0.1:5000/churn", "127.0.0.1:5000"),
    ],
)
def test_docker_hub_answers_elsewhere(text: str, canonical: str, address: str) -> None:
    found = registry.parse(text)
    assert (str(found), found.address) == (canonical, address)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.0.1", True), ("[::1]", True), ("LOCALHOST", True),
     ("10.0.0.1", False), ("localhost.example", False), ("127.example", False), ("[::2]", False)],
)  # fmt: skip
def test_only_this_machine_is_spoken_to_without_tls(host: str, loopback: bool) -> None:
    assert registry.parse(f"oci://{host}:5000/repo").is_loopback is loopback
