"""Requirements (PEP 508) in the one form that we compare and digest."""

from __future__ import annotations

from engine.notebooks.wording import shown

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz")


class NotARequirement(ValueError):
    """The text is no requirement that can be locked by hash from an index; says why."""


def normalised(text: str) -> str:
    """The requirement with its name as PEP 503 has it, its extras and specifiers sorted, its marker kept.

    Raises NotARequirement, also for a direct reference (``name @ URL``): what it names is not in any
    index, so nobody could fetch it again by hash.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    if text.strip().startswith((".", "/", "~")) or (text.strip().endswith(_ARCHIVES) and "@" not in text):
        # "x.whl" would otherwise be a distribution of that name.
        raise NotARequirement(f"'{shown(text)}' is a local path")
    try:
        requirement = Requirement(text.strip())
        if requirement.url:
            raise NotARequirement(f"'{shown(text)}' names a URL instead of a version in an index")
        requirement.name = canonicalize_name(requirement.name)
        return str(requirement)
    except (InvalidRequirement, RecursionError):
        raise NotARequirement(f"'{shown(text)}' is not a requirement as in PEP 508") from None


def pinned(requirement: str) -> bool:
    """Whether a normalised requirement allows one version only: ``name==1.2``."""
    from packaging.requirements import Requirement

    specifiers = list(Requirement(requirement).specifier)
    return len(specifiers) == 1 and specifiers[0].operator in ("==", "===") and "*" not in specifiers[0].version
