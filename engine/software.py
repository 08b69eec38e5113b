"""The nouns of what a notebook runs on: what was asked for, what was locked, what images are made of.

Frozen dataclasses, as those of ``engine.model``.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.settings import PLATFORM


@dataclass(frozen=True)
class Requirements:
    """What the user declared: PEP 508 lines, or a lock that is already hashed.

    ``origins`` says for people where they came from. ``lock_text`` is a hash-locked requirements
    file given by the user; ``lines`` then repeats its pins.
    """

    lines: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    requires_python: str = ""
    lock_text: str = ""


@dataclass(frozen=True)
class Distribution:
    """One pinned distribution of a lock: normalised name (PEP 503), version, allowed file hashes."""

    name: str
    version: str
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """The fully resolved requirements. ``text`` is a hash-locked requirements file (pip-tools' format)."""

    text: str
    requirements: str  # digest of what was asked for
    python: str
    platform: str
    distributions: tuple[Distribution, ...]


@dataclass(frozen=True)
class Wheel:
    """One wheel file, chosen by the lock and the base's tags, in the home under its sha256."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Layer:
    """One layer: ``diff_id`` is the sha256 of its uncompressed tar, ``of`` what is in it, for people."""

    diff_id: str
    size: int
    of: str


@dataclass(frozen=True)
class DebianPackage:
    """One Debian package of a base, pinned."""

    name: str
    version: str
    architecture: str
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Origin:
    """The image of a registry that a base was made of, whose layers are the base's lowest ones."""

    reference: str  # as it was asked for: HOST[:PORT]/REPOSITORY@sha256:...
    manifest: str  # digest of its manifest; of an image for several platforms, that for ours
    environment: tuple[str, ...]  # those of its variables that images on it keep, as NAME=VALUE
    python: str  # path of its interpreter

    @property
    def repository(self) -> str:
        """HOST[:PORT]/REPOSITORY."""
        return self.reference.partition("@")[0]


@dataclass(frozen=True)
class Base:
    """What images stand on: a root file system and a harness. ``id`` is its own image id.

    It is made of Debian packages and Dockerfile.base, or else of an image of a registry.
    """

    id: str
    python: str  # full version of its interpreter, as "3.11.2"
    glibc: str  # as "2.36"
    layers: tuple[Layer, ...]
    packages: tuple[DebianPackage, ...]
    harness: tuple[Wheel, ...]
    protocol: int  # version of the request and events that its harness speaks
    recipe: str  # digest of everything that it was built from
    platform: str = PLATFORM
    origin: Origin | None = None  # of one that was made of an image of a registry

    @property
    def interpreter(self) -> str:
        """Path of its Python."""
        return self.origin.python if self.origin else "/usr/bin/python3"


@dataclass(frozen=True)
class Image:
    """Base + locked distributions; ``id`` is the sha256 of its config, the same on every machine."""

    id: str
    base: str
    wheels: tuple[Wheel, ...]
    layers: tuple[Layer, ...]
