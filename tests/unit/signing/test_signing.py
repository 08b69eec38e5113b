"""Keys, signatures and trust; what OpenSSH itself makes of them is in tests/engine/test_sealing.py."""

import base64
import socket
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from engine import signing
from engine.errors import BadInput
from engine.settings import Home
from engine.signing import keys, note, signers, sshsig
from engine.signing.wire import PublicKey, packed, public_part

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PublicKey(PRIVATE.public_key().public_bytes_raw())
#: go.dev's golang.org/x/mod/sumdb/note documentation has this verifier, note and signature.
VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SIGNED = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "\N{EM DASH} PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield
    keys._unlocked.clear()


def test_signature_holds_for_its_message_and_namespace_only() -> None:
    armored = sshsig.make(b"message", "here", PUBLIC, PRIVATE.sign)
    assert sshsig.check(armored, b"message", "here") == PUBLIC
    for message, namespace in ((b"Message", "here"), (b"message", "there")):
        with pytest.raises(ValueError, match="it "):
            sshsig.check(armored, message, namespace)


@given(st.data())
def test_no_changed_signature_holds(data: st.DataObject) -> None:
    armored = bytearray(sshsig.make(b"message", "here", PUBLIC, PRIVATE.sign))
    place = data.draw(st.integers(0, len(armored) - 1))
    armored[place] ^= data.draw(st.integers(1, 255))
    try:
        key = sshsig.check(bytes(armored), b"message", "here")
    except ValueError:
        return
    # Only white space and the unused bits of the last base64 digit can change without changing the signature.
    assert key == PUBLIC


@given(st.binary(max_size=300))
def test_garbage_is_no_signature(garbage: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        sshsig.check(garbage, b"message", "here")


def test_signed_note_of_the_specification() -> None:
    name, _, rest = VERIFIER.partition("+")
    key = PublicKey(base64.b64decode(rest.partition("+")[2])[1:])
    assert note.key_id(name, key).hex() == rest.partition("+")[0]
    found = note.read(SIGNED.encode())
    assert found.signed_by(name, key)
    assert not found.signed_by("Peter", key)
    assert not found.signed_by(name, PUBLIC)
    assert not note.read(SIGNED.replace("problem is", "problem was").encode()).signed_by(name, key)


def test_note_round_trip() -> None:
    made = note.read(note.make("a\nb\n", "me", PUBLIC, PRIVATE.sign))
    assert made.text == "a\nb\n"
    assert made.signed_by("me", PUBLIC)
    assert note.read(note.make("a\n", "me", None, PRIVATE.sign)).signatures == ()
    for bad in (b"", b"a\n", b"a\n\nb\n", "a\n\n— x\n".encode(), "a\n\n— x !!!!\n".encode(), b"\xff\n\n"):
        with pytest.raises(ValueError):  # noqa: PT011
            note.read(bad)


# --- keys of a home -------------------------------------------------------------------------------


def test_new_key_signs_and_is_trusted(home: Home) -> None:
    assert signing.signing_key(home) is None
    made = signing.make(home, "alice@example.org", "secret")
    assert signing.signing_key(home) == made
    assert made.public.verifies(signing.sign(made, b"x"), b"x")
    found, problems = signing.trusted(home)
    assert signing.judge(found, made.public, "any", signers.Moment(datetime.now(UTC), ""))[0] == "alice@example.org"
    assert problems == ()
    private = Path(made.file)
    assert private.stat().st_mode & 0o077 == 0
    assert public_part(private.read_text()) == made.public
    with pytest.raises(BadInput, match="already"):
        signing.make(home, "alice@example.org", None)


def test_an_encrypted_key_asks_once_and_only_where_somebody_can_answer(home: Home) -> None:
    made = signing.make(home, "alice", "secret")
    keys._unlocked.clear()
    with pytest.raises(signing.CannotSign, match="passphrase"):
        signing.sign(made, b"x")
    assert "not known" in signing.unlock(home, lambda _: None)
    assert "wrong" in signing.unlock(home, lambda _: "other")
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "secret"

    assert signing.unlock(home, ask) == signing.unlock(home, ask) == ""
    assert len(asked) == 1
    assert made.public.verifies(signing.sign(made, b"x"), b"x")


def test_an_unencrypted_key_needs_nobody(home: Home) -> None:
    made = signing.make(home, "robot", None)
    keys._unlocked.clear()
    assert made.public.verifies(signing.sign(made, b"x"), b"x")


@pytest.mark.parametrize("which", ["alice", "alice.pub"])
def test_adopted_keys_stay_where_they_are(home: Home, tmp_path: Path, which: str) -> None:
    made = signing.make(Home(tmp_path / "elsewhere"), "alice", None)
    keys._unlocked.clear()
    adopted = signing.adopt(home, str(tmp_path / "elsewhere/keys" / which), None)
    assert (adopted.public, adopted.name, adopted.file) == (made.public, "alice", made.file)
    assert sorted(path.name for path in (home.root / "keys").iterdir()) == [".lock", "allowed_signers", "signing.json"]
    assert made.public.verifies(signing.sign(adopted, b"x"), b"x")
    Path(made.file).unlink()
    keys._unlocked.clear()
    with pytest.raises(signing.CannotSign, match="cannot be read"):
        signing.sign(adopted, b"x")


def test_a_file_that_now_holds_another_key_does_not_sign(home: Home, tmp_path: Path) -> None:
    made = signing.make(home, "alice", None)
    other = signing.make(Home(tmp_path / "other"), "bob", None)
    Path(made.file).write_bytes(Path(other.file).read_bytes())
    keys._unlocked.clear()
    with pytest.raises(signing.CannotSign, match="another key"):
        signing.sign(made, b"x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-rsa AAAA",
        "ssh-ed25519 !!!",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_other_keys_are_refused(home: Home, tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(BadInput) as caught:
        signing.adopt(home, str(tmp_path / "key"), None)
    assert "ed25519" in caught.value.hint
    for name in ("../x", "a b", "", "*", "a,b"):
        with pytest.raises(BadInput, match="not a name"):
            signing.make(home, name, None)


# --- an agent -------------------------------------------------------------------------------------


@pytest.fixture
def agent_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """An agent in a thread that holds PRIVATE, speaking the draft's protocol over a real socket."""
    path = tmp_path / "agent"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    requests: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                request = stream.read(struct.unpack(">I", stream.read(4))[0])
                requests.append(request)
                if request[0] == 11:
                    answer = b"\x0c" + struct.pack(">I", 2)
                    answer += packed(packed(b"ssh-rsa", b"x", b"y"), b"an rsa key") + packed(PUBLIC.blob, b"carol")
                else:
                    data = request[1 + 4 + len(PUBLIC.blob) + 4 : -4]
                    answer = b"\x0e" + packed(packed(b"ssh-ed25519", PRIVATE.sign(data)))
                connection.sendall(packed(answer))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield requests
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@pytest.mark.parametrize("what", ["agent", PUBLIC.fingerprint])
def test_a_key_of_the_agent(home: Home, agent_socket: list[bytes], monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    adopted = signing.adopt(home, what, None)
    assert (adopted.name, adopted.file) == ("carol", "")
    assert signing.unlock(home, lambda _: pytest.fail("asked")) == ""
    assert PUBLIC.verifies(signing.sign(adopted, b"data"), b"data")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    with pytest.raises(signing.CannotSign, match="agent"):
        signing.sign(adopted, b"data")
    with pytest.raises(BadInput, match="0 ed25519 keys"):
        signing.adopt(home, what, None)


# --- allowed_signers ------------------------------------------------------------------------------

KEY = PUBLIC.line
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"a@b {KEY}", "a@b"),
        (f"a@b {KEY} comment and more", "a@b"),
        (f'"a b,c" {KEY}', "a b,c"),
        (f'a namespaces="nbseal-seal" {KEY}', "a"),
        (f'a namespaces="git,nbseal-*" {KEY}', "a"),
        (f'a valid-after="20200101Z" {KEY}', "a"),
        (f'a valid-after="202001010000",valid-before="99990101000000Z" {KEY}', "a"),
        (f'a namespaces="git" {KEY}', ""),
        (f'a namespaces="*,!nbseal-seal" {KEY}', ""),
        (f'a namespaces="[n]bseal-seal" {KEY}', ""),
        (f'a valid-before="20200101Z" {KEY}', ""),
        (f'a valid-after="99980101Z" {KEY}', ""),
        (f"a cert-authority {KEY}", ""),
        (f"a no-such-option {KEY}", ""),
        (f'a valid-after="soon" {KEY}', ""),
        (f'a namespaces="x",namespaces="*" {KEY}', ""),
        (f"# a {KEY}", ""),
        (f"{KEY}", ""),
        ("a ssh-rsa AAAA", ""),
        ("", ""),
    ],
)
def test_whose_signatures_count(line: str, name: str) -> None:
    found, _ = signers.read(f"# comment\n{line}\n")
    assert signers.judge(found, PUBLIC, "nbseal-seal", signers.Moment(NOW, ""))[0] == name


def test_lines_that_count_for_nobody_are_named() -> None:
    _, problems = signers.read(f"a {KEY}\nb ssh-rsa AAAA\n\nc cert-authority {KEY}\n")
    assert [problem.split(" counts")[0] for problem in problems] == ["line 2", "line 4"]


def test_a_retired_key_counts_for_what_it_signed_before() -> None:
    found, _ = signers.read(f'a valid-before="20240101Z" {KEY}\n')
    end = datetime(2024, 1, 1, tzinfo=UTC)
    assert signers.judge(found, PUBLIC, "x", signers.Moment(end - timedelta(1), ""))[0] == "a"
    assert signers.judge(found, PUBLIC, "x", signers.Moment(end + timedelta(1), ""))[0] == ""


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    signers.read(text)


def test_a_name_never_takes_the_place_of_another_keys_file(home: Home) -> None:
    for name in ("z.pub", "allowed_signers.pub", "signing.json", "allowed_signers"):
        with pytest.raises(BadInput):
            keys.make(home, name, None)
    (home.root / "keys").mkdir(parents=True, exist_ok=True)
    (home.root / "keys/z.pub").write_text("a private key of an earlier version\n")
    with pytest.raises(BadInput, match=r"z\.pub already"):
        keys.make(home, "z", None)
    assert (home.root / "keys/z.pub").read_text() == "a private key of an earlier version\n"
    assert not (home.root / "keys/z").exists()


@pytest.mark.parametrize("name", ["id", "id.txt", "id.pub"])
def test_only_the_private_part_is_taken_for_one(home: Home, tmp_path: Path, name: str) -> None:
    made = keys.make(Home(tmp_path / "other"), "bob", None)
    other = keys.make(Home(tmp_path / "third"), "carol", None)
    public = tmp_path / name
    public.write_text(f"{made.public.line} bob\n")
    with pytest.raises(BadInput, match="private part"):
        keys.adopt(home, str(public), None)
    if name == "id.pub":
        (tmp_path / "id").write_bytes(Path(other.file).read_bytes())  # another key beside it
        with pytest.raises(BadInput, match="private part"):
            keys.adopt(home, str(public), None)
        (tmp_path / "id").write_bytes(Path(made.file).read_bytes())
        assert keys.adopt(home, str(public), None).file == str(tmp_path / "id")
    else:
        assert keys.signing_key(home) is None


def test_a_key_that_is_not_there_is_said_plainly(home: Home, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be read: No such file or directory\.$"):
        keys.adopt(home, str(tmp_path / "nope"), None)
