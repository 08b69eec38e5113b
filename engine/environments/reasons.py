"""What a resolver said, as one error of ours: its reason in a few lines, and what to do about that kind."""

from __future__ import annotations

import re

from engine.environments.indexes import redact
from engine.errors import EnvironmentFailed

MAX_LINES = 8
MAX_CHARACTERS = 1_500

#: First match wins: how a kind of failure is recognised, and what helps.
_HINTS = (
    (
        r"certificate|UnknownIssuer|SSLError|CERTIFICATE_VERIFY_FAILED",
        "Name the CA bundle that signs for this index: pip's `cert` setting or SSL_CERT_FILE.",
    ),
    (
        r"\b(401|403|407)\b|Unauthorized|Forbidden|authentication",
        "The index or proxy wants other credentials: check the host's pip settings or netrc.",
    ),
    (
        r"THESE PACKAGES DO NOT MATCH THE HASHES",
        "The index serves other bytes than those that were locked: find out why before renewing the lock.",
    ),
    (
        r"error sending request|dns error|Connection|ConnectTimeout|timed out|Max retries|network was disabled|"
        r"Name or service not known|Temporary failure in name resolution|Request failed",
        "Check the network, the proxy and the host's index settings (pip.conf, PIP_INDEX_URL, UV_DEFAULT_INDEX).",
    ),
    (
        r"exclude-newer|upload-time|uploaded-prior-to",
        "Take a later date with --as-of, or an index that gives upload times; files without one are left out. "
        "pip-tools needs an index that serves JSON (PEP 700).",
    ),
    (
        r"no usable wheels|no wheels|Wheels are required|building from source is disabled",
        "It exists only as a source distribution, or for another Python or platform; this version of nbseal "
        "installs wheels only. Ask for a version that has one.",
    ),
    (
        r"Requires-Python|requires Python|requires a different Python|Python>=|Python<|requires-python",
        "Ask for a version that supports the Python of the base image.",
    ),
    (
        r"was not found in|no version of|there are no versions|only \S+ is available|No matching distribution|"
        r"Could not find a version|No files? found|no longer",
        "Check the name and the version, and whether the host's indexes have it as a wheel.",
    ),
)
#: Signs that no index has the file, and that it is not known because one could not be asked.
_ABSENT = re.compile(r"No matching distribution|THESE PACKAGES DO NOT MATCH THE HASHES")
_UNREACHABLE = re.compile(r"Max retries|Connection|timed out|certificate|\b(401|403|407)\b|Retrying|not a trusted")
_CONFLICT = "Loosen or remove one of the requirements named there."


class NotOffered(EnvironmentFailed):
    """No index offers the file that a lock names, and pip complains of nothing else."""


def resolve_failed(output: str, note: str = "") -> EnvironmentFailed:
    """The error for a resolution that failed; ``output`` is all that uv or pip-compile printed."""
    text = _clean(output)
    reason = _reason(text) + (f"\n{note}" if note else "")
    return EnvironmentFailed("The requirements cannot be resolved: " + _shorten(reason), _hint(f"{output}\n{note}"))


def fetch_failed(output: str) -> EnvironmentFailed:
    """The error for locked files that pip could not fetch."""
    text = _clean(output)
    absent = _ABSENT.search(output) and not _UNREACHABLE.search(output)
    kind = NotOffered if absent else EnvironmentFailed
    return kind("The locked distributions cannot be fetched: " + _shorten(_reason(text)), _hint(output))


def unreachable(output: str) -> str:
    """uv's own line about an index that answered with a refusal; "" when there is none."""
    found = re.search(r"^hint: (An index .*)$", output, re.MULTILINE)
    return redact(found[1]) if found else ""


def undated(output: str) -> tuple[str, ...]:
    """Names of the distributions of which uv left out files for want of an upload date."""
    names = re.findall(r"`([A-Za-z0-9._]+?)-\d\S*` is missing an upload date", output)
    return tuple(sorted({name.lower().replace("_", "-") for name in names}))


def _clean(output: str) -> str:
    output = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", redact(output))
    lines = [line.rstrip() for line in output.splitlines()]
    return "\n".join(line for line in lines if line and not re.match(r"\s*(warning|WARNING|Location):?\b", line))


def _hint(text: str) -> str:
    for pattern, hint in _HINTS:
        if re.search(pattern, text, re.IGNORECASE if pattern.islower() else 0):
            return hint
    return _CONFLICT


def _reason(text: str) -> str:
    for find in (_uv_reason, _pip_reason):
        reason = find(text)
        if reason:
            return reason
    lines = text.splitlines()
    return lines[-1].strip() if lines else "the resolver gave no reason"


def _uv_reason(text: str) -> str:
    """Of "error: ... cause: ... hint: ..." the causes; of a chain of causes (network) the first and the last."""
    start = re.search(r"^error: (.*)$", text, re.MULTILINE)
    if start is None:
        return ""
    rest = re.split(r"^hint:", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    causes = [re.sub(r"\s*\n\s*", "\n", part).strip() for part in re.split(r"^\s+cause: ", rest, flags=re.MULTILINE)]
    causes = [cause for cause in causes if cause]
    if not causes:
        return start[1]
    if len(causes) == 1:
        return causes[0]
    return f"{causes[0]}: {causes[-1]}"


def _pip_reason(text: str) -> str:
    """pip's ERROR lines and, for a conflict, who asked for what; never the traceback of pip-compile."""
    lines = text.splitlines()
    errors = [match[1] for line in lines if (match := re.match(r"\s*ERROR: (.*)", line))]
    asked = [line.strip() for line in lines if re.match(r"\s+(The user requested|\S+ \S+ depends on) ", line)]
    found = [line for line in errors if not re.search("ResolutionImpossible|Ignored the following", line)]
    exception = re.match(r"(?:\w+\.)+\w+: (.*)", lines[-1]) if lines else None
    if not found and exception:
        found = [exception[1]]
    return "\n".join(dict.fromkeys([_without_lists(line) for line in found] + asked))


def _without_lists(line: str) -> str:
    """pip's line with the newest three of "(from versions: ...)" and without "(from -r ...)"."""
    line = re.sub(r" \(from (?!versions:)[^)]*\)", "", line)
    return re.sub(r"\(from versions: (?:.*, )?([^,]+, [^,]+, [^,]+)\)", r"(from versions: ... \1)", line)


def _shorten(reason: str) -> str:
    lines = reason.splitlines()
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"... and {len(lines) - MAX_LINES + 1} more lines"]
    text = "\n".join(lines)
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS] + " ..."
    return text if text.endswith((".", "...")) else text + "."
