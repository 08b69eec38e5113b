"""Which CUDA a lock brings along, and the oldest GPU driver that runs it.

The table is NVIDIA's, of "CUDA Compatibility", section "Minor Version Compatibility"
(docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html): from CUDA 11 on, whatever was built with a
release of a major version runs, with a limited set of features, on every driver from the one that the major version
began with; before, each release wanted a driver of its own. A newer driver runs every older CUDA. So what is refused
here cannot work, and what is not refused may still lack a feature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: CUDA's major and minor version (None: all of that major) to the oldest driver for Linux.
_OLDEST: dict[tuple[int, int | None], str] = {
    (13, None): "580",
    (12, None): "525",
    (11, None): "450",
    (10, 2): "440.33",
    (10, 1): "418.39",
    (10, 0): "410.48",
}

#: Distributions whose own version is that of CUDA; since CUDA 13 their names have no suffix.
_VERSIONED = re.compile(r"nvidia-cuda-(?:runtime|nvrtc|cupti)(?:-cu[0-9]+)?|cuda-toolkit")
#: nvidia-nccl-cu12, jax-cuda13-plugin, cupy-cuda12x, cupy-cuda117; and in local versions +cu121, +cuda12.cudnn89.
_IN_NAME = re.compile(r"-cu(?:da)?(1[0-9])([0-9])?x?(?=-|$)")
_IN_LOCAL = re.compile(r"(?:^|\.)cu(?:da)?(1[0-9])([0-9])?(?![0-9])")


@dataclass(frozen=True)
class Cuda:
    """A version of CUDA, whose ``minor`` may not be known, and the distribution that wants it."""

    major: int
    minor: int | None
    of: str

    def __str__(self) -> str:
        return f"CUDA {self.major}" if self.minor is None else f"CUDA {self.major}.{self.minor}"

    @property
    def oldest_driver(self) -> str:
        """The oldest driver that runs it; empty for a version that the table does not have."""
        return _OLDEST.get((self.major, self.minor)) or _OLDEST.get((self.major, None), "")


def cuda_of(pins: Iterable[tuple[str, str]]) -> Cuda | None:
    """The newest CUDA that distributions, as (normalised name, version), bring along or want; None when none does."""
    found = [cuda for name, version in sorted(pins) if (cuda := _wanted(name, version)) is not None]
    return max(found, key=lambda cuda: (cuda.major, -1 if cuda.minor is None else cuda.minor), default=None)


def _wanted(name: str, version: str) -> Cuda | None:
    public, _, local = version.partition("+")
    if _VERSIONED.fullmatch(name) and (match := re.match(r"(1[0-9])\.([0-9]+)", public)):
        return Cuda(int(match[1]), int(match[2]), f"{name} {version}")
    match = _IN_LOCAL.search(local) or _IN_NAME.search(name)
    return Cuda(int(match[1]), int(match[2]) if match[2] else None, f"{name} {version}") if match else None


def runs_on(cuda: Cuda, driver: str) -> bool:
    """Whether a driver of this version is new enough; a CUDA that the table does not have is nobody's fault."""
    return _numbers(driver) >= _numbers(cuda.oldest_driver)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isascii() and part.isdigit())
