"""Hash-locked requirements files (pip's format, as pip-tools and uv write it): read, bounded, and written again.

Reading keeps names, versions, markers, hashes and who asked for what. Index settings and comments are
dropped: they are where other tools leave addresses, paths and credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.digests import PREFIX
from engine.errors import EnvironmentFailed
from engine.software import Base, Distribution, Lock

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MAX_BYTES = 8 << 20
MAX_ENTRIES = 5_000
#: What stands in "# via" for the user's own requirements.
REQUIRED = "(required)"

_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"--hash[=\s]\s*(\w+):([0-9a-fA-F]+)(?=\s|$)")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VIA = re.compile(r"\s+#(?: via |   )(.*)")
_HEADER = re.compile(r"#\s*(requirements|python|platform|as of):\s*(\S+)\s*")
#: Options that say where files come from or of which kind; the host's settings say that here.
_SETTINGS = re.compile(
    r"(-i|-f|--index-url|--pypi-url|--extra-index-url|--find-links|--no-index|--trusted-host|"
    r"--only-binary|--no-binary|--prefer-binary|--require-hashes|--pre|--use-feature)(?=[=\s]|$)"
)
_HINT = "Write it again with `nbseal lock`, or with pip-compile --generate-hashes or uv export."


@dataclass(frozen=True)
class Entry:
    """One pinned line of a lock: normalised name, version, sha256 digests, and what requires it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    via: tuple[str, ...] = ()

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def distribution(self) -> Distribution:
        return Distribution(self.name, self.version, self.hashes)


@dataclass(frozen=True)
class Header:
    """What a lock of ours says of itself; every field is empty in a lock from elsewhere."""

    requirements: str = ""
    python: str = ""
    platform: str = ""
    as_of: str = ""


def platform_of(base: Base) -> str:
    """The platform tag (PEP 600) that a lock for ``base`` is resolved for."""
    return f"manylinux_{base.glibc.replace('.', '_')}_x86_64"


def marker_environment(base: Base) -> dict[str, str]:
    """The values of environment markers (PEP 508) inside ``base``; nothing of the host is in them."""
    return {
        "implementation_name": "cpython",
        "implementation_version": base.python,
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": base.python,
        "python_version": minor(base.python),
        "sys_platform": "linux",
        "extra": "",
    }


def minor(python: str) -> str:
    """``3.11`` of ``3.11.2``."""
    return ".".join(python.split(".")[:2])


def parse_lock(text: str, environment: Mapping[str, str], *, hashed: bool = True) -> tuple[Entry, ...]:
    """The entries of ``text`` whose markers hold in ``environment``, sorted by name.

    ``hashed`` demands a sha256 for each. Raises EnvironmentFailed, naming the line, for what is not an
    exact pin, for paths, addresses and nested files, and for two versions of one distribution.
    """
    if len(text) > MAX_BYTES:
        raise EnvironmentFailed(f"The lock is larger than {MAX_BYTES >> 20} MiB.", _HINT)
    entries: dict[str, Entry] = {}
    for number, line, via in _logical_lines(text):
        if _SETTINGS.match(line):
            continue
        entry = _entry(line, number, via, environment, hashed=hashed)
        if entry is None:
            continue
        known = entries.get(entry.name)
        if known is not None and known.version != entry.version:
            raise _bad(number, f"pins {entry.name} to {entry.version}, and another line to {known.version}")
        if known is not None:
            entry = Entry(entry.name, entry.version, _merged(known.hashes, entry.hashes), _merged(known.via, entry.via))
        entries[entry.name] = entry
        if len(entries) > MAX_ENTRIES:
            raise EnvironmentFailed(f"The lock has more than {MAX_ENTRIES} distributions.", _HINT)
    return tuple(entries[name] for name in sorted(entries))


def parse_header(text: str) -> Header:
    """The header of a lock of ours; empty fields for any other text."""
    found: dict[str, str] = {}
    for line in text[:4096].splitlines():
        if line and not line.startswith("#"):
            break
        match = _HEADER.fullmatch(line)
        if match:
            found.setdefault(match[1].replace(" ", "_"), match[2])
    return Header(**found)


def render_entries(entries: Iterable[Entry]) -> str:
    """pip-tools' format: a pin a paragraph, one hash a line, then what it is there for."""
    lines = []
    for entry in entries:
        lines.append(" \\\n".join([entry.pin, *(f"    --hash={digest}" for digest in entry.hashes)]))
        if len(entry.via) == 1:
            lines.append(f"    # via {entry.via[0]}")
        elif entry.via:
            lines.append("\n".join(["    # via", *(f"    #   {name}" for name in entry.via)]))
    return "\n".join(lines) + "\n"


def make_lock(entries: tuple[Entry, ...], requirements: str, base: Base, as_of: str = "") -> Lock:
    """The lock of ``entries``; ``as_of`` is kept in its text, where a reader of the file looks for it."""
    text = (f"# as of: {as_of}\n" if as_of else "") + render_entries(entries)
    distributions = tuple(entry.distribution for entry in entries)
    return Lock(text, requirements, base.python, platform_of(base), distributions)


def render_lock(lock: Lock) -> str:
    """The file ``STEM.requirements.lock``: a header that tells whether it is still fresh, then the pins."""
    return (
        "# Locked by nbseal: every distribution with its sha256.\n"
        "# Renew it with `nbseal lock --upgrade`; any change to the requirements makes it stale.\n"
        f"# requirements: {lock.requirements}\n"
        f"# python: {lock.python}\n"
        f"# platform: {lock.platform}\n"
        f"{lock.text}"
    )


def _logical_lines(text: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line number, joined line without comments, names in the "# via" comments behind it)."""
    pending: tuple[int, str] | None = None
    via: list[str] = []
    joined, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        if raw.lstrip().startswith("#"):
            via += _via(raw)
            continue
        part = _COMMENT.sub("", raw).strip()
        start = start or number
        if part.endswith("\\"):
            joined += part[:-1] + " "
            continue
        joined, line, number, start = "", (joined + part).strip(), start, 0
        if line:
            if pending:
                yield (*pending, tuple(via))
            pending, via = (number, line), []
    if joined.strip():
        if pending:
            yield (*pending, tuple(via))
        pending, via = (start, joined.strip()), []
    if pending:
        yield (*pending, tuple(via))


def _via(comment: str) -> list[str]:
    match = _VIA.fullmatch(comment)
    text = match[1].strip() if match else ""
    if text.startswith("-r ") or text == REQUIRED:
        return [REQUIRED]
    return [text] if _NAME.fullmatch(text) else []


def _entry(
    line: str, number: int, via: tuple[str, ...], environment: Mapping[str, str], *, hashed: bool
) -> Entry | None:
    from packaging.utils import canonicalize_name

    if line.startswith("-"):
        raise _bad(number, f"has the option {line.split()[0][:40]}, which a lock cannot have")
    requirement = _requirement(_HASH.sub("", line).strip(), number)
    if requirement.url:
        raise _bad(number, f"takes {requirement.name} from an address instead of an index")
    if requirement.marker and not requirement.marker.evaluate(dict(environment)):
        return None
    pins = list(requirement.specifier)
    if len(pins) != 1 or pins[0].operator not in ("==", "===") or not _is_version(pins[0].version):
        raise _bad(number, f"does not pin {requirement.name} to one version")
    hashes = {f"{PREFIX}{value.lower()}" for kind, value in _HASH.findall(line) if _is_sha256(kind, value)}
    if hashed and not hashes:
        raise _bad(number, f"has no sha256 for {requirement.name}")
    return Entry(canonicalize_name(requirement.name), pins[0].version, tuple(sorted(hashes)), tuple(sorted(set(via))))


def _requirement(text: str, number: int) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement:
        raise _bad(number, f"is not a pinned requirement: {text[:60]!r}") from None


def _is_sha256(kind: str, value: str) -> bool:
    return kind.lower() == "sha256" and len(value) == 64


def _is_version(text: str) -> bool:
    """Whether ``text`` is one version (PEP 440), as "1.0" and not "1.*"."""
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*first, *second}))


def _bad(number: int, what: str) -> EnvironmentFailed:
    return EnvironmentFailed(f"Line {number} of the lock {what}.", _HINT)
