"""Requirements become a lock, a lock becomes wheels, wheels on a base become an image."""

from engine.environments.archived import archived_base, check_locked, ingredients, keep_archived_image
from engine.environments.assemble import has_image
from engine.environments.base import build_base, ensure_base, list_bases, load_base, restore_base, restore_layers
from engine.environments.base_archive import export_base, import_base
from engine.environments.base_record import base_files, load_config
from engine.environments.base_upstream import build_on, find_built
from engine.environments.cuda import cuda_of, runs_on
from engine.environments.debian import kept_path
from engine.environments.images import build, remembered_image
from engine.environments.layers import LayersMissing, find_damaged, layer_file, wheel_file
from engine.environments.lockfile import render_lock
from engine.environments.pulling import Source, pull_image
from engine.environments.reach import check_index
from engine.environments.recorded import check_wheels, hold_image, load_image, rebuild
from engine.environments.resolve import resolve
from engine.environments.sending import Sent, remove_parts, send_image
from engine.environments.unpacking import kept_layer, unpack_layer
from engine.environments.upstream import ACCEPT, Blob, choose, config_of, read_upstream
from engine.environments.variables import search_path
from engine.environments.wheels import fetch

__all__ = [
    "ACCEPT",
    "Blob",
    "LayersMissing",
    "Sent",
    "Source",
    "archived_base",
    "base_files",
    "build",
    "build_base",
    "build_on",
    "check_index",
    "check_locked",
    "check_wheels",
    "choose",
    "config_of",
    "cuda_of",
    "ensure_base",
    "export_base",
    "fetch",
    "find_built",
    "find_damaged",
    "has_image",
    "hold_image",
    "import_base",
    "ingredients",
    "keep_archived_image",
    "kept_layer",
    "kept_path",
    "layer_file",
    "list_bases",
    "load_base",
    "load_config",
    "load_image",
    "pull_image",
    "read_upstream",
    "rebuild",
    "remembered_image",
    "remove_parts",
    "render_lock",
    "resolve",
    "restore_base",
    "restore_layers",
    "runs_on",
    "search_path",
    "send_image",
    "unpack_layer",
    "wheel_file",
]
