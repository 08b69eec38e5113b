"""Time stamping authorities whose word counts: one certificate a name, their own or the root above it, as PEM."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BadInput
from engine.files import read_regular, write_atomic
from engine.settings import Home
from engine.signing.keys import check_name, folder

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_MAX_BYTES = 64 << 10
_ENDING = ".pem"
#: How a file that is one begins.
BEGIN = b"-----BEGIN CERTIFICATE-----"


def trust_authority(home: Home, name: str, pem: bytes) -> Certificate:
    """Let the time stamps under a certificate count, in place of the one that had this name."""
    from cryptography.hazmat.primitives.serialization import Encoding

    check_name(name)
    certificate = _read(pem)
    _folder(home).mkdir(parents=True, exist_ok=True)
    write_atomic(_folder(home) / f"{name}{_ENDING}", certificate.public_bytes(Encoding.PEM))
    return certificate


def authorities(home: Home) -> tuple[dict[str, Certificate], tuple[str, ...]]:
    """The certificates by name, and which files are none."""
    found: dict[str, Certificate] = {}
    problems = []
    try:
        names = sorted(name for name in os.listdir(_folder(home)) if name.endswith(_ENDING))  # noqa: PTH208
    except OSError:
        return {}, ()
    for name in names:
        if name.startswith("."):  # of a write that was broken off
            continue
        try:
            found[name.removesuffix(_ENDING)] = _read(read_regular(_folder(home) / name, _MAX_BYTES))
        except (OSError, BadInput) as error:
            problems.append(f"{name} counts for nobody: {getattr(error, 'strerror', None) or error}")
    return found, tuple(problems)


def _read(pem: bytes) -> Certificate:
    from cryptography import x509

    try:
        (certificate,) = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        reason = "it holds several" if "unpack" in str(error) else "it is none"
        raise BadInput(
            f"This is not one certificate in PEM: {reason}.", "Give one, the authority's or its root's."
        ) from None
    return certificate


def _folder(home: Home) -> Path:
    return folder(home) / "authorities"
