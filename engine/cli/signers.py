"""``keys``: which key signs, and whose signatures count; and the passphrase, asked for while somebody is there."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from engine import pipeline, signing
from engine.cli.terminal import print_json, say, table
from engine.errors import BadInput
from engine.files import read_regular
from engine.results import clean_text
from engine.settings import Home, find_home

_MAX_BYTES = 64 << 10


def unlock(home: Home) -> None:
    """Before anything is signed: open the key, or say why things will be unsigned."""
    problem = signing.unlock(home, _ask)
    if problem:
        say(f"Nothing can be signed now: {problem}.".replace("..", "."))


def new(name: str | None, passphrase_file: Path | None, *, unencrypted: bool, as_json: bool) -> int:
    """Make a key."""
    if unencrypted and passphrase_file is not None:
        raise BadInput("--unencrypted and --passphrase-file contradict each other.", "Leave one of them out.")
    passphrase = None if unencrypted else _new_passphrase(passphrase_file)
    home = find_home()
    key = pipeline.keys_make(home, name or signing.default_name(), passphrase)
    return _set(key, as_json=as_json)


def use(what: str, name: str | None, *, as_json: bool) -> int:
    """Adopt a key."""
    return _set(pipeline.keys_adopt(find_home(), what, name, unlock), as_json=as_json)


def trust(name: str, file: Path) -> int:
    """Let another key's signatures count, or an authority's time stamps."""
    try:
        data = read_regular(file, _MAX_BYTES)
        if signing.CERTIFICATE in data:
            print(f"{name}  {pipeline.keys_trust_authority(find_home(), name, data)}")
            return 0
        public, _ = signing.from_line(data.decode())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(
            f"{file} is neither the public part of an ed25519 key nor a certificate: {reason}.",
            "Name a .pub file, or the PEM file of a time stamping authority.",
        ) from None
    pipeline.keys_trust(find_home(), name, public)
    print(f"{name}  {public.fingerprint}")
    return 0


def show(*, as_json: bool) -> int:
    """Which key signs, and who is trusted."""
    home = find_home()
    key = signing.signing_key(home)
    trusted, problems = signing.trusted(home)
    authorities, damaged = signing.authorities(home)
    if as_json:
        print_json(
            {
                "signing": _json(key) if key else None,
                "allowed_signers": [{"name": item.name, "fingerprint": item.key.fingerprint} for item in trusted],
                "authorities": sorted(authorities),
                "problems": [*problems, *damaged],
            }
        )
        return 0
    if key is None:
        say("No key is set, so runs are unsigned; `nbseal keys new` makes one, `nbseal keys use` adopts one.")
    signs = {item.name for item in trusted if key and item.key == key.public}
    if key and key.name in signs:
        signs = {key.name}  # the others are further names of the same key
    rows = [
        [
            "signs" if key and item.key == key.public and item.name in signs else "",
            clean_text(item.name),
            item.key.fingerprint,
        ]
        for item in trusted
    ]
    if key and all(item.key != key.public for item in trusted):
        rows.insert(0, ["signs, and does not count", clean_text(key.name), key.public.fingerprint])
    if rows:
        print(table(["", "name", "key"], rows))
    for name in authorities:
        print(f"time stamps count under the certificate of {name}")
    for problem in problems:
        say(f"{signing.allowed_signers(home)}: {clean_text(problem)}.")
    for problem in damaged:
        say(f"keys/authorities: {clean_text(problem)}.")
    return 0


def _set(key: signing.SigningKey, *, as_json: bool) -> int:
    if as_json:
        print_json(_json(key))
    else:
        print(f"{key.name}  {key.public.fingerprint}  {key.file or 'in the ssh-agent'}")
    return 0


def _json(key: signing.SigningKey) -> dict[str, str]:
    return {
        "name": key.name,
        "fingerprint": key.public.fingerprint,
        "public": key.public.line,
        "file": key.file,
    }


def _new_passphrase(file: Path | None) -> str:
    if file is not None:
        try:
            text = read_regular(file, _MAX_BYTES).decode().rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise BadInput(f"The passphrase file {file} cannot be read: {reason}.", "Check its path.") from None
    else:
        first = _ask("Passphrase of the new key: ")
        if first is None:
            raise BadInput(
                "There is no terminal to ask for a passphrase.",
                "Give --passphrase-file FILE, or --unencrypted for a key that anybody who reads the home can use.",
            )
        text = first
        if text != _ask("The same again: "):
            raise BadInput("The passphrases differ.", "Try again.")
    if not text:
        raise BadInput("An empty passphrase protects nothing.", "Say --unencrypted if that is what you want.")
    return text


def _ask(text: str) -> str | None:
    if not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(text)
    except EOFError:
        return None
