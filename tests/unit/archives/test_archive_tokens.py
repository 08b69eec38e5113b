"""Time stamp tokens: whose count, and what about a token is looked at without knowing anybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from engine import pipeline, signing
from engine.archives import tokens
from engine.errors import BadInput, VerificationFailed
from engine.progress import Silent
from engine.settings import Home
from tests.unit.archives import small_archives
from tests.unit.archives.conftest import Sample
from tests.unit.archives.small_archives import Member
from tests.unit.archives.stamps import Authority, der

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


def stamped(sample: Sample, path: Path, data: bytes) -> Path:
    """The sample with a time stamp."""
    items = sample.members()
    top = items[0].name.partition("/")[0]
    items.append(Member(f"{top}/attestations/tagmanifest-sha256.txt.tsr", data))
    return small_archives.write(path, items)


def tag_manifest(sample: Sample) -> bytes:
    return next(item.data for item in sample.members() if item.name.endswith("/tagmanifest-sha256.txt"))


def test_a_token_names_its_time_and_certificate(authority: Authority) -> None:
    token = tokens.read(authority.stamp(b"data", NOW), b"data", [])
    assert (token.time, token.certificate) == (NOW, authority.certificate)


def test_a_token_keeps_the_fraction_of_its_second_and_its_accuracy(authority: Authority) -> None:
    accuracy = der(0x30, der(0x02, b"\2"), der(0x80, b"\x01\xf4"))
    token = tokens.read(authority.stamp(b"data", NOW, accuracy, ".25"), b"data", [])
    assert token.time == NOW + timedelta(milliseconds=250)
    assert token.latest == NOW + timedelta(seconds=2.75)
    assert str(token) == f"{NOW:%Y-%m-%d %H:%M:%S}.25 UTC (accuracy 2.5 s)"
    token = tokens.read(authority.stamp(b"data", NOW), b"data", [])
    assert (str(token), token.latest - NOW) == (f"{NOW:%Y-%m-%d %H:%M:%S} UTC", timedelta(seconds=1))


def test_it_counts_under_its_own_certificate_and_under_the_root(authority: Authority) -> None:
    response = authority.stamp(b"data", NOW)
    token = tokens.read(response, b"data", [])
    assert tokens.trusted_by(response, b"data", token, authority.certificate)
    assert tokens.trusted_by(response, b"data", token, authority.root)
    other = Authority.make()  # of the same names
    assert not tokens.trusted_by(response, b"data", token, other.certificate)
    assert not tokens.trusted_by(response, b"data", token, other.root)


@pytest.mark.parametrize("days", [-3, 3])
def test_a_certificate_has_to_be_valid_at_the_time_of_the_token(authority: Authority, days: int) -> None:
    response = authority.stamp(b"data", NOW + timedelta(days=days))
    with pytest.raises(ValueError, match="not valid at that time"):
        tokens.read(response, b"data", [])


def test_a_certificate_for_something_else_stamps_nothing() -> None:
    response = Authority.make(purpose=ExtendedKeyUsageOID.CODE_SIGNING).stamp(b"data", NOW)
    with pytest.raises(ValueError, match="not for time stamps"):
        tokens.read(response, b"data", [])


def test_no_changed_bit_of_what_is_signed_goes_through(authority: Authority) -> None:
    response = authority.stamp(b"data", NOW)
    token = tokens.read(response, b"data", [])
    for place in range(len(response)):
        changed = bytearray(response)
        changed[place] ^= 1
        try:
            found = tokens.read(bytes(changed), b"data", [])
        except Exception:  # noqa: S112 (a parser in Rust, of bytes that may be anything)
            continue
        assert found == token, place  # a version number, or other bytes that nobody reads


def test_an_archive_says_whose_time_stamp_it_has(
    sample: Sample, target: Home, authority: Authority, tmp_path: Path
) -> None:
    path = stamped(sample, tmp_path / "x.tar", authority.stamp(tag_manifest(sample), NOW))
    when = f"{NOW:%Y-%m-%d %H:%M:%S} UTC"

    def word() -> tuple[str, str, str]:
        word = pipeline.read_archive(path, target, Silent()).words[3]
        return word.state, word.by, word.when

    assert word() == ("unknown", "", when)
    signing.trust_authority(target, "tsa.example.org", authority.root.public_bytes(Encoding.PEM))
    assert word() == ("trusted", "tsa.example.org", when)


def test_a_time_stamp_that_does_not_hold_refuses_the_archive(
    sample: Sample, target: Home, authority: Authority, tmp_path: Path
) -> None:
    data = bytearray(authority.stamp(tag_manifest(sample), NOW))
    data[-1] ^= 1
    for response in (bytes(data), authority.stamp(b"something else", NOW)):
        with pytest.raises(VerificationFailed, match=r"tagmanifest-sha256\.txt\.tsr"):
            pipeline.read_archive(stamped(sample, tmp_path / "x.tar", response), target, Silent())


def test_certificates_are_kept_by_name(target: Home, authority: Authority) -> None:
    first, other = (item.root.public_bytes(Encoding.PEM) for item in (authority, Authority.make()))
    signing.trust_authority(target, "tsa", first)
    signing.trust_authority(target, "tsa", other)
    found, problems = signing.authorities(target)
    assert (found["tsa"].public_bytes(Encoding.PEM), problems) == (other, ())
    (target.root / "keys/authorities/x.pem").write_text("junk")
    assert signing.authorities(target)[1] == (
        "x.pem counts for nobody: This is not one certificate in PEM: it is none.",
    )
    for name, data in (("../x", first), ("x", b"junk"), ("x", first + other), ("x", b"")):
        with pytest.raises(BadInput):
            signing.trust_authority(target, name, data)
