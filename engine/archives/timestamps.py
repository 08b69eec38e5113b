"""A time stamp of somebody else's over the tag manifest (RFC 3161), asked for over HTTP."""

from __future__ import annotations

from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from engine.errors import BadInput, EnvironmentFailed

_MAX_BYTES = 64 << 10
_PATIENCE = 60.0
_GRANTED = (0, 1)  # granted, and granted with changes (RFC 3161, 2.4.2)


def check_url(url: str) -> None:
    """BadInput unless a request can be sent there."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"'{url[:200]}' is not the address of a time stamping authority.", "Give an http or https URL.")


def stamp(data: bytes, url: str) -> bytes:
    """The authority's whole response over ``data``. EnvironmentFailed when it gives none, or one over other bytes.

    Whether its certificate is to be trusted is for whoever verifies; what is checked is that it answers what was asked.
    """
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

    check_url(url)
    asked = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True)
    request = asked.cert_request(cert_request=True).build()
    headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
    hint = "Try again, give another --tsa, or leave it out: the archive is as whole without."
    try:
        with urlopen(Request(url, request.as_bytes(), headers), timeout=_PATIENCE) as answer:  # noqa: S310 (checked)
            response: bytes = answer.read(_MAX_BYTES + 1)
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", "") or error
        raise EnvironmentFailed(f"The time stamping authority does not answer: {reason}.", hint) from None
    try:
        decoded = decode_timestamp_response(response)
        if len(response) > _MAX_BYTES or decoded.status not in _GRANTED:
            raise ValueError(f"it refused, with status {decoded.status}")
        told = decoded.tst_info
        if told.message_imprint.message != request.message_imprint.message or told.nonce != request.nonce:
            raise ValueError("it is over something else")
    except ValueError as error:
        raise EnvironmentFailed(f"The time stamp cannot be used: {error}.", hint) from None
    return response
