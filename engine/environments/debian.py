"""Debian packages by pin: the list that nbseal ships, what apt would choose today, and the files themselves.

A pin list is JSON: ``wanted`` (package name to the reason why it is in the base) and ``packages``, the
closed set that is installed, as DebianPackage fields. ``filename`` is the path below the archive, so
that any mirror serves it. Formats: Debian Policy 5 (control files), "DebianRepository/Format" in the
Debian wiki.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from engine.digests import PREFIX, bare, sha256_bytes
from engine.errors import BadInput, EnvironmentFailed
from engine.files import write_atomic
from engine.model import Json
from engine.progress import Progress
from engine.settings import Home
from engine.software import DebianPackage

if TYPE_CHECKING:
    import requests

SUITE = "bookworm"
ARCHITECTURE = "amd64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Connections to a mirror, each kept open: opening one for every package took a hundred times as long.
CONNECTIONS = 4
#: How often an address is tried again when its connection breaks.
RETRIES = 3
#: Seconds without a byte before a mirror counts as gone.
PATIENCE = 60
MAX_PACKAGES = 2_000
MAX_PACKAGE_BYTES = 512 << 20

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"[A-Za-z0-9.+:~-]+")
_POOL = re.compile(r"pool/(?:[A-Za-z0-9][A-Za-z0-9+._~-]*/)+[A-Za-z0-9][A-Za-z0-9+._~%-]*\.deb")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_INSTALL = re.compile(r"^Inst (\S+) (?:\[[^]]*\] )?\((\S+) ", re.MULTILINE)


@dataclass(frozen=True)
class Pins:
    """The packages of a base: which we want, and everything that is installed for their sake, by name."""

    wanted: Mapping[str, str]
    packages: tuple[DebianPackage, ...]

    def to_json(self) -> Json:
        return {
            "suite": SUITE,
            "wanted": dict(self.wanted),
            "packages": [asdict(package) for package in self.packages],
        }


@dataclass(frozen=True)
class Mirrors:
    """Where the two archives are; neither ends in a slash."""

    main: str = "http://deb.debian.org/debian"
    security: str = "http://deb.debian.org/debian-security"

    def address(self, package: DebianPackage) -> str:
        """Security updates have a pool of their own, told by its first folder."""
        archive = self.security if package.filename.startswith("pool/updates/") else self.main
        return f"{archive}/{quote(package.filename)}"


def read_pins(data: bytes) -> Pins:
    """Parse a pin list. Raises BadInput for anything that is none: it may come from somebody else's file."""
    try:
        document = json.loads(data)
        if document["suite"] != SUITE:
            raise ValueError(f"it is for {str(document['suite'])[:40]!r}, not {SUITE}")
        wanted = {str(name): str(reason) for name, reason in document["wanted"].items()}
        packages = tuple(read_package(item) for item in document["packages"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"The list of Debian packages cannot be read: {error}.") from None
    names = [package.name for package in packages]
    if not names or len(names) > MAX_PACKAGES or names != sorted(set(names)):
        raise BadInput("The list of Debian packages is empty, too long, or not sorted by name.")
    return Pins(wanted, packages)


def read_package(item: Any) -> DebianPackage:
    """One entry of a pin list; ValueError or KeyError when a field is not of its form."""
    package = DebianPackage(**{field.name: item[field.name] for field in fields(DebianPackage)})
    texts = {
        "name": _NAME,
        "version": _VERSION,
        "architecture": re.compile("amd64|all"),
        "filename": _POOL,
        "sha256": _SHA256,
    }
    for name, form in texts.items():
        value = getattr(package, name)
        if not isinstance(value, str) or len(value) > 300 or not form.fullmatch(value):
            raise ValueError(f"{name} is {str(value)[:60]!r}")
    if type(package.size) is not int or not 0 < package.size <= MAX_PACKAGE_BYTES:
        raise ValueError(f"the size of {package.name} is {str(package.size)[:60]}")
    return package


def read_stanzas(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a control file; a field's further lines stay as they are."""
    for paragraph in re.split(r"\n[ \t]*\n", text.strip("\n")):
        stanza: dict[str, str] = {}
        name = ""
        for line in paragraph.split("\n"):
            if line[:1] in (" ", "\t") and name:
                stanza[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                stanza[name] = value.strip()
        if stanza:
            yield stanza


# --- what apt would choose today --------------------------------------------------------------


def resolve_pins(wanted: Mapping[str, str], mirrors: Mirrors) -> Pins:
    """Today's versions of the essential packages, of ``wanted`` and of what they need, from the signed archive.

    apt works in a folder of its own with no package installed and none of this machine's settings. Its own
    package is left out: nothing is installed in an image that is finished. Raises EnvironmentFailed.
    """
    if not KEYRING.is_file():
        raise EnvironmentFailed(
            "The keys of Debian's archive are not on this machine, so its packages cannot be verified.",
            "Install them: apt-get install debian-archive-keyring.",
        )
    with tempfile.TemporaryDirectory(prefix="nbseal-apt-") as name:
        root = Path(name)
        environment = {**os.environ, "APT_CONFIG": str(_private_apt(root, mirrors)), "LC_ALL": "C.UTF-8"}
        _apt(["apt-get", "update", "-qq", "--error-on=any"], environment)
        essential = "?and(?essential,?not(?exact-name(apt)))"
        plan = _apt(["apt-get", "install", "-qq", "--simulate", essential, *wanted], environment)
        chosen = dict(_INSTALL.findall(plan))
        shown = _apt(["apt-cache", "show", *(f"{name}={version}" for name, version in chosen.items())], environment)
    packages: dict[str, DebianPackage] = {}
    for stanza in read_stanzas(shown):
        if chosen.get(stanza["Package"]) == stanza["Version"]:
            packages[stanza["Package"]] = _package(stanza)
    missing = chosen.keys() - packages.keys()
    if missing or not packages:
        raise EnvironmentFailed(f"apt says nothing about {', '.join(sorted(missing)) or 'any package'}.")
    return Pins(dict(wanted), tuple(packages[name] for name in sorted(packages)))


def _package(stanza: Mapping[str, str]) -> DebianPackage:
    return read_package(
        {
            "name": stanza["Package"],
            "version": stanza["Version"],
            "architecture": stanza["Architecture"],
            "filename": stanza["Filename"],
            "sha256": PREFIX + stanza["SHA256"],
            "size": int(stanza["Size"]),
        }
    )


def _private_apt(root: Path, mirrors: Mirrors) -> Path:
    """An apt configuration that knows ``root`` and Debian's archive only (apt.conf(5), sources.list(5))."""
    for folder in ("lists/partial", "cache/archives/partial", "etc"):
        (root / folder).mkdir(parents=True)
    (root / "status").touch()
    sources = [(mirrors.main, SUITE), (mirrors.main, f"{SUITE}-updates"), (mirrors.security, f"{SUITE}-security")]
    (root / "sources.list").write_text(
        "".join(f"deb [signed-by={KEYRING}] {address} {suite} main\n" for address, suite in sources)
    )
    settings = {
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # its own user could not enter a folder of ours
        "Acquire::Languages": "none",
        "Dir::State": str(root),
        "Dir::State::lists": str(root / "lists"),
        "Dir::State::status": str(root / "status"),
        "Dir::Cache": str(root / "cache"),
        "Dir::Etc::sourcelist": str(root / "sources.list"),
        **{f"Dir::Etc::{name}": str(root / "etc") for name in ("sourceparts", "parts", "preferencesparts")},
        **{f"Dir::Etc::{name}": "/dev/null" for name in ("main", "preferences", "trusted")},
        "Dir::Etc::trustedparts": str(root / "etc"),
    }
    path = root / "apt.conf"
    path.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    return path


def _apt(command: Sequence[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        raise EnvironmentFailed(
            f"{command[0]} is not on this machine, so Debian's packages cannot be pinned anew.",
            "Do it on Debian or Ubuntu and carry the base over: `nbseal base export`, `nbseal base import`.",
        ) from None
    if done.returncode:
        reasons = [line[3:].strip() for line in done.stderr.splitlines() if line.startswith("E: ")]
        raise EnvironmentFailed(
            f"Debian's packages cannot be pinned anew: {' '.join(reasons)[:600] or done.stderr.strip()[-600:]}",
            "Check that this machine reaches a Debian mirror: apt-get update.",
        )
    return done.stdout


def find_mirrors() -> Mirrors:
    """The mirrors that this machine's own apt uses for this Debian release, else deb.debian.org."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    try:
        text = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True).stdout
    except FileNotFoundError:
        return Mirrors()
    found = {}
    for line in text.splitlines():
        parts = line.split(" ")
        if len(parts) == 3 and parts[0] == "Debian" and re.match(r"https?://[^@]+$", parts[2]):
            found[parts[1]] = parts[2].rstrip("/")
    default = Mirrors()
    return Mirrors(found.get(SUITE, default.main), found.get(f"{SUITE}-security", default.security))


# --- the files --------------------------------------------------------------------------------


def kept_path(package: DebianPackage, home: Home) -> Path:
    """Where the home keeps a package's file."""
    return home.packages / bare(package.sha256) / package.filename.rpartition("/")[2]


def fetch_packages(packages: Sequence[DebianPackage], home: Home, progress: Progress) -> tuple[Path, ...]:
    """The file of each package, in the home; what is not there is fetched from a mirror and checked.

    Proxies and certificates are those of the environment (``http_proxy``, ``REQUESTS_CA_BUNDLE``, ...).
    Raises EnvironmentFailed when one cannot be had or is not what its pin says.
    """
    missing = [package for package in packages if not kept_path(package, home).is_file()]
    if missing:
        import requests

        mirrors = find_mirrors()
        own = threading.local()
        total = sum(package.size for package in missing)
        with progress.task(f"Fetching {len(missing)} Debian packages", total) as advance:

            def fetch(package: DebianPackage) -> None:
                if not hasattr(own, "session"):
                    own.session = requests.Session()
                    for scheme in ("http://", "https://"):
                        own.session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=RETRIES))
                data = _download(package, mirrors, own.session)
                write_atomic(kept_path(package, home), data, 0o444)
                advance(package.size)

            with ThreadPoolExecutor(CONNECTIONS) as pool:
                try:
                    for done in [pool.submit(fetch, package) for package in missing]:
                        done.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    return tuple(kept_path(package, home) for package in packages)


def _download(package: DebianPackage, mirrors: Mirrors, session: requests.Session) -> bytes:
    from requests.exceptions import RequestException

    named = f"{package.name} {package.version}"
    address = mirrors.address(package)
    archive = address.partition("/pool/")[0]
    data = bytearray()
    try:
        with session.get(address, timeout=PATIENCE, stream=True) as answer:
            if answer.status_code in (404, 410):
                raise EnvironmentFailed(
                    f"{named} has left the mirror {archive}, which keeps only the newest packages.",
                    "Pin today's versions with `nbseal base build --repin` (another base, so other image ids), "
                    "or take a base that somebody kept: `nbseal base import FILE`.",
                )
            answer.raise_for_status()
            for chunk in answer.iter_content(1 << 20):
                data += chunk
                if len(data) > package.size:
                    break
    except RequestException as error:
        raise EnvironmentFailed(
            f"{named} cannot be fetched: {error}.",
            "Check the network and http_proxy, or take a base from elsewhere: `nbseal base import FILE`.",
        ) from None
    received = bytes(data)
    if sha256_bytes(received) != package.sha256:
        raise EnvironmentFailed(
            f"What {archive} sent as {named} is not what its pin says.",
            f"Something may have answered in its place: look at {address}.",
        )
    return received
