"""``allowed_signers``: whose signatures count, in the form that ssh-keygen(1) describes under ALLOWED SIGNERS."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from engine.signing.wire import PublicKey, from_line

_LINE = re.compile(
    r"""(?:"(?P<quoted>[^"]*)"|(?P<principals>\S+)) \s+
        (?: (?P<options> (?:[^\s"]|"[^"]*")+ ) \s+ )??
        (?P<key> (?:ssh|ecdsa|sk)-\S+ \s+ \S+ .* )""",
    re.VERBOSE,
)
_OPTION = re.compile(r'(?P<name>[a-zA-Z-]+)(?:="(?P<value>[^"]*)")?(?:,|$)')


@dataclass(frozen=True)
class Signer:
    """One line: who, with which key, for what, and when."""

    name: str
    key: PublicKey
    namespaces: str = "*"
    after: datetime | None = None
    before: datetime | None = None

    def counts(self, key: PublicKey, namespace: str, time: datetime) -> bool:
        """Whether a signature that ``key`` made at ``time`` counts as this signer's."""
        if key != self.key or not _matches(self.namespaces, namespace):
            return False
        return (self.after is None or self.after <= time) and (self.before is None or time <= self.before)


@dataclass(frozen=True)
class Moment:
    """The time at which a key has to be valid for its signature to count: the best that is known, and by whom."""

    time: datetime
    by: str

    @staticmethod
    def best(stamped: datetime | None, ended: datetime | None) -> Moment:
        """A trusted time stamp bounds a signature from above; else the ledger says when it was made; else now."""
        if stamped is not None:
            return Moment(stamped, "by the time stamp")
        if ended is not None:
            return Moment(ended, "by the ledger's own clock")
        return Moment(datetime.now(UTC), "now")

    def __str__(self) -> str:
        return f"{self.time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({self.by})"


#: Why a signature of a key counts for nobody.
UNKNOWN_KEY = "its key is not in allowed_signers of this home"


def read(text: str) -> tuple[tuple[Signer, ...], tuple[str, ...]]:
    """The signers of the file, and what is wrong with lines that count for nobody."""
    signers, problems = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                signers.append(_signer(line.strip()))
            except ValueError as error:
                problems.append(f"line {number} counts for nobody: {error}")
    return tuple(signers), tuple(problems)


def judge(signers: Iterable[Signer], key: PublicKey, namespace: str, moment: Moment) -> tuple[str, str]:
    """The name under which a signature counts, with the time that decided if one did; else no name, and why not."""
    mine = [signer for signer in signers if signer.key == key]
    for signer in mine:
        if signer.counts(key, namespace, moment.time):
            return signer.name, "" if signer.after is signer.before is None else f"valid at {moment}"
    if not mine:
        return "", UNKNOWN_KEY
    meant = [signer for signer in mine if _matches(signer.namespaces, namespace)]
    known = f"allowed_signers of this home has its key as {(meant or mine)[0].name}"
    return "", f"{known}, but not for {namespace}" if not meant else f"{known}, but it is not valid at {moment}"


def _signer(line: str) -> Signer:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("it is not 'names [options] type key'")
    key, _ = from_line(match["key"])
    options = _options(match["options"] or "")
    if "cert-authority" in options:
        raise ValueError("certificates are not supported")
    return Signer(
        match["quoted"] or match["principals"] or "",
        key,
        options.get("namespaces", "*"),
        _moment(options["valid-after"]) if "valid-after" in options else None,
        _moment(options["valid-before"]) if "valid-before" in options else None,
    )


def _options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _OPTION.match(text, position)
        name = match["name"].lower() if match else ""
        if match is None or name not in ("cert-authority", "namespaces", "valid-after", "valid-before"):
            raise ValueError("an option is unknown")
        if name in options or (name == "cert-authority") != (match["value"] is None):
            raise ValueError(f"the option {name} is not well formed")
        options[name] = match["value"] or ""
        position = match.end()
    return options


def _moment(text: str) -> datetime:
    """YYYYMMDD[HHMM[SS]], in local time, or with a final Z in UTC."""
    digits = text.removesuffix("Z")
    forms = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
    if len(digits) not in forms or not digits.isdecimal():
        raise ValueError(f"{text[:20]!r} is not a time")
    moment = datetime.strptime(digits, forms[len(digits)])
    return moment.replace(tzinfo=UTC) if text.endswith("Z") else moment.astimezone()


def _matches(patterns: str, text: str) -> bool:
    """A pattern list of ssh_config(5): ``*`` and ``?``, and ``!`` for what must not fit."""
    positive = False
    for pattern in patterns.split(","):
        bare = pattern.removeprefix("!").replace("[", "[[]")  # brackets mean nothing to OpenSSH
        if fnmatchcase(text, bare):
            if pattern.startswith("!"):
                return False
            positive = True
    return positive
