"""A time stamping authority in memory, so that a test of time stamps starts no process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def der(tag: int, *parts: bytes) -> bytes:
    """One item of DER around these."""
    body = b"".join(parts)
    digits = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1, "big")
    size = digits if len(body) < 128 else bytes([0x80 | len(digits)]) + digits
    return bytes([tag]) + size + body


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    body = bytes([40 * first + second])
    for part in rest:
        groups = [part & 0x7F]
        while part := part >> 7:
            groups.insert(0, 0x80 | part & 0x7F)
        body += bytes(groups)
    return der(0x06, body)


SHA256 = der(0x30, oid("2.16.840.1.101.3.4.2.1"), der(0x05))
TST = oid("1.2.840.113549.1.9.16.1.4")


@dataclass(frozen=True)
class Authority:
    """A root, an authority under it, and the authority's key."""

    root: x509.Certificate
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @staticmethod
    def make(name: str = "TSA", purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING,
             when: datetime | None = None) -> Authority:  # fmt: skip
        now = when or datetime.now(UTC)
        above, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

        def certificate(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
            title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
            issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"root of {name}")])
            builder = x509.CertificateBuilder().subject_name(title).issuer_name(issuer).public_key(public)
            builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=2))
            return builder.not_valid_after(now + timedelta(days=2))

        root = certificate(f"root of {name}", above.public_key())
        root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        own = certificate(name, key.public_key())
        own = own.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        return Authority(root.sign(above, hashes.SHA256()), own.sign(above, hashes.SHA256()), key)

    def stamp(self, data: bytes, time: datetime, accuracy: bytes = b"", fraction: str = "") -> bytes:
        """The response over ``data``, granted at ``time``; ``accuracy`` and the ``fraction`` are put in as given."""
        imprint = der(0x30, SHA256, der(0x04, hashlib.sha256(data).digest()))
        moment = der(0x18, f"{time:%Y%m%d%H%M%S}{fraction}Z".encode())
        info = der(0x30, der(0x02, b"\1"), oid("1.2.3.4.1"), imprint, der(0x02, b"\5"), moment, accuracy)
        encoded = self.certificate.public_bytes(Encoding.DER)
        meant = der(0x30, der(0x30, der(0x30, der(0x04, hashlib.sha256(encoded).digest()))))
        attributes = b"".join(sorted((
            der(0x30, oid("1.2.840.113549.1.9.3"), der(0x31, TST)),
            der(0x30, oid("1.2.840.113549.1.9.4"), der(0x31, der(0x04, hashlib.sha256(info).digest()))),
            der(0x30, oid("1.2.840.113549.1.9.16.2.47"), der(0x31, meant)),
        )))  # fmt: skip
        signature = self.key.sign(der(0x31, attributes), ec.ECDSA(hashes.SHA256()))
        number = self.certificate.serial_number
        serial = der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
        signer = der(
            0x30, der(0x02, b"\1"), der(0x30, self.certificate.issuer.public_bytes(), serial), SHA256,
            der(0xA0, attributes), der(0x30, oid("1.2.840.10045.4.3.2")), der(0x04, signature),
        )  # fmt: skip
        content = der(0x30, TST, der(0xA0, der(0x04, info)))
        signed = der(0x30, der(0x02, b"\3"), der(0x31, SHA256), content, der(0xA0, encoded), der(0x31, signer))
        token = der(0x30, oid("1.2.840.113549.1.7.2"), der(0xA0, signed))
        return der(0x30, der(0x30, der(0x02, b"\0")), token)
