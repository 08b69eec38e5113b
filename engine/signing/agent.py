"""ssh-agent: what keys it holds, and signatures made with them (draft-ietf-sshm-ssh-agent)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from engine.signing.wire import ED25519, PublicKey, Unpacker, from_blob, packed

_LIST, _LISTED = 11, 12
_SIGN, _SIGNED = 13, 14
_MAX_BYTES = 1 << 20
#: An agent may ask its user to confirm.
_PATIENCE = 60.0


def held() -> dict[PublicKey, str]:
    """The ed25519 keys of the agent and their comments; none when there is no agent."""
    try:
        answer = Unpacker(_ask(bytes([_LIST]), _LISTED))
        found = {}
        for _ in range(answer.number()):
            blob, comment = answer.string(), answer.string()
            with suppress(ValueError):  # a key of another type
                found[from_blob(blob)] = comment.decode("utf-8", "replace")
    except (OSError, ValueError):
        return {}
    return found


def sign(key: PublicKey, data: bytes) -> bytes:
    """The 64 bytes of a signature. OSError when no agent answers, ValueError when it refuses."""
    answer = Unpacker(_ask(bytes([_SIGN]) + packed(key.blob, data) + bytes(4), _SIGNED))
    signature = Unpacker(answer.string())
    if signature.string() != ED25519.encode():
        raise ValueError("the agent signed with another kind of key")
    return signature.string()


def _ask(request: bytes, expected: int) -> bytes:
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise OSError("no ssh-agent: SSH_AUTH_SOCK is not set")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE)
        connection.connect(path)
        connection.sendall(packed(request))
        length = int.from_bytes(_receive(connection, 4), "big")
        if not 0 < length <= _MAX_BYTES:
            raise ValueError("the agent's answer makes no sense")
        answer = _receive(connection, length)
    if answer[0] != expected:
        raise ValueError("the agent refused")
    return answer[1:]


def _receive(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise OSError("the agent hung up")
        data += part
    return data
