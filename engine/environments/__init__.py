"""Requirements become a lock, a lock becomes wheels, wheels on a base become an image."""

from engine.environments.lockfile import render_lock
from engine.environments.resolve import resolve
from engine.environments.wheels import fetch

__all__ = ["fetch", "render_lock", "resolve"]
