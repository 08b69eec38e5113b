"""Environment variables of images: what of a foreign image's own reaches a run, and what never does."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.software import Origin

KERNEL = "/opt/kernel/bin"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOST = 200
LONGEST = 8192
#: What steers Python, its kernel or the loader, leads to servers, or belongs to the run: it would contradict the seal,
#: or a spec that does not name it. GPUs are the run's request, and not the image's.
_NEVER = re.compile(
    r"(PYTHON|NBSEAL|IPYTHON|VIRTUAL_ENV)\w*|(PIP|UV|JUPYTER|JPY|DOCKER|BASH)_\w*|ENV|HOME|HOSTNAME|PWD|"
    r"LD_(?!LIBRARY_PATH$).*|[A-Za-z]+_(proxy|PROXY)|(NVIDIA|CUDA)_VISIBLE_DEVICES"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")


def kept_variables(own: Sequence[str]) -> tuple[str, ...]:
    """Those of an image's variables (NAME=VALUE, the last of a name counts) that images on it keep, by name."""
    named = dict(item.split("=", 1) for item in own if "=" in item)
    kept = {
        name: value
        for name, value in named.items()
        if _NAME.fullmatch(name) and not _NEVER.fullmatch(name) and value.isprintable() and len(value) <= LONGEST
    }
    kept["PATH"] = _folders(kept.get("PATH", "")) or _PATH
    return tuple(f"{name}={value}" for name, value in sorted(kept.items())[:MOST])


def variables_of(origin: Origin | None) -> dict[str, str]:
    """The variables in the config of a base and of images on it."""
    own = dict(item.split("=", 1) for item in origin.environment) if origin else {"PATH": _PATH}
    return {**own, "PATH": f"{KERNEL}:{own['PATH']}"}


def search_path(origin: Origin | None) -> str:
    """Where a run on an image of a registry looks for programs, beside its own environment; empty for ours."""
    return dict(item.split("=", 1) for item in origin.environment)["PATH"] if origin else ""


def _folders(path: str) -> str:
    """Without what depends on where one is."""
    return ":".join(part for part in path.split(":") if part.startswith("/"))
