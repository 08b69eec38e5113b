"""Content on its way out of a registry: written once, hashed meanwhile, gone on with where a connection broke."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from engine.digests import PREFIX
from engine.errors import VerificationFailed
from engine.registry.client import Client
from engine.registry.transport import Broken, Reply

_CHUNK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/(?:[0-9]{1,15}|\*)")
_HINT = "Nothing of it entered the home. Whoever pushed it can push it again to another repository."


def download(client: Client, digest: str, size: int, path: Path, what: str, advance: Callable[[int], None]) -> None:
    """Write content to ``path``, going on with what an earlier attempt left there.

    VerificationFailed says of ``what`` that it is other bytes, or more of them, than its digest and size say; the file
    is gone then.
    """
    try:
        left = _fetch(client, digest, size, path, what, advance)
        if left:  # what an earlier command left there may be what is wrong
            path.unlink()
            left = _fetch(client, digest, size, path, what, advance)
    except VerificationFailed:
        path.unlink(missing_ok=True)
        raise


def _fetch(client: Client, digest: str, size: int, path: Path, what: str, advance: Callable[[int], None]) -> bool:
    """Whether it came out wrong, and part of it was there before."""
    with _opened(path) as file:
        coming = _Coming(client, digest, size, file, what, advance)
        before = coming.take_up()
        coming.run()
        if coming.digest == digest:
            os.fchmod(file.fileno(), 0o444)
            return False
        if before:
            advance(-size)
            return True
    raise VerificationFailed(f"{what} in {client.reference} is not what its digest says.", _HINT)


def _opened(path: Path) -> BinaryIO:
    """For reading and writing, even when it was complete and is read-only."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b")


class _Coming:
    def __init__(
        self, client: Client, digest: str, size: int, file: BinaryIO, what: str, advance: Callable[[int], None]
    ) -> None:
        self._client, self._digest, self._size = client, digest, size
        self._file, self._what, self._advance = file, what, advance
        self._hasher, self._have = hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        return PREFIX + self._hasher.hexdigest()

    def take_up(self) -> int:
        """What is there already, as far as it can be part of it."""
        if os.fstat(self._file.fileno()).st_size > self._size:
            self._file.truncate(0)
        while data := self._file.read(_CHUNK):
            self._took(data)
        return self._have

    def run(self) -> None:
        patience, most = self._client.patience(), self._have
        while self._have < self._size:
            try:
                self._receive(self._client.blob(self._digest, self._have))
                if self._have < self._size:
                    raise Broken("it ends too early")
            except Broken as error:
                if self._have > most:  # more than ever: what came twice is no progress
                    most = self._have
                    patience.progressed()
                patience.lose(error)

    def _receive(self, reply: Reply) -> None:
        start = 0
        if reply.status == 206:
            match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", ""))
            start = int(match[1]) if match else -1
        if start != self._have:
            if start != 0 or reply.status == 206:
                reply.close()
                raise Broken("it sends another part than was asked for")
            self._restart()  # it knows no ranges
        length = reply.headers.get("Content-Length", "")
        if length.isascii() and length.isdecimal() and int(length[:18]) != self._size - self._have:
            reply.close()
            raise self._other_size()
        for data in reply.pieces():
            if self._have + len(data) > self._size:
                reply.close()
                raise self._other_size()
            self._file.write(data)
            self._took(data)
            self._client.count(received=len(data))

    def _took(self, data: bytes) -> None:
        self._hasher.update(data)
        self._have += len(data)
        self._advance(len(data))

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate(0)
        self._advance(-self._have)
        self._hasher, self._have = hashlib.sha256(), 0

    def _other_size(self) -> VerificationFailed:
        return VerificationFailed(f"{self._what} in {self._client.reference} has another size than was said.", _HINT)
