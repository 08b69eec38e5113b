"""What bases are built from besides their root file system, as this version of nbseal ships it."""

from __future__ import annotations

from pathlib import Path

from engine import harness
from engine.digests import digest_of, sha256_bytes
from engine.environments import layers
from engine.environments.lockfile import minor
from engine.errors import EnvironmentFailed
from engine.settings import resources
from engine.software import DebianPackage

#: Part of every recipe: raise it when any base_*.py makes other bytes than before of the same ingredients.
LAYOUT = 2
_DEBIANS_PYTHON = "3.11"


def dockerfile() -> bytes:
    """Dockerfile.base as shipped."""
    return (resources() / "Dockerfile.base").read_bytes()


def build_context() -> dict[str, bytes]:
    """The files that Dockerfile.base copies, by name."""
    return {name: (resources() / "images" / name).read_bytes() for name in ("noexecstack.py", "steady.c")}


def harness_lock(python: str) -> str:
    """The lock of the harness environment for this version of Python; EnvironmentFailed when there is none."""
    second = minor(python)
    name = "harness.lock" if second == _DEBIANS_PYTHON else f"harness-{second}.lock"
    try:
        return (resources() / "images" / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EnvironmentFailed(
            f"This version of nbseal has no harness for Python {second}.",
            "Take an image with one of Python 3.9 to 3.14, or a newer nbseal.",
        ) from None


def harness_sources() -> dict[str, bytes]:
    """The harness: file name to source."""
    folder = Path(harness.__file__).parent
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.py"))}


def recipe_of(packages: tuple[DebianPackage, ...]) -> str:
    """Digest of everything that a base with these packages is built from by this version of nbseal."""
    return digest_of(
        {
            "layout": [LAYOUT, layers.LAYOUT],
            "packages": [package.sha256 for package in packages],
            "dockerfile": sha256_bytes(dockerfile()),
            "context": {name: sha256_bytes(content) for name, content in build_context().items()},
            "harness-lock": sha256_bytes(harness_lock(_DEBIANS_PYTHON).encode()),
            "harness": {name: sha256_bytes(source) for name, source in harness_sources().items()},
        }
    )


def recipe_of_origin(manifest: str) -> str:
    """Digest of everything that a base of the image with this manifest is built from by this version of nbseal."""
    return digest_of(
        {
            "layout": [LAYOUT, layers.LAYOUT],
            "manifest": manifest,
            "context": {name: sha256_bytes(content) for name, content in build_context().items()},
            "harness-locks": {
                path.name: sha256_bytes(path.read_bytes())
                for path in sorted((resources() / "images").glob("harness*.lock"))
            },
            "harness": {name: sha256_bytes(source) for name, source in harness_sources().items()},
        }
    )
