"""What the tests of registries share: docker's settings in a folder of their own, and no waiting."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engine.files import remove_tree
from engine.model import Record
from engine.settings import Home
from tests.unit.archives import small_archives
from tests.unit.registry.memory_registry import MemoryRegistry, serving

#: Where Docker Hub answers.
HUB = "registry-1.docker.io"


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's own is read; the folder stands for their home."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder / ".docker"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / ".config"))
    monkeypatch.setattr("engine.registry.client._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("os.sync", lambda: None)
    return folder


@pytest.fixture
def login(settings: Path) -> Callable[[str, str, str], None]:
    """As ``docker login`` without a helper."""

    def call(registry: str, name: str, password: str) -> None:
        (settings / ".docker").mkdir(exist_ok=True)
        auth = base64.b64encode(f"{name}:{password}".encode()).decode()
        (settings / ".docker/config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))

    return call


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    with serving(MemoryRegistry()) as running:
        yield running


class Sample:
    """A home with two runs of one project that hold a large output, a large source, and two equal outputs."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "source")
        project = folder / "project"
        big = "line\n" * 40_000

        def work(content: str) -> Callable[[Path], None]:
            def write(place: Path) -> None:
                small_archives.ordinary(place)
                (place / "one.bin").write_text(content * 30_000)
                (place / "two.bin").write_text(content * 30_000)

            return write

        self.one: Record = small_archives.run(self.home, project, work("one"), big__txt=big)
        self.other: Record = small_archives.run(self.home, project, work("other"), big__txt=big)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    folder = tmp_path_factory.mktemp("registry")
    yield Sample(folder)
    remove_tree(folder / "source")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "target")
    yield home
    remove_tree(home.root)


class Authority:
    """A certificate authority, and servers' certificates of it for an address, and for Docker Hub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.certificate = self._signed(self._name, self._key.public_key(), authority=True)

    def server(self, address: str = "127.0.0.1") -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(x509.Name([]), key.public_key(), authority=False, address=address)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "server.pem").write_bytes(certificate + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem")
        return context

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool, address: str = "127.0.0.1"
    ) -> bytes:
        names = x509.SubjectAlternativeName(
            [*map(x509.DNSName, ("localhost", HUB)), x509.IPAddress(ip_address(address))]
        )
        made = (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        made = made if authority else made.add_extension(names, critical=True)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(settings: Path, authority: Authority) -> Callable[[str], None]:
    """Put the authority where docker has it for a registry."""

    def call(registry: str) -> None:
        folder = settings / ".config/docker/certs.d" / registry
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.certificate)

    return call
