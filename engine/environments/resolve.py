"""Requirements become a lock: the user's own, the one beside the notebook, the home's last, or a new one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.digests import bare, digest_of
from engine.environments.lockfile import (
    MAX_BYTES,
    Entry,
    Header,
    make_lock,
    marker_environment,
    minor,
    parse_header,
    parse_lock,
    platform_of,
    render_lock,
)
from engine.environments.question import Question
from engine.errors import BadInput, EnvironmentFailed
from engine.files import read_regular, write_atomic
from engine.progress import Progress
from engine.settings import Home, resources
from engine.software import Base, Lock, Requirements

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from engine.daemon import Engine

KERNEL = "ipykernel"
Resolver = Literal["uv", "pip-tools"]


@dataclass(frozen=True)
class _Beside:
    """The lock file beside the notebook: what it says of itself, its entries, why it is stale ("" when fresh)."""

    name: str
    header: Header
    entries: tuple[Entry, ...]
    stale: str


def resolve(
    requirements: Requirements,
    base: Base,
    home: Home,
    engine: Engine,
    progress: Progress,
    *,
    resolver: Resolver = "uv",
    upgrade: bool = False,
    locked: bool = False,
    as_of: str | None = None,
    lock_file: Path | None = None,
) -> Lock:
    """The lock for ``requirements`` and ipykernel on ``base``; the first of these that serves:

    - the user's hash-locked file, completed with what it lacks (ipykernel, other requirements);
    - ``lock_file``, while its header fits requirements, Python and platform (and ``as_of``, if one is asked for);
    - the home's last resolution of the same question;
    - ``resolver``, preferring the pins of a stale ``lock_file``, then ours for ipykernel and its closure.

    ``upgrade`` goes straight to the resolver and prefers only our own pins. ``locked`` takes nothing but the first
    two. ``as_of`` is a date (that whole day in UTC counts) or an instant with its zone.
    Raises EnvironmentFailed with the resolver's reason, BadInput for a date or requirement that is none.
    """
    _check_python(requirements.requires_python, base)
    before, dated = _instant(as_of)
    given = parse_lock(requirements.lock_text, marker_environment(base)) if requirements.lock_text else ()
    asked = _unlocked(requirements.lines, given, base)
    wanted = _digest(requirements, given)
    if given and not asked and any(entry.name == KERNEL for entry in given):
        return make_lock(given, wanted, base)
    beside = _read_beside(lock_file, wanted, dated, base) if lock_file is not None else None
    if beside is not None and not beside.stale and not upgrade:
        return make_lock(beside.entries, wanted, base, beside.header.as_of)
    if locked:
        raise _not_locked(beside, lock_file, given)
    if beside is not None and not upgrade:
        progress.say(f"{beside.name} is stale ({beside.stale}): resolving again, preferring its pins.")

    ours, theirs = _kernel_pins(base), beside.entries if beside is not None else ()
    preferred = {entry.name: entry for entry in (*ours, *theirs)}
    key = digest_of(
        {
            "requirements": wanted,
            "resolver": resolver,
            "before": before,
            "base": [base.python, base.glibc, base.platform],
            "preferences": sorted(entry.pin for entry in preferred.values()),
        }
    )
    kept = home.resolutions / f"{bare(key)}.lock"
    remembered = None if upgrade else _remembered(kept, wanted, dated, base)
    if remembered is not None:
        return remembered
    question = Question(
        requirements=(*asked, KERNEL),
        constraints=tuple(entry.pin for entry in given),
        preferences=tuple(sorted(entry.pin for entry in (ours if upgrade else preferred.values()))),
        before=before,
    )
    entries = _answer(question, resolver, base, home, engine, progress)
    held = {entry.name for entry in given}
    entries = (*given, *(entry for entry in entries if entry.name not in held))
    lock = make_lock(tuple(sorted(entries, key=lambda entry: entry.name)), wanted, base, dated)
    write_atomic(kept, render_lock(lock).encode())
    return lock


def _answer(
    question: Question, resolver: Resolver, base: Base, home: Home, engine: Engine, progress: Progress
) -> tuple[Entry, ...]:
    with progress.task(f"resolving the requirements with {resolver}"):
        if resolver == "pip-tools":
            from engine.environments.piptools import solve_with_pip_tools

            return solve_with_pip_tools(question, base, home, engine, progress)
        from engine.environments.uvtool import solve_with_uv

        return solve_with_uv(question, base, home, progress)


def _check_python(requires_python: str, base: Base) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = SpecifierSet(requires_python).contains(base.python, prereleases=True)
    except InvalidSpecifier:
        raise BadInput(f"requires-python is not a version specifier: {requires_python[:60]!r}.") from None
    if not fits:
        raise EnvironmentFailed(
            f"The notebook requires Python {requires_python}, and the base image has {base.python}.",
            "Relax requires-python, or use a base with another Python.",
        )


def _unlocked(lines: tuple[str, ...], given: tuple[Entry, ...], base: Base) -> tuple[str, ...]:
    """The requirements that ``given`` does not already hold. Raises when it holds another version."""
    pins = {entry.name: entry for entry in given}
    asked: list[str] = []
    for line in lines:
        requirement = _requirement(line)
        name = _name(requirement)
        if requirement.marker and not requirement.marker.evaluate(dict(marker_environment(base))):
            continue
        if name not in pins:
            asked.append(str(requirement))
        elif not requirement.specifier.contains(pins[name].version, prereleases=True):
            raise EnvironmentFailed(
                f"The hash-locked requirements pin {name} to {pins[name].version}, and {line} is required as well.",
                "Leave one of the two out, or lock them together.",
            )
    return tuple(asked)


def _requirement(line: str) -> Requirement:
    """A requirement by name. An address or a path would have the resolver run code on the host: refused."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        raise BadInput(f"This is not a requirement: {line[:80]!r}.", "Write it as 'numpy>=2'.") from None
    if requirement.url:
        raise EnvironmentFailed(
            f"{requirement.name} is required from an address; this version of nbseal installs from indexes only.",
            f"Require {requirement.name} by name and version.",
        )
    return requirement


def _name(requirement: Requirement) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(requirement.name)


def _digest(requirements: Requirements, given: tuple[Entry, ...]) -> str:
    """What makes a lock stale when it changes: the lines, however they were written, and a lock's own hashes."""
    lines = set()
    for line in requirements.lines:
        parsed = _requirement(line)
        extras = ",".join(sorted(parsed.extras))
        lines.add(f"{_name(parsed)}[{extras}]{parsed.specifier};{parsed.marker or ''}")
    content: dict[str, object] = {"lines": sorted(lines), "requires-python": requirements.requires_python.strip()}
    if given:
        content["locked"] = [[entry.pin, *entry.hashes] for entry in given]
    return digest_of(content)


def _instant(as_of: str | None) -> tuple[str, str]:
    """(the first instant that no longer counts, how the lock says it); both empty without a date."""
    if as_of is None:
        return "", ""
    try:
        if len(as_of) == len("2024-01-31"):
            day = date.fromisoformat(as_of)
            end = datetime.combine(day + timedelta(days=1), time(), UTC)
            return _zulu(end), day.isoformat()
        moment = datetime.fromisoformat(as_of)
        if moment.tzinfo is not None:
            return _zulu(moment), _zulu(moment)
    except (ValueError, OverflowError):
        pass
    raise BadInput(f"This is not a date: {as_of[:40]!r}.", "Write --as-of as 2024-01-31, or as 2024-01-31T12:00:00Z.")


def _zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _read_beside(path: Path, wanted: str, dated: str, base: Base) -> _Beside | None:
    try:
        text = read_regular(path.resolve(), MAX_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read: {error.strerror}.", "Remove it, or make it anew.") from None
    header = parse_header(text)
    try:
        entries = parse_lock(text, marker_environment(base))
    except EnvironmentFailed as error:
        return _Beside(path.name, header, (), f"it cannot be used: {error.message.rstrip('.')}")
    return _Beside(path.name, header, entries, _staleness(header, wanted, dated, base))


def _staleness(header: Header, wanted: str, dated: str, base: Base) -> str:
    if not header.requirements:
        return "it does not say which requirements it was made for"
    if header.requirements != wanted:
        return "the requirements have changed"
    if minor(header.python) != minor(base.python):
        return f"it was made for Python {header.python}, the base has {base.python}"
    if header.platform != platform_of(base):
        return f"it was made for {header.platform}, the base is {platform_of(base)}"
    if dated and header.as_of != dated:
        return f"it was not resolved as of {dated}"
    return ""


def _not_locked(beside: _Beside | None, path: Path | None, given: tuple[Entry, ...]) -> EnvironmentFailed:
    hint = "Run `nbseal lock` to write it, or leave --locked out."
    if beside is not None:
        why = f"is stale: {beside.stale}" if beside.stale else "would be renewed by --upgrade"
        return EnvironmentFailed(f"The lock {beside.name} {why}.", hint)
    name = path.name if path is not None else "STEM.requirements.lock"
    also = " The hash-locked requirements do not hold all that is needed." if given else ""
    return EnvironmentFailed(f"There is no lock {name} beside the notebook.{also}", hint)


def _kernel_pins(base: Base) -> tuple[Entry, ...]:
    text = (resources() / "images/kernel-pins.txt").read_text()
    return parse_lock(text, marker_environment(base), hashed=False)


def _remembered(path: Path, wanted: str, dated: str, base: Base) -> Lock | None:
    found = _read_beside(path, wanted, dated, base)
    if found is None or found.stale:
        return None
    return make_lock(found.entries, wanted, base, found.header.as_of)
