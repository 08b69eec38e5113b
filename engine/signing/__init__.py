"""Signatures: the key of a home, detached signatures of OpenSSH, signed notes of C2SP, and whose count."""

from engine.signing import note, sshsig
from engine.signing.authorities import BEGIN as CERTIFICATE
from engine.signing.authorities import authorities, trust_authority
from engine.signing.keys import (
    Ask,
    CannotSign,
    SigningKey,
    adopt,
    allowed_signers,
    default_name,
    make,
    sign,
    signing_key,
    trust,
    trusted,
    unlock,
)
from engine.signing.signers import UNKNOWN_KEY, Moment, Signer, judge
from engine.signing.wire import PublicKey, from_line

__all__ = [
    "CERTIFICATE",
    "UNKNOWN_KEY",
    "Ask",
    "CannotSign",
    "Moment",
    "PublicKey",
    "Signer",
    "SigningKey",
    "adopt",
    "allowed_signers",
    "authorities",
    "default_name",
    "from_line",
    "judge",
    "make",
    "note",
    "sign",
    "signing_key",
    "sshsig",
    "trust",
    "trust_authority",
    "trusted",
    "unlock",
]
