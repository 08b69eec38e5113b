"""Where things are: the home directory and the files that nbseal ships."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadInput

#: The only platform of an image today, in OCI's words.
PLATFORM = "linux/amd64"
#: In a run directory, how its container ended, from when the container is removed until the run is recorded.
EXIT_FILE = ".exit.json"
#: 1980-01-01, the earliest time that a zip file can hold: the time of every file that we pack.
SOURCE_DATE_EPOCH = 315532800


@dataclass(frozen=True)
class Home:
    """The directory with all runs, blobs and the index (``NBSEAL_HOME``)."""

    root: Path

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def trash(self) -> Path:
        """Run directories that were deleted, as they were."""
        return self.root / "trash"

    @property
    def blobs(self) -> Path:
        """Content by digest: source files and declared inputs."""
        return self.root / "blobs"

    @property
    def wheels(self) -> Path:
        """``<sha256>/<file name>`` of every wheel that was ever fetched."""
        return self.root / "wheels"

    @property
    def layers(self) -> Path:
        """Uncompressed layer tars, ``<diff id>.tar``."""
        return self.root / "layers"

    @property
    def bases(self) -> Path:
        """``<base id>/base.json`` and what it was made of."""
        return self.root / "bases"

    @property
    def packages(self) -> Path:
        """``<sha256>/<file name>.deb`` of every Debian package in a base."""
        return self.root / "packages"

    @property
    def resolutions(self) -> Path:
        """The last lock for the same requirements and base."""
        return self.root / "resolutions"

    @property
    def images(self) -> Path:
        """What each image id was made of."""
        return self.root / "images"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def index(self) -> Path:
        return self.root / "index.sqlite"


def find_home() -> Home:
    """``NBSEAL_HOME``, else ``nbseal`` in the XDG data directory (XDG Base Directory Specification 0.8)."""
    named = os.environ.get("NBSEAL_HOME")
    if named:
        root = Path(named).expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise BadInput(f"NBSEAL_HOME names {root}, which is not a folder.", "Name a folder, or unset NBSEAL_HOME.")
        return Home(root)
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Home(Path(data).expanduser().absolute() / "nbseal")


def resources() -> Path:
    """The folder that holds ``images/`` and ``Dockerfile.base``: the wheel's own copy, else the checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / "_resources"
    return shipped if shipped.is_dir() else package.parent
