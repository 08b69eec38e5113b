"""Image + run directory -> execution: a sealed container, followed while it runs."""

from engine.containers.execute import execute, forget, resume
from engine.containers.gpu_facts import ask as ask_gpus
from engine.containers.gpu_turns import taken_gpus
from engine.containers.gpus import Given
from engine.containers.gpus import choose as choose_gpus
from engine.containers.gpus import parse as parse_gpus
from engine.containers.gpus import without as without_gpus
from engine.containers.identity import Whereabouts, read_whereabouts
from engine.containers.launch import Folders, Launch
from engine.containers.leftovers import Item, find_items, remove_cache, remove_item
from engine.containers.measured import measured
from engine.containers.profile import (
    MEASURES,
    elsewhere,
    environment,
    held,
    holding,
    on_plain_processor,
    traced,
    with_one_thread,
    with_other_hashes,
)
from engine.containers.refusals import explained, sensible, understood
from engine.containers.stopping import find_running, mark_unwanted, stop

__all__ = [
    "MEASURES",
    "Folders",
    "Given",
    "Item",
    "Launch",
    "Whereabouts",
    "ask_gpus",
    "choose_gpus",
    "elsewhere",
    "environment",
    "execute",
    "explained",
    "find_items",
    "find_running",
    "forget",
    "held",
    "holding",
    "mark_unwanted",
    "measured",
    "on_plain_processor",
    "parse_gpus",
    "read_whereabouts",
    "remove_cache",
    "remove_item",
    "resume",
    "sensible",
    "stop",
    "taken_gpus",
    "traced",
    "understood",
    "with_one_thread",
    "with_other_hashes",
    "without_gpus",
]
