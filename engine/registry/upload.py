"""Content on its way into a registry: in parts, each repeated or gone on with when the connection breaks."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from engine.digests import PREFIX, sha256_bytes
from engine.registry.client import Client
from engine.registry.transport import Broken, Reply

#: One part is in memory, since it may have to be sent again.
_PART = 16 << 20
#: Some registries take no smaller parts than they say; none says more than this.
_LARGEST_PART = 128 << 20
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,15})")
_OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class Content:
    """Bytes by digest, which lie somewhere and are read when their turn comes."""

    digest: str
    size: int
    open: Callable[[], BinaryIO]


#: The config of artifacts that have none (OCI image 1.1).
EMPTY = Content(sha256_bytes(b"{}"), 2, lambda: io.BytesIO(b"{}"))


class Damaged(Exception):
    """What was to be sent is gone, or not what its digest says."""

    def __init__(self, content: Content) -> None:
        super().__init__(content.digest)
        self.content = content


def upload(client: Client, content: Content, advance: Callable[[int], None]) -> None:
    """Send what the registry lacks. Damaged when the bytes are others; nothing is stored under their digest then."""
    try:
        with content.open() as file:
            _Upload(client, content, file, advance).run()
    except OSError:
        raise Damaged(content) from None


class _Upload:
    def __init__(self, client: Client, content: Content, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._client, self._content, self._file, self._advance = client, content, file, advance
        self._hasher, self._hashed = hashlib.sha256(), 0
        self._location, self._part, self._sent, self._most = "", _PART, 0, 0

    def run(self) -> None:
        patience = self._client.patience()
        while True:
            try:
                if not self._location:
                    self._begin()
                while self._content.size - self._sent > self._part:
                    self._send_part()
                    if self._sent > self._most:  # more than ever: what was sent twice is no progress
                        self._most = self._sent
                        patience.progressed()
                self._finish()
                return
            except Broken as error:
                patience.lose(error)
                if self._recover():
                    self._advance(self._content.size)
                    return

    def _begin(self) -> None:
        reply = self._client.ask("POST", "blobs/uploads/", {"Content-Length": "0"}, b"")
        if reply.status != 202:
            raise self._client.refused(reply, "take content")
        least = reply.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdecimal():
            self._part = max(_PART, min(int(least[:15]), _LARGEST_PART))
        self._proceed(reply, 0)

    def _send_part(self) -> None:
        data = self._read(self._part)
        until = self._sent + len(data)
        headers = {"Content-Type": _OCTETS, "Content-Range": f"{self._sent}-{until - 1}"}
        reply = self._client.ask("PATCH", self._location, headers, data)
        self._client.count(sent=len(data))
        if reply.status in (404, 416):  # it lost the upload, or has another part of it than we believe
            reply.close()
            raise Broken("it lost what was sent")
        if reply.status != 202:
            raise self._client.refused(reply, "take content")
        self._proceed(reply, until)

    def _finish(self) -> None:
        """Send the last part, and close the upload."""
        data = self._read(self._content.size - self._sent)
        if PREFIX + self._hasher.hexdigest() != self._content.digest or self._file.read(1):
            raise Damaged(self._content)
        joint = "&" if "?" in self._location else "?"
        headers = {"Content-Type": _OCTETS}
        if self._sent:
            headers["Content-Range"] = f"{self._sent}-{self._content.size - 1}"
        reply = self._client.ask("PUT", f"{self._location}{joint}digest={self._content.digest}", headers, data)
        self._client.count(sent=len(data))
        if reply.status in (404, 416):
            reply.close()
            raise Broken("it lost what was sent")
        if reply.status not in (201, 204):
            raise self._client.refused(reply, "take content")
        reply.body(1 << 16)
        self._advance(len(data))

    def _recover(self) -> bool:
        """Go on from what the registry has of it, anew when it does not say; whether it has all."""
        try:
            reply = self._client.ask("GET", self._location) if self._location else None
        except Broken:
            return False  # asked again after the next failure
        match = _RANGE.fullmatch(reply.headers.get("Range", "")) if reply and reply.status == 204 else None
        if reply is not None and match is not None and int(match[1]) < self._content.size:
            # Nobody sends a single byte: "0-0" is how registries say that there is nothing yet.
            self._proceed(reply, int(match[1]) + 1 if int(match[1]) else 0)
            return False
        if reply is not None:
            reply.close()
        self._advance(-self._sent)
        self._location, self._sent = "", 0
        return self._client.has_blob(self._content.digest)  # when only the answer was lost

    def _proceed(self, reply: Reply, sent: int) -> None:
        self._location = self._client.place(reply)
        reply.body(1 << 16)
        self._advance(sent - self._sent)
        self._sent = sent

    def _read(self, size: int) -> bytes:
        """The next bytes, hashed once however often they are sent."""
        self._file.seek(self._sent)
        data = self._file.read(min(size, self._content.size - self._sent))
        if len(data) != min(size, self._content.size - self._sent):
            raise Damaged(self._content)
        self._hasher.update(data[max(self._hashed - self._sent, 0) :])
        self._hashed = max(self._hashed, self._sent + len(data))
        return data
