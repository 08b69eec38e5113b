"""Whom to believe that it is the registry: the system's authorities, and docker's own folder for that registry."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from engine.errors import EnvironmentFailed

#: Of the daemon; one that runs without root has its own below the user's configuration.
_SYSTEM = Path("/etc/docker/certs.d")


def trust(registry: str, *, present: bool) -> ssl.SSLContext:
    """Verifying, always. ``*.crt`` in docker's folders are authorities; ``*.cert`` with ``*.key`` say who we are.

    The latter only where ``present``: whoever a registry sends us on to need not know.
    """
    context = ssl.create_default_context()  # heeds SSL_CERT_FILE and SSL_CERT_DIR
    for file in _files(registry):
        try:
            if file.suffix == ".crt":
                context.load_verify_locations(file)
            elif file.suffix == ".cert" and present:
                context.load_cert_chain(file, file.with_suffix(".key"), password=_no_passphrase)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise EnvironmentFailed(
                f"{file} cannot be used: {error.strerror if isinstance(error, OSError) else error}.",
                "A .crt holds a certificate in PEM, and a .cert stands beside its .key.",
            ) from None
    return context


def _files(registry: str) -> Iterator[Path]:
    own = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "docker/certs.d"
    for folder in (_SYSTEM / registry, own / registry):
        try:
            yield from sorted(folder.iterdir())
        except OSError:
            continue


def _no_passphrase() -> str:
    raise ValueError("its key has a passphrase, which docker would not ask for either")
