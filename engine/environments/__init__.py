"""Requirements become a lock, a lock becomes wheels, wheels on a base become an image."""

from engine.environments.base import build_base, ensure_base, list_bases, load_base
from engine.environments.base_archive import export_base, import_base
from engine.environments.images import build, remembered_image
from engine.environments.lockfile import render_lock
from engine.environments.reach import check_index
from engine.environments.recorded import load_image, rebuild
from engine.environments.resolve import resolve
from engine.environments.wheels import fetch

__all__ = [
    "build",
    "build_base",
    "check_index",
    "ensure_base",
    "export_base",
    "fetch",
    "import_base",
    "list_bases",
    "load_base",
    "load_image",
    "rebuild",
    "remembered_image",
    "render_lock",
    "resolve",
]
