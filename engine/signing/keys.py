"""The key of a home: made or adopted, unlocked once a process, and used.

``keys/signing.json`` names the key by its public part and says where the private one lies; ``keys/allowed_signers``
says whose signatures count. An encrypted private key is opened by an ssh-agent, or with its passphrase.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BadInput
from engine.files import locked, read_regular, write_atomic, write_json
from engine.settings import Home
from engine.signing import agent, signers
from engine.signing.wire import ED25519_ONLY, PublicKey, from_line, public_part

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MAX_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
#: Keys whose passphrase was given to this process.
_unlocked: dict[PublicKey, Ed25519PrivateKey] = {}

Ask = Callable[[str], str | None]


class CannotSign(Exception):
    """Why nothing can be signed now, as a clause. Never the user's fault alone: what was to be signed goes unsigned."""


@dataclass(frozen=True)
class SigningKey:
    """The key that a home signs with. ``file`` is its private part, empty when only an agent has it."""

    name: str
    public: PublicKey
    file: str = ""


def folder(home: Home) -> Path:
    """Where all about keys lies."""
    return home.root / "keys"


def allowed_signers(home: Home) -> Path:
    """Whose signatures count, in OpenSSH's own format."""
    return folder(home) / "allowed_signers"


def signing_key(home: Home) -> SigningKey | None:
    """The key that is set; BadInput when the file that says so is damaged."""
    path = folder(home) / "signing.json"
    try:
        document = json.loads(read_regular(path, _MAX_BYTES))
        public, _ = from_line(document["public"])
        return SigningKey(str(document["name"]), public, str(document["file"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is damaged: {error}.", "`nbseal keys use PATH` writes it anew.") from None


def trusted(home: Home) -> tuple[tuple[signers.Signer, ...], tuple[str, ...]]:
    """Whose signatures count, and which lines of ``allowed_signers`` cannot be read."""
    try:
        text = read_regular(allowed_signers(home), _MAX_BYTES).decode()
    except FileNotFoundError:
        return (), ()
    except (OSError, ValueError) as error:
        return (), (f"the file cannot be read: {error}",)
    return signers.read(text)


def make(home: Home, name: str, passphrase: str | None) -> SigningKey:
    """A new key of that name in the home, encrypted unless ``passphrase`` is None; it signs from now on."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    check_name(name)
    path = folder(home) / name
    if name.endswith(".pub"):
        raise BadInput(f"'{name}' is a name for the public part of a key.", f"Give --name {name.removesuffix('.pub')}.")
    for taken in (path, path.with_name(f"{name}.pub")):
        if taken.exists() or taken.is_symlink() or name in ("allowed_signers", "signing.json"):
            raise BadInput(f"There is a {taken} already.", "Give another --name.")
    private = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    data = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption)
    public = PublicKey(private.public_key().public_bytes_raw())
    folder(home).mkdir(parents=True, exist_ok=True)
    folder(home).chmod(0o700)
    write_atomic(path, data, mode=0o600)
    write_atomic(path.with_name(f"{name}.pub"), f"{public.line} {name}\n".encode())
    _unlocked[public] = private
    return _set(home, SigningKey(name, public, str(path)))


def adopt(home: Home, what: str, name: str | None) -> SigningKey:
    """Sign with an existing key: a private key file, a .pub file, ``agent``, or a fingerprint in the agent."""
    if what == "agent" or what.startswith("SHA256:"):
        public, comment = _of_agent(what)
        return _set(home, SigningKey(_name(name, comment), public))
    path = Path(what).expanduser().absolute()
    try:
        text = read_regular(path, _MAX_BYTES).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BadInput(f"The key {what} cannot be read: {reason}.", ED25519_ONLY) from None
    if "PRIVATE KEY-----" in text:
        public, comment = public_part(text), ""
        with suppress(OSError, ValueError):
            comment = from_line(read_regular(path.with_name(f"{path.name}.pub"), _MAX_BYTES).decode())[1]
    else:
        try:
            public, comment = from_line(text)
        except ValueError as error:
            raise BadInput(f"The key {what} cannot be used: {error}.", ED25519_ONLY) from None
        path = path.with_suffix("") if path.suffix == ".pub" else path
    if _holds(path, public):
        return _set(home, SigningKey(_name(name, comment), public, str(path)))
    if public not in agent.held():
        raise BadInput(
            f"Neither the agent nor {path} has the private part of {what}.", "Load it with ssh-add, or name its file."
        )
    return _set(home, SigningKey(_name(name, comment), public))


def _holds(path: Path, public: PublicKey) -> bool:
    """Whether a file is the private part of a key, encrypted or not."""
    try:
        return public_part(read_regular(path, _MAX_BYTES).decode()) == public
    except (OSError, ValueError, BadInput):
        return False


def trust(home: Home, name: str, public: PublicKey) -> None:
    """Let the signatures of a key count under a name."""
    check_name(name)
    path = allowed_signers(home)
    with locked(folder(home) / ".lock"):
        if any((signer.name, signer.key) == (name, public) for signer in trusted(home)[0]):
            return
        try:
            before = read_regular(path, _MAX_BYTES)
        except FileNotFoundError:
            before = b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        write_atomic(path, before + f"{name} {public.line}\n".encode())


def unlock(home: Home, ask: Ask) -> str:
    """See to it that this process can sign; why it cannot, or nothing. ``ask`` gets a passphrase from a person."""
    try:
        key = signing_key(home)
        if key is None or key.public in _unlocked or key.public in agent.held():
            return ""
        _unlocked[key.public] = _load(key, ask)
    except CannotSign as error:
        return str(error)
    except BadInput as error:
        return error.message
    return ""


def sign(key: SigningKey, data: bytes) -> bytes:
    """The 64 bytes of a signature. CannotSign when neither this process, nor an agent, nor the file can."""
    if key.public not in _unlocked and key.public in agent.held():
        try:
            return agent.sign(key.public, data)
        except (OSError, ValueError) as error:
            raise CannotSign(f"the agent does not sign: {error}") from error
    if key.public not in _unlocked:
        _unlocked[key.public] = _load(key, lambda _: None)
    return _unlocked[key.public].sign(data)


def default_name() -> str:
    """``user@host``, as ssh-keygen names a key."""
    try:
        name = f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        name = "nbseal"
    return name if _NAME.fullmatch(name) else "nbseal"


def _load(key: SigningKey, ask: Ask) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    if not key.file:
        raise CannotSign("the ssh-agent that has the key is not there")
    try:
        data = read_regular(Path(key.file), _MAX_BYTES)
        try:
            private = load_ssh_private_key(data, None)
        except TypeError:  # what it says of an encrypted key without a password
            passphrase = ask(f"Passphrase of {key.file}: ")
            if passphrase is None:
                raise CannotSign("its passphrase is not known here and no ssh-agent has the key") from None
            try:
                private = load_ssh_private_key(data, passphrase.encode())
            except (ValueError, TypeError):
                raise CannotSign("the passphrase is wrong") from None
    except OSError as error:
        raise CannotSign(f"the private key cannot be read: {os.strerror(error.errno or 0)}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CannotSign(f"the private key cannot be used: {error}") from error
    if not isinstance(private, Ed25519PrivateKey) or private.public_key().public_bytes_raw() != key.public.raw:
        raise CannotSign("the file of the private key now holds another key")
    return private


def _of_agent(what: str) -> tuple[PublicKey, str]:
    found = agent.held()
    fitting = [key for key in found if what in ("agent", key.fingerprint)]
    if len(fitting) != 1:
        known = ", ".join(key.fingerprint for key in found) or "none"
        raise BadInput(f"The agent has {len(fitting)} ed25519 keys that fit '{what}'.", f"It holds: {known}.")
    return fitting[0], found[fitting[0]]


def _name(given: str | None, comment: str) -> str:
    if given is not None:
        return given
    return comment if _NAME.fullmatch(comment) else default_name()


def check_name(name: str) -> None:
    """BadInput unless it can be the name of a key: it becomes the name of a file."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"'{name[:80]}' is not a name for a key.", "Use letters, digits and ._@- , as in an e-mail address."
        )


def _set(home: Home, key: SigningKey) -> SigningKey:
    check_name(key.name)
    trust(home, key.name, key.public)
    write_json(folder(home) / "signing.json", {"name": key.name, "public": key.public.line, "file": key.file})
    return key
