"""An authority, and what both sides of mutual TLS need of it, in the files that Docker calls so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def mutual_tls(folder: Path, address: str) -> None:
    """Make ca.pem, cert.pem and key.pem of a client there, and server.pem and server.key for ``address``."""
    folder.mkdir(exist_ok=True)
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
    now = datetime.now(UTC)

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> bytes:
        builder = (
            x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def private(key: ec.EllipticCurvePrivateKey) -> bytes:
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return key.private_bytes(serialization.Encoding.PEM, form, plain)

    (folder / "ca.pem").write_bytes(certificate(issuer, authority))
    for names, usage, place in (
        ((folder / "cert.pem", folder / "key.pem"), ExtendedKeyUsageOID.CLIENT_AUTH, None),
        ((folder / "server.pem", folder / "server.key"), ExtendedKeyUsageOID.SERVER_AUTH, ip_address(address)),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([usage])]
        if place is not None:
            extensions.append(x509.SubjectAlternativeName([x509.IPAddress(place)]))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0].stem)])
        names[0].write_bytes(certificate(subject, key, *extensions))
        names[1].touch(mode=0o600)
        names[1].write_bytes(private(key))
